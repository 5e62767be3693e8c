"""Everything in a photo: the objects that the generator found, and which of them is picked."""

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim import ZimAutomaticMaskGenerator
from zim.compositing import cover
from zim.errors import ConfigError, PromptError
from zim.mask_files import full_alpha, overlay, record_settings, write_folder, write_records
from zim.mask_records import MaskCandidate
from zim.rle import decode_mask

from .errors import BusyError, LimitError
from .limits import JOB_SECONDS, number, short
from .long_jobs import PointsInTurns
from .models import Clock, ModelPool
from .outbox import safe_name
from .photo_session import PhotoSession
from .photos import Photo
from .prompts import ObjectPrompts, apply_event
from .turns import Seats

SIDES = (8, 12, 16, 32)
LEAST_THRESHOLD = 0.5
"""Below it nearly every point gives masks, thousands in all."""

MAX_CLEANED = 100_000
MAX_PHOTO_PIXELS = 16_000_000
"""Masks have the photo's own size, and the answers for a larger one fill too much memory; for this one about 450 MB."""

POINTS_AT_ONCE = 8
"""Between these the job can be stopped, and others come to the models."""

OVERVIEW = "everything"
FIND_FIRST = 'Press "Find everything" first.'
CLICKS_ONLY = "Click on an object to pick it."
LAYER = "found"
_seats = Seats(2, "finding everything")


@dataclass(frozen=True, kw_only=True)
class FindSettings:
    """Settings of `ZimAutomaticMaskGenerator`, by its names.

    Raises:
        LimitError: values that take too long or make no sense.
    """

    points_per_side: int = SIDES[0]
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        if self.points_per_side not in SIDES or isinstance(self.points_per_side, bool):
            choices = ", ".join(map(str, SIDES))
            raise LimitError(f"points_per_side: expected one of {choices}, got {short(self.points_per_side)}")
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            value = number(getattr(self, name), name)
            if not LEAST_THRESHOLD <= value <= 1:
                raise LimitError(f"{name}: expected a number from {LEAST_THRESHOLD:g} to 1, got {value:g}")
        area = number(self.min_mask_region_area, "min_mask_region_area")
        if not 0 <= area <= MAX_CLEANED or area != int(area):
            raise LimitError(f"min_mask_region_area: expected a whole number from 0 to {MAX_CLEANED}, got {area:g}")


def settings_from(value: Any) -> FindSettings:
    """The settings in a JSON object; None is an empty one.

    Raises:
        ConfigError, LimitError: anything else.
    """
    given = {} if value is None else value
    if not isinstance(given, Mapping):
        raise ConfigError(f"settings: expected a JSON object, got {short(value)}")
    known = tuple(FindSettings.__dataclass_fields__)
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(f"settings: expected {', '.join(known)}, got {short(unknown[0])}")
    return FindSettings(**given)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The objects of a photo, best first, and how they were found."""

    photo: Photo
    model: str
    settings: FindSettings
    candidates: tuple[MaskCandidate, ...]

    def overview(self) -> NDArray[np.uint8]:
        """(h, w, 3) of the working picture: every object in a colour of its own, as `zim auto` draws them."""
        drawn = overlay(self.photo.full(), self.candidates)
        return cover(drawn, (self.photo.working.shape[0], self.photo.working.shape[1]))

    def rows(self) -> list[list[Any]]:
        """A line for each object: number from 1, area in pixels, box (x, y, width, height), quality."""
        return [_row(index, one) for index, one in enumerate(self.candidates)]

    def at(self, x: float, y: float) -> int:
        """The smallest object that has a pixel of the photo.

        Raises:
            PromptError: none has it.
        """
        around = [i for i, one in enumerate(self.candidates) if _contains(one.box, x, y)]
        for index in sorted(around, key=lambda i: self.candidates[i].rle.area):
            if decode_mask(self.candidates[index].rle)[int(y), int(x)]:
                return index
        raise PromptError(f"nothing was found at ({x:g}, {y:g}); more points or lower thresholds find more")

    def alpha(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8 of an object, in the photo's own size."""
        return full_alpha(self.candidates[index])

    def write_zip(self, path: Path) -> Path:
        """What `zim auto` writes, and SAM's records (records.json), as one ZIP."""
        folder = path.with_suffix("")
        name = safe_name(self.photo.name)
        record_settings(folder, self.model, "folder", asdict(self.settings))
        write_folder(folder / name, self.photo.path.name, self.photo.full(), self.candidates)
        write_records(folder / name / "records.json", self.candidates)
        archive = Path(shutil.make_archive(str(folder), "zip", folder))
        shutil.rmtree(folder)
        return archive


