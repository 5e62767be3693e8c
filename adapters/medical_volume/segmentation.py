"""From a volume and prompts to soft objects in three dimensions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError
from zim.protocol import Predictor

from .asking import Answers, ShowImage, SliceAsker, show_directly
from .cleaning import clean_alpha
from .meeting import FollowedObject, follow_object
from .prompts import (
    ObjectPrompts,
    PlanePrompt,
    VolumePrompt,
    box_of_mask,
    plane_box,
    previous_prompts,
    resolve_prompts,
    slices_of,
    starts_object,
)
from .propagation import SOLID, SliceAnswer, confidence
from .settings import Settings
from .slicing import AXIS_NAMES, SliceView, axis_of, view_of
from .volume import Volume
from .windowing import Window, window_of

SoftVolume = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedObject:
    """alpha: (X, Y, Z) float32 in [0, 1], canonical frame. axis: canonical, of the slices that were followed.

    confidences: slice -> confidence; sources: slice -> where its answer came from; ends: why each direction ended.
    """

    label: str
    alpha: SoftVolume
    axis: int
    confidences: Mapping[int, float]
    sources: Mapping[int, str]
    ends: Mapping[str, str]
    notes: Sequence[str] = ()


@dataclass(kw_only=True)
class Segmenter:
    """One volume, one predictor, any number of objects.

    show: how pictures get into the predictor (an embedding cache, for one). answers: earlier answers to go on from.
    asked: called after every slice.
    """

    predictor: Predictor
    volume: Volume
    settings: Settings = Settings()
    show: ShowImage = show_directly
    answers: Answers = field(default_factory=Answers)
    asked: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.window: Window = window_of(self.settings.window, self.volume.voxels)
        self.view: SliceView = view_of(self.volume.geometry, axis_of(self.settings.axis, self.volume.geometry))

    def segment(
        self, label: str, prompts: Sequence[VolumePrompt] = (), *, previous: NDArray[Any] | None = None
    ) -> SegmentedObject:
        """Segment one object.

        Args:
            label: its name.
            prompts: points and boxes.
            previous: (X, Y, Z) canonical, an earlier mask or alpha; each of its slices is asked again with it. Prompts
                on a slice replace what it says there.

        Raises:
            PromptError: nothing to start from, or prompts that do not fit the volume.
        """
        resolved = self._resolved(prompts, previous)
        followed = self._followed(self.view, resolved)
        alpha = _assembled(self.view, followed.answers)
        spacing = self.volume.geometry.spacing
        if self.settings.over_three_axes(box3d=resolved.box is not None, spacing=spacing):
            alpha = self._consensus(alpha, resolved.box)
        if resolved.box is not None:
            for most in _most_within(alpha.shape, resolved.box):
                np.minimum(alpha, most, out=alpha)
        alpha = clean_alpha(alpha, self.volume.geometry, self.settings)
        return SegmentedObject(
            label=label,
            alpha=alpha,
            axis=self.view.axis,
            confidences={index: answer.confidence for index, answer in followed.answers.items()},
            sources={index: answer.source for index, answer in followed.answers.items()},
            ends=followed.ends,
            notes=followed.notes,
        )

    def answer_slice(self, prompts: Sequence[VolumePrompt], index: int) -> NDArray[np.float32]:
        """The answer on one prompted slice, nothing followed: what `segment` starts from there.

        Args:
            prompts: points and boxes of one object.
            index: canonical, of a slice that has a box or an object point.

        Returns:
            (rows, columns) float32 in [0, 1], see `SliceView.plane`.

        Raises:
            PromptError: prompts that do not fit the volume, or none on this slice.
        """
        resolved = self._resolved(prompts, None)
        prompt = resolved.planes.get(index)
        if prompt is None or not starts_object(prompt):
            raise PromptError(f"slice {index}: expected a box or an object point on it, got none")
        alpha = self._asker(self.view)(index, prompt).copy()
        if resolved.box is not None:
            for most in _most_within(self.view.shape, resolved.box):
                np.minimum(alpha, self.view.plane(most, index), out=alpha)
        return alpha

    def _resolved(self, prompts: Sequence[VolumePrompt], previous: NDArray[Any] | None) -> ObjectPrompts:
        if previous is None:
            return resolve_prompts(prompts, self.volume.geometry, self.view)
        earlier = previous_prompts(previous, self.view)
        if not prompts:
            return earlier
        given = resolve_prompts(prompts, self.volume.geometry, self.view)
        planes = {**earlier.planes, **given.planes}
        return ObjectPrompts(planes, min(planes), max(planes), given.box)

    def _asker(self, view: SliceView) -> SliceAsker:
        return SliceAsker(
            predictor=self.predictor,
            voxels=self.volume.voxels,
            view=view,
            window=self.window,
            context=self.settings.context,
            show=self.show,
            answers=self.answers,
            asked=self.asked,
        )

    def _followed(self, view: SliceView, prompts: ObjectPrompts) -> FollowedObject:
        asker = self._asker(view)

        def values(index: int) -> NDArray[np.float32]:
            return view.plane(self.volume.voxels, index)

        if prompts.box is not None and self.settings.box3d == "every":
            return _every_slice(asker, prompts, plane_box(prompts.box, view))
        limit = None if prompts.box is None else plane_box(prompts.box, view)
        return follow_object(asker, values, prompts, self.settings, limit=limit)

    def _consensus(self, first: SoftVolume, box: NDArray[np.float64] | None) -> SoftVolume:
        """The mean of three passes: the one that was prompted, and two across the other axes prompted by it, in the
        user's 3-D box where there is one."""
        if not (first > SOLID).any():
            return first
        total, passes = first.copy(), 1
        for axis in (other for other in range(3) if other != self.view.axis):
            view = replace(self.view, axis=axis)
            areas = (first > SOLID).sum(tuple(other for other in range(3) if other != axis))
            shown = np.flatnonzero(areas)
            seed = int(np.argmax(areas))
            plane = np.ascontiguousarray(view.plane(first, seed))
            planes = {seed: PlanePrompt(box=box_of_mask(plane > SOLID))}
            low, high = max(0, int(shown[0]) - 1), min(view.count - 1, int(shown[-1]) + 1)
            if box is not None:
                low, high = slices_of(box, view)
            prompts = ObjectPrompts(planes, min(low, seed), max(high, seed), box)
            total += _assembled(view, self._followed(view, prompts).answers)
            passes += 1
        return (total / np.float32(passes)).astype(np.float32)


