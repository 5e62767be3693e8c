"""One press of "Matte": the adapter asked for a photo's objects, its files written, its pictures kept."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.matte_anything import KernelTrimap, Matte, MatteAnything, MatteTrimap, Refiner, watched
from adapters.matte_anything.modes import MODES, mode_of, refiner_of
from adapters.matte_anything.trimap import UNKNOWN, TrimapRule
from zim.compositing import Background, cover
from zim.cutout import composite, trimap_to_uint8
from zim.errors import ConfigError, PromptError, ZimError
from zim.image_io import read_gray, read_image, save_png

from .errors import LimitError
from .limits import JOB_SECONDS, number, text_within
from .models import Clock
from .outbox import Outbox
from .photos import Photo
from .prompts import ObjectPrompts
from .serving import Services
from .turns import DetectorInTurns, PredictorInTurns, Seats

MAX_ITERATIONS = 20
LARGE_PIXELS = 16_000_000
"""Photos beyond this are worked on one at a time, and refined on smaller copies only: memory."""

SIZES = {"at most 800 pixels (quick)": 800, "at most 1600 pixels": 1600, "the photo's own size (slow)": 0}
"""Long sides at which closed form and ViTMatte work; the answer is then taken to the photo's own size."""

VITMATTE_HINT = "start the app with --vitmatte hustvl/vitmatte-small-composition-1k (downloads it) or --vitmatte FOLDER"
JOBS = Seats(2, "the matting bench")
LARGE_JOBS = Seats(1, "the matting bench for large photos")
REFINING = Seats(1, "the refiner")

Report = Callable[[float, str], None]
"""Share of the work that is done, and what comes now; what it raises ends the job."""


class StoppedError(ZimError, RuntimeError):
    """A person pressed Stop."""


@dataclass(frozen=True, kw_only=True)
class MatteSettings:
    """How a photo is matted. model: a name of the pool's. mode: of the adapter. trimap: in place of the mode's.

    transparent: captions of what one sees through. long_side: at which refiners work; 0 is the photo's own size.
    """

    model: str
    mode: str = "zim"
    trimap: TrimapRule | None = None
    transparent: str | None = None
    long_side: int = 800


class MatteResult(NamedTuple):
    """What came of it.

    objects, model: what was asked. files: kind -> PNG of the photo's own size, in `outbox`. trimap, alpha: (h, w, 3)
    and cutout (h, w, 4) uint8 for the screen. line: what a person is told.
    """

    objects: tuple[ObjectPrompts, ...]
    model: str
    files: dict[str, Path]
    outbox: Outbox
    trimap: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    cutout: NDArray[np.uint8]
    line: str


def trimap_rule(mode: str, bands: Sequence[Any], kernels: Sequence[Any]) -> TrimapRule:
    """The trimap of a mode from (low, high, band share) or (erode, dilate, iterations).

    Raises:
        ConfigError, LimitError: an impossible setting.
    """
    if isinstance(mode_of(mode).trimap, MatteTrimap):
        low, high, share = (number(value, name) for value, name in zip(bands, ("low", "high", "band"), strict=True))
        return MatteTrimap(low=low, high=high, band_share=share)
    names = ("erode", "dilate", "iterations")
    erode, dilate, times = (int(number(value, name)) for value, name in zip(kernels, names, strict=True))
    if times > MAX_ITERATIONS:
        raise LimitError(f"iterations: expected at most {MAX_ITERATIONS}, got {times}")
    return KernelTrimap(erode=erode, dilate=dilate, iterations=times)


def check_mode(mode: Any, vitmatte: Refiner | None) -> str:
    """A mode that can be had here.

    Raises:
        ConfigError: an unknown one, or one that needs ViTMatte's weights.
    """
    name = text_within(mode, "mode", 40)
    if mode_of(name).refiner == "vitmatte" and vitmatte is None:
        raise ConfigError(f"mode {name}: ViTMatte's weights are not at hand; {VITMATTE_HINT}")
    return name


def offered_modes(vitmatte: Refiner | None) -> list[str]:
    """The modes that can be had here."""
    return [name for name, mode in MODES.items() if mode.refiner != "vitmatte" or vitmatte is not None]


