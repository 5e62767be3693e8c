"""Several prompted slices: outwards from the first and the last, and towards each other in between."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .appearance import Appearance
from .prompts import ObjectPrompts, starts_object
from .propagation import SOLID, Ask, Guidance, Plane, SliceAnswer, Values, confidence, follow, handed_on
from .settings import Settings


@dataclass(frozen=True, kw_only=True)
class FollowedObject:
    """answers: slice -> answer. ends: why each outward direction ended. notes: what the user should know."""

    answers: dict[int, SliceAnswer]
    ends: dict[str, str]
    notes: tuple[str, ...] = ()


def follow_object(
    ask: Ask,
    values: Values,
    prompts: ObjectPrompts,
    settings: Settings,
    *,
    limit: NDArray[np.float64] | None = None,
) -> FollowedObject:
    """Answer all prompted slices and follow the object from them.

    Slices with background points only are no start; their points are given along when the object gets there.

    Args:
        ask: answers a prompt on a slice.
        values: the voxels of a slice.
        prompts: with at least one slice to start from.
        settings: of propagation.
        limit: (4,) xyxy in the plane that a 3-D box covers.
    """
    starts = {i: p for i, p in sorted(prompts.planes.items()) if starts_object(p)}
    guidance = Guidance(limit=limit, points={i: p for i, p in prompts.planes.items() if i not in starts})
    seeds = {index: ask(index, prompt) for index, prompt in starts.items()}
    if prompts.rough:
        seeds = {index: _closer(ask, index, alpha, guidance, settings) for index, alpha in seeds.items()}
    notes = tuple(f"slice {index}: nothing found at the prompt" for index, a in seeds.items() if not (a > 0.5).any())
    answers = {index: SliceAnswer(alpha, confidence(alpha), "prompt") for index, alpha in seeds.items()}

    def run(start: int, last: int) -> tuple[dict[int, SliceAnswer], str]:
        looks = Appearance(values(start), seeds[start])
        done = follow(
            ask,
            values,
            start=start,
            seed=seeds[start],
            last=last,
            settings=settings,
            appearance=looks,
            guidance=guidance,
        )
        return done.answers, done.reason

    order = sorted(seeds)
    ends = {"up": "end", "down": "end"}
    if order[0] > prompts.first:
        found, ends["down"] = run(order[0], prompts.first)
        answers.update(found)
    if order[-1] < prompts.last:
        found, ends["up"] = run(order[-1], prompts.last)
        answers.update(found)
    for low, high in zip(order[:-1], order[1:], strict=True):
        if high - low > 1:
            answers.update(_met(run(low, high - 1)[0], run(high, low + 1)[0], low, high))
    return FollowedObject(answers=dict(sorted(answers.items())), ends=ends, notes=notes)


def _closer(ask: Ask, index: int, alpha: Plane, guidance: Guidance, settings: Settings) -> Plane:
    """A second answer on a slice whose box was that of the whole object, not of the slice."""
    if not (alpha > SOLID).any():
        return alpha
    second = ask(index, guidance.applied(handed_on(alpha, settings), index))
    return second if (second > SOLID).any() else alpha


def _met(
    rising: dict[int, SliceAnswer], falling: dict[int, SliceAnswer], low: int, high: int
) -> dict[int, SliceAnswer]:
    """Two runs towards each other, each weighted by the nearness of its own prompt; alone where the other ended."""
    met = {}
    for index in range(low + 1, high):
        up, down = rising.get(index), falling.get(index)
        if up is None or down is None:
            only = up or down
            if only is not None:
                met[index] = only
            continue
        weight = np.float32((high - index) / (high - low))
        alpha = weight * up.alpha + (1 - weight) * down.alpha
        sure = float(weight) * up.confidence + float(1 - weight) * down.confidence
        met[index] = SliceAnswer(alpha, sure, "between")
    return met