def _every_slice(asker: SliceAsker, prompts: ObjectPrompts, box: NDArray[np.float64]) -> FollowedObject:
    """Each slice of a 3-D box is asked with the box."""
    answers = {}
    for index in range(prompts.first, prompts.last + 1):
        prompt = prompts.planes.get(index, PlanePrompt(box=box))
        alpha = asker(index, prompt if prompt.box is not None else prompt._replace(box=box))
        answers[index] = SliceAnswer(alpha, confidence(alpha), "prompt")
    return FollowedObject(answers=answers, ends={"up": "end", "down": "end"})


def _most_within(shape: tuple[int, ...], box: NDArray[np.float64]) -> Iterator[SoftVolume]:
    """What alpha may be at most: 1 in a 3-D box, SOLID in the one voxel around it, for soft rims, 0 elsewhere.

    The least of three views of `shape`, one an axis, which take no memory.
    """
    for axis, (start, end) in enumerate(zip(np.floor(box[0] + 0.5), np.ceil(box[1] - 0.5), strict=True)):
        beyond = np.maximum(start - np.arange(shape[axis]), np.arange(shape[axis]) - end)
        most = np.select([beyond <= 0, beyond <= 1], [1.0, SOLID], 0.0).astype(np.float32)
        yield np.broadcast_to(np.expand_dims(most, [other for other in range(3) if other != axis]), shape)


def _assembled(view: SliceView, answers: Mapping[int, SliceAnswer]) -> SoftVolume:
    alpha = np.zeros(view.shape, np.float32)
    for index, answer in answers.items():
        view.plane(alpha, index)[...] = answer.alpha
    return alpha


def label_map(alphas: Sequence[SoftVolume]) -> NDArray[np.unsignedinteger]:
    """One id a voxel: 1 + the number of the largest alpha where that beats the background, 1 - it; else 0.

    Args:
        alphas: at least one, all of one shape.

    Returns:
        uint8, or uint16 for more than 255 objects.
    """
    if not alphas:
        raise PromptError("labels: expected at least one object, got none")
    dtype = np.uint8 if len(alphas) < 256 else np.uint16
    best = np.full(alphas[0].shape, np.float32(SOLID))
    ids = np.zeros(alphas[0].shape, dtype)
    for number, alpha in enumerate(alphas, start=1):
        wins = alpha > best
        ids[wins] = number
        np.maximum(best, alpha, out=best)
    return ids


def describe_axis(axis: int) -> str:
    """ "axial", "coronal" or "sagittal"."""
    return AXIS_NAMES[axis]