def run_matte(
    services: Services,
    photo: Photo,
    objects: Sequence[ObjectPrompts],
    settings: MatteSettings,
    *,
    vitmatte: Refiner | None = None,
    report: Report = lambda share, text: None,
    outbox: Outbox | None = None,
) -> MatteResult:
    """Matte the objects of a photo, all in one matte.

    Raises:
        PromptError: nothing was prompted.
        BusyError: others were at it for too long, or it took too long.
        ZimError: as the adapter; whatever `report` raises.
    """
    asked = tuple(one for one in objects if one.count)
    if not asked:
        raise PromptError("prompts: expected a point, a box or a stroke on the photo, got none")
    clock, begun = Clock(JOB_SECONDS), time.monotonic()

    def step(share: float, text: str) -> None:
        clock.check()
        report(share, text)

    with _seat(photo):
        step(0.02, "Reading the photo")
        full = photo.full()
        image = _working_copy(full, settings)
        hw = int(image.shape[0]), int(image.shape[1])
        prompts = [one.as_prompt(max(hw) / max(photo.hw), hw) for one in asked]
        matting = MatteAnything(
            PredictorInTurns(services.pool, settings.model),
            mode=settings.mode,
            trimap=settings.trimap,
            refiner=_refiner(settings.mode, vitmatte, step),
            detector=None if services.detector is None else DetectorInTurns(services.pool, services.detector),
        )
        step(0.05, f"{settings.model} answers")
        (matte,) = matting(image, prompts, transparent=settings.transparent)
        step(0.85, "Writing the files, with the object's own colours")
        shown = matte.resized(photo.working)
        box = outbox or Outbox()
        files = _write(matte.resized(full), photo.name, box)
        unknown = float((matte.trimap == UNKNOWN).mean())
        seconds = time.monotonic() - begun
    line = f"{settings.mode} with {settings.model}: {100 * unknown:.0f} % of the picture was unknown; {seconds:.1f} s."
    return MatteResult(asked, settings.model, files, box, *_pictures(shown), line)


def _working_copy(full: NDArray[np.uint8], settings: MatteSettings) -> NDArray[np.uint8]:
    """The photo as the adapter gets it; smaller only where a refiner is to work on it.

    Raises:
        LimitError: it is too large to be refined in its own size.
    """
    height, width = full.shape[:2]
    scale = settings.long_side / max(height, width)
    if mode_of(settings.mode).refiner == "none":
        return full
    if not 0 < scale < 1:
        if height * width > LARGE_PIXELS:
            most = f"photos of at most {LARGE_PIXELS // 1_000_000} megapixels in their own size"
            raise LimitError(f"size: expected {most}; let {settings.mode} work on a copy of at most 1600 pixels")
        return full
    return cover(full, (max(1, round(height * scale)), max(1, round(width * scale))))


def _refiner(mode: str, vitmatte: Refiner | None, step: Report) -> Refiner:
    """The mode's refiner, alone at work and telling how far it is."""
    plain = refiner_of(mode_of(mode), vitmatte)
    if mode_of(mode).refiner == "none":
        return plain

    def refine(
        image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        text = f"Refining {np.count_nonzero(trimap == UNKNOWN):,} unknown pixels"
        with REFINING.taken():
            step(0.2, text)
            return watched(plain, lambda share: step(0.2 + 0.6 * share, text))(image, trimap, alpha)

    return refine


def _write(matte: Matte, name: str, outbox: Outbox) -> dict[str, Path]:
    files = {kind: outbox.beside(f"{name}_{kind}.png") for kind in ("alpha", "trimap", "cutout")}
    save_png(files["alpha"], matte.alpha)
    save_png(files["trimap"], trimap_to_uint8(matte.trimap))
    save_png(files["cutout"], matte.cutout())
    return files


def _pictures(shown: Matte) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    cutout = shown.cutout()
    grey = trimap_to_uint8(shown.trimap), cutout[..., 3]
    return np.dstack([grey[0]] * 3), np.dstack([grey[1]] * 3), cutout


def write_composite(result: MatteResult, photo: Photo, background: Background | Photo) -> Path:
    """The object before a background, as a PNG of the photo's own size.

    Raises:
        BusyError: others were at it for too long.
    """
    with _seat(photo):
        rgba = np.dstack([read_image(result.files["cutout"]), read_gray(result.files["alpha"])])
        path = result.outbox.beside(f"{photo.name}_composite.png")
        save_png(path, composite(rgba, background.full() if isinstance(background, Photo) else background))
    return path


@contextmanager
def _seat(photo: Photo) -> Iterator[None]:
    """A place at the bench; for large photos the only one.

    Raises:
        BusyError: none was free for too long.
    """
    large = photo.hw[0] * photo.hw[1] > LARGE_PIXELS
    with LARGE_JOBS.taken() if large else nullcontext(), JOBS.taken():
        yield
