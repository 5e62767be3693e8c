"""Following objects through a volume: one job that may stop, take turns with others, and go on later."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.medical_volume.answer_store import AnswerStore, model_identity
from adapters.medical_volume.cropped import CroppedVolume
from adapters.medical_volume.montage import montage
from adapters.medical_volume.outputs import report_of, stored_slice
from adapters.medical_volume.prompts import resolve_prompts
from adapters.medical_volume.segmentation import SegmentedObject, Segmenter, label_map
from adapters.medical_volume.settings import Settings
from adapters.medical_volume.surface_mesh import SurfaceMesh, surface_of
from adapters.medical_volume.volume import Volume
from zim.errors import DataError, ZimError
from zim.protocol import Predictor

from .errors import BusyError
from .limits import JOB_SECONDS
from .models import Clock, ModelPool
from .turns import PredictorInTurns
from .volume_prompts import VolumeObject

Progress = Callable[[int, int], None]
"""(slices answered, slices at most)."""


class TurnTaker(PredictorInTurns):
    """As `PredictorInTurns`, for slices.

    keep: let the pool keep the embeddings, for slices that are prompted again and again.
    """

    def __init__(self, pool: ModelPool, name: str, *, keep: bool = False) -> None:
        super().__init__(pool, name)
        self._name, self._keep = name, keep
        self.model = getattr(self._predictor, "model", None)

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """See `zim.protocol.Predictor`."""
        if not self._keep:
            super().set_image(image, image_format)
            return
        with self._pool.turn():
            key = sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
            self._predictor = self._pool.embedded(self._name, key, image)

    @property
    def identity(self) -> str:
        """Of the weights that answer."""
        return model_identity(self._predictor, self._name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """What a job found. objects: their alphas are empty, `crops` hold them; report: ready for JSON."""

    objects: tuple[SegmentedObject, ...]
    crops: tuple[CroppedVolume, ...]
    report: Mapping[str, Any]
    montage: NDArray[np.uint8]
    surfaces: Mapping[str, SurfaceMesh]
    notes: tuple[str, ...] = ()

    def alpha(self, label: str) -> NDArray[np.float32] | None:
        """(X, Y, Z) canonical of the object of that name."""
        for one, crop in zip(self.objects, self.crops, strict=True):
            if one.label == label:
                return crop.full()
        return None

    def label_map(self) -> NDArray[np.unsignedinteger]:
        """(X, Y, Z) canonical, see `segmentation.label_map`."""
        return label_map([crop.full() for crop in self.crops])


def segmented(
    volume: Volume,
    objects: Mapping[str, VolumeObject],
    settings: Settings,
    predictor: Predictor,
    answers: AnswerStore,
    *,
    progress: Progress = lambda done, most: None,
    stop: threading.Event | None = None,
) -> tuple[Segmenter, list[SegmentedObject]]:
    """Follow all objects.

    Args:
        volume: where.
        objects: name -> prompts.
        settings: how.
        predictor: who answers.
        answers: earlier ones to go on from; new ones are added.
        progress: is told after every slice.
        stop: set it to end the job.

    Raises:
        BusyError: stopped, or longer than one request may take; what was answered is kept in `answers`.
        ZimError: prompts that do not fit the volume.
    """
    clock, done = Clock(JOB_SECONDS), 0
    segmenter = Segmenter(predictor=predictor, volume=volume, settings=settings, answers=answers)
    sides = segmenter.view.shape
    spacing = volume.geometry.spacing
    boxes = (resolve_prompts(one.as_prompts(), volume.geometry, segmenter.view).box for one in objects.values())
    three = (settings.over_three_axes(box3d=box is not None, spacing=spacing) for box in boxes)
    most = sum(sum(sides) if along_three else segmenter.view.count for along_three in three)

    def asked() -> None:
        nonlocal done
        done += 1
        progress(done, max(most, done))
        clock.check()
        if stop is not None and stop.is_set():
            raise BusyError(f"stopped after {done} slices; following again goes on from there")

    segmenter.asked = asked
    found = [segmenter.segment(label, one.as_prompts()) for label, one in objects.items()]
    return segmenter, found


def follow(
    volume: Volume,
    objects: Mapping[str, VolumeObject],
    settings: Settings,
    predictor: TurnTaker,
    store: Path,
    *,
    progress: Progress,
    stop: threading.Event,
) -> Followed:
    """`segmented` with all that is shown of it. `store` is a folder for answers.

    Raises:
        ZimError: as `segmented`.
    """
    answers = AnswerStore(store, predictor.identity)
    segmenter, found = segmented(volume, objects, settings, predictor, answers, progress=progress, stop=stop)
    alphas = {one.label: one.alpha for one in found}
    view = segmenter.view
    numbers = {index: stored_slice(volume, view.axis, index) for index in range(view.count)}
    surfaces: dict[str, SurfaceMesh] = {}
    notes = [note for one in found for note in one.notes]
    for label, alpha in alphas.items():
        try:
            surfaces[label] = surface_of(alpha, volume.geometry)
        except DataError:
            notes.append(f"{label}: nothing found")
        except ZimError as error:
            notes.append(str(error))
    empty = np.zeros((0, 0, 0), np.float32)
    return Followed(
        objects=tuple(replace(one, alpha=empty) for one in found),
        crops=tuple(CroppedVolume.of(alpha) for alpha in alphas.values()),
        report=report_of(segmenter, found, label_map(list(alphas.values()))),
        montage=montage(volume.voxels, alphas, view, segmenter.window, numbers=numbers),
        surfaces=surfaces,
        notes=tuple(notes),
    )


def summary(found: Followed) -> str:
    """Volumes of the objects and where they end, in one line."""
    parts = []
    for one in found.report["labels"]:
        slices = [item["slice"] for item in one["slices"] if item["confidence"] > 0]
        where = f", slices {min(slices)} to {max(slices)}" if slices else ""
        parts.append(f"{one['label']}: {one['volume_ml']:.2f} ml{where}")
    return "; ".join([*parts, *found.notes]) + "."