def find_everything(
    photo: Photo,
    pool: ModelPool,
    model: str,
    settings: FindSettings,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
) -> Found:
    """Ask a model at a grid of points.

    Args:
        photo: where.
        pool, model: who answers.
        settings: how.
        progress: is told how many points of how many are answered.
        stop: set it to end the job.

    Raises:
        BusyError: stopped, longer than one request may take, or others are at it for too long.
        LimitError: a photo of more than MAX_PHOTO_PIXELS.
    """
    height, width = photo.hw
    if height * width > MAX_PHOTO_PIXELS:
        most, got = MAX_PHOTO_PIXELS // 1_000_000, height * width / 1e6
        raise LimitError(f"photo: expected at most {most} megapixels to find everything in, got {got:.0f}")
    clock = Clock(JOB_SECONDS)

    def answered(done: int, total: int) -> None:
        progress(done, total)
        clock.check()
        if stop is not None and stop.is_set():
            raise BusyError(f"Stopped after {done} of {total} points; nothing was changed.")

    predictor = PointsInTurns(pool, model)
    generator = ZimAutomaticMaskGenerator(predictor, points_per_batch=POINTS_AT_ONCE, **asdict(settings))
    with _seats.taken():
        candidates = generator.candidates(photo.full(), progress=answered)
    return Found(photo=photo, model=model, settings=settings, candidates=tuple(candidates))


class FoundSession(PhotoSession):
    """One person's photo, what was found in it, and which object is picked: that of the drawn box."""

    def __init__(self) -> None:
        self.found: Found | None = None
        self._stop = threading.Event()
        self._running = threading.Lock()
        super().__init__(self._alpha_of, (LAYER,), ("foreground",))

    def renew(self, layers: tuple[str, ...] | None = None) -> None:
        """See `PhotoSession`; what was found is forgotten too, and what is still searched for is stopped."""
        with self.lock:
            self.stop()
            self.found = None
            super().renew(layers)

    def stop(self) -> None:
        """End the search that is under way."""
        self._stop.set()

    def search(
        self, pool: ModelPool, model: str, settings: FindSettings, progress: Callable[[int, int], None]
    ) -> Found:
        """`find_everything` in this photo, until `stop`.

        Raises:
            ZimError: no photo, a search is under way already, or as `find_everything`.
        """
        if not self._running.acquire(blocking=False):
            raise BusyError("The search before is still under way.")
        try:
            with self.lock:
                photo, self._stop = self._required(), threading.Event()
            return find_everything(photo, pool, model, settings, progress=progress, stop=self._stop)
        finally:
            self._running.release()

    def take(self, found: Found) -> None:
        """Show what was found.

        Raises:
            BusyError: the photo is another one by now.
        """
        picture = found.overview()
        with self.lock:
            if self.photo is not found.photo:
                raise BusyError("Another photo was chosen meanwhile.")
            super().renew()
            self.found = found
            self.put_picture(OVERVIEW, picture)

    def handle(self, event: Mapping[str, Any]) -> None:
        """See `PhotoSession`; a point picks the smallest object that contains it."""
        with self.lock:
            if event.get("kind") in ("box", "stroke"):
                raise PromptError(CLICKS_ONLY)
            if event.get("kind") != "point" or self.photo is None:
                super().handle(event)
                return
            super().handle({"kind": "look", "view": event.get("view")})
            x, y, _ = apply_event(ObjectPrompts(), event, self.photo.hw).points[0]
            self.pick(self._of_photo().at(x, y))

    def pick(self, index: int) -> None:
        """Pick an object by its place in the list (0 is the first).

        Raises:
            PromptError: nothing was found yet, or not so many.
        """
        with self.lock:
            found = self._of_photo()
            if not 0 <= index < len(found.candidates):
                raise PromptError(f"object: expected a number up to {len(found.candidates)}, got {index + 1}")
            self.load((ObjectPrompts(box=_xyxy(found.candidates[index])),))

    @property
    def picked(self) -> int | None:
        """Place in the list of the object that is picked."""
        with self.lock:
            box = self.drawing.current.box
            return None if box is None or self.found is None else self._index_of(box)

    def _of_photo(self) -> Found:
        if self.found is None:
            raise PromptError(FIND_FIRST)
        return self.found

    def _index_of(self, box: tuple[float, ...]) -> int:
        for index, one in enumerate(self._of_photo().candidates):
            if _xyxy(one) == box:
                return index
        raise PromptError(FIND_FIRST)

    def _alpha_of(self, layer: str, photo: Photo, prompts: ObjectPrompts) -> NDArray[np.float32]:
        """Of the working picture; the answer that the stage shows."""
        if prompts.box is None:
            raise PromptError(FIND_FIRST)
        alpha = cover(self._of_photo().alpha(self._index_of(prompts.box)), photo.working.shape[:2])
        return np.asarray(alpha / np.float32(255), np.float32)


def _xyxy(candidate: MaskCandidate) -> tuple[float, float, float, float]:
    """The box with its right and lower edge outside, as boxes are drawn."""
    x1, y1, x2, y2 = candidate.box
    return float(x1), float(y1), float(x2 + 1), float(y2 + 1)


def _contains(box: tuple[int, int, int, int], x: float, y: float) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _row(index: int, one: MaskCandidate) -> list[Any]:
    x1, y1, x2, y2 = one.box
    return [index + 1, one.rle.area, f"{x1}, {y1}, {x2 - x1 + 1}, {y2 - y1 + 1}", round(one.quality, 3)]
