"""Following an object from slice to slice until it ends.

The answer on one slice prompts the next. A direction ends at the last slice allowed, after some empty slices, or at a
jump: the slice before was the object, this one is something else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .appearance import Appearance
from .asking import prompt_from
from .prompts import PlanePrompt
from .settings import Settings

Plane = NDArray[np.float32]
Ask = Callable[[int, PlanePrompt], Plane]
Values = Callable[[int], Plane]

SOLID = 0.5
"""A voxel belongs to the object where alpha is above this."""

_SMALL = 12
"""Growth of fewer voxels is no jump, whatever its ratio."""

_CONTAINED = 0.7
"""An object that loses more than half of its area from one slice to the next goes on where this share of what is left
lies inside of what was."""


_DWINDLED, _REGROWN = 0.6, 1.1
"""An object is near its end where its area has fallen below the first share of its largest, and half as much doubt
counts there as elsewhere; it counts at once where the area is again so many times its smallest."""


class SliceAnswer(NamedTuple):
    """alpha: (rows, columns). confidence: in [0, 1], see `confidence`. source: "prompt", "up", "down" or "between"."""

    alpha: Plane
    confidence: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One direction: its answers, and why it ended ("end", "empty", "growth", "overlap", "likeness")."""

    answers: dict[int, SliceAnswer]
    reason: str


def confidence(alpha: Plane, before: Plane | None = None) -> float:
    """How sure an answer is: the mean of |2 alpha - 1| where alpha > 0.02, times its overlap with the slice before.

    Half and half is 0, clear and steady is 1; an answer of nothing is 0.
    """
    seen = alpha > 0.02
    if not (alpha > SOLID).any():
        return 0.0
    sure = float(np.abs(2 * alpha[seen] - 1).mean())
    return sure if before is None else sure * _overlap(alpha > SOLID, before > SOLID)


@dataclass(frozen=True, kw_only=True, eq=False)
class Guidance:
    """What the user said beyond the slices that are started from.

    limit: (4,) xyxy in the plane, the 3-D box; boxes handed from slice to slice stay inside it. points: slice -> prompt
    whose points are given along when the object gets there.
    """

    limit: NDArray[np.float64] | None = None
    points: Mapping[int, PlanePrompt] = field(default_factory=dict)

    def applied(self, prompt: PlanePrompt, index: int) -> PlanePrompt:
        """A handed-on prompt with these."""
        box, limit = prompt.box, self.limit
        if box is not None and limit is not None:
            cut = np.concatenate([np.maximum(box[:2], limit[:2]), np.minimum(box[2:], limit[2:])])
            box = cut if (cut[2:] > cut[:2]).all() else box
        more = self.points.get(index, PlanePrompt())
        return prompt._replace(
            box=box,
            points=np.concatenate([prompt.points, more.points]),
            labels=np.concatenate([prompt.labels, more.labels]),
        )


def follow(
    ask: Ask,
    values: Values,
    *,
    start: int,
    seed: Plane,
    last: int,
    settings: Settings,
    appearance: Appearance,
    guidance: Guidance = Guidance(),
) -> Run:
    """Follow an object from slice `start`, where it is `seed`, to slice `last` at most.

    Args:
        ask: answers a prompt on a slice.
        values: the voxels of a slice, for the comparison of values.
        start: slice of the seed, which is not asked again.
        seed: its alpha.
        last: above or below `start`; gives the direction.
        settings: padding, points and stop rules.
        appearance: of the object; is changed.
        guidance: a box to stay in, and points on the way.
    """
    step = 1 if last >= start else -1
    source = "up" if step > 0 else "down"
    answers: dict[int, SliceAnswer] = {}
    before, empty, doubted = seed, 0, False
    areas = [int((seed > SOLID).sum())]
    if not (seed > SOLID).any():
        return Run(answers=answers, reason="empty")
    for index in range(start + step, last + step, step):
        alpha = ask(index, guidance.applied(handed_on(before, settings), index))
        solid = alpha > SOLID
        if not solid.any():
            empty += 1
            answers[index] = SliceAnswer(alpha, 0.0, source)
            if empty >= settings.stop_after:
                return Run(answers=_without_tail(answers), reason="empty")
            continue
        likeness = appearance.likeness(values(index), alpha)
        areas.append(int(solid.sum()))
        dwindled = min(areas) < _DWINDLED * max(areas)
        doubt = abs(1 - likeness) / (1 - settings.sure_likeness) if appearance.clear else 0.0
        doubtful = doubt > (0.5 if dwindled or doubted else 1.0)  # a slice in doubt makes the next one suspect
        again = dwindled and areas[-1] > _REGROWN * min(areas)
        jump = _jump(solid, before > SOLID, settings)
        if jump is None and (likeness < settings.min_likeness or (doubtful and (doubted or again))):
            jump = "likeness"
        if jump is not None:
            return Run(answers=_without_tail(answers), reason=jump)
        if not doubtful:
            appearance.follow(values(index), alpha)
        doubted = doubtful
        answers[index] = SliceAnswer(alpha, confidence(alpha, before), source)
        before, empty = alpha, 0
    return Run(answers=_without_tail(answers), reason="end")


def handed_on(before: Plane, settings: Settings) -> PlanePrompt:
    """The prompt that an answer, with at least one solid voxel, gives for the next slice."""
    mask = before if settings.feed_mask else None
    return prompt_from(before > SOLID, padding=settings.padding, points=settings.points, alpha=mask)


def _jump(solid: NDArray[np.bool_], before: NDArray[np.bool_], settings: Settings) -> str | None:
    """Why an answer cannot be the same object, or None."""
    area, area_before = int(solid.sum()), int(before.sum())
    if area > settings.max_growth * area_before and area - area_before > _SMALL:
        return "growth"
    wide = _grown(before)
    if area * settings.max_growth < area_before and int((solid & wide).sum()) < _CONTAINED * area:
        return "overlap"
    return "overlap" if _overlap(solid, before) < settings.min_overlap else None


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks, both grown by a voxel so that thin slanting things overlap."""
    one, other = _grown(one), _grown(other)
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _without_tail(answers: dict[int, SliceAnswer]) -> dict[int, SliceAnswer]:
    """Of the empty slices at the end only the first, whose soft values are the object's end."""
    solid = [place for place, answer in enumerate(answers.values()) if (answer.alpha > SOLID).any()]
    keep = (solid[-1] + 1 if solid else 0) + 1
    return dict(list(answers.items())[:keep])
