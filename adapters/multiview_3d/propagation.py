"""From a prompt in one view to the object in 3-D and its alpha in every view.

The prompted view seeds the object; the nearest view comes next, is asked with a prompt made of the object so far,
and votes if its answer agrees with it; and so on over all views, in two to three passes.
After "Segment Anything in 3D with NeRFs" (SA3D, arXiv 2304.12308), with votes on an explicit surface.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, PromptError, ZimError
from zim.evaluation.boundary import mask_iou
from zim.prompts import Prompt
from zim.protocol import Predictor

from .object_fields import ObjectField, Rendering
from .predictions import Prediction, PredictionStore
from .self_prompts import SelfPromptConfig, main_parts, self_prompt
from .views import Scene, Skipped, View

Progress = Callable[[str, int, int], None]

TOUCH, WIDENING, NEAR_BOX = 0.1, 0.25, 0.05
"""A box is widened by the second share of its size on a side along which the answer comes near on more than the first
share; near is within the third (a soft answer fades out a little before the box)."""

_FEWEST_SEEDS = 10
_FEWEST_KNOWN = 16
_LEAST_QUALITY = 0.05


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """How an object is carried through the views.

    passes: at most; fewer when a pass changes less than `converged` of the object. gate: a view whose answer overlaps
    less (IoU) with the object rendered into it has no vote. box_steps: how often a box may be widened whose answer is
    cut off by it, because parts of the object had not been seen before. prompts: what views are asked with.
    support: how far, as a share of the picture's long side, an answer may reach beyond the rendered object in the
    alphas that come out.
    """

    passes: int = 3
    box_steps: int = 3
    converged: float = 0.005
    gate: float = 0.4
    support: float = 0.012
    prompts: SelfPromptConfig = field(default_factory=SelfPromptConfig)

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ConfigError(f"passes: expected at least 1, got {self.passes}")
        for name in ("converged", "gate", "support"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a number in [0, 1], got {getattr(self, name)!r}")


class ViewResult(NamedTuple):
    """One object in one view. alpha: (H, W) float32. status: as in `Prediction`. overlap: IoU of the answer with the
    rendered object. source: "prediction" or, where that was not believed, "surface"."""

    alpha: NDArray[np.float32]
    status: str
    overlap: float
    source: str


@dataclass
class Propagation:
    """A finished propagation. passes: how many ran. changed: the share of each object that each pass changed.
    skipped: views that could not be read. seeds: elements that the prompted view gave each object."""

    scene: Scene
    field: ObjectField
    store: PredictionStore
    config: PropagationConfig
    prompted: int
    passes: int
    changed: tuple[float, ...]
    skipped: tuple[Skipped, ...]
    seeds: tuple[int, ...]

    def in_view(self, view: int, obj: int = 0) -> ViewResult:
        """An object's alpha in a view: the predictor's answer near the object, and the object itself inside.

        Where the view has no believed answer, the rendered object.
        """
        rendered = self.field.render(view, obj)
        predictions = self.store.get(self.passes - 1, view)
        found = predictions[obj] if predictions else Prediction(None, 0.0, np.nan, "unreadable")
        if found.status == "prompted":
            return ViewResult(found.values(), found.status, found.overlap, "prediction")
        if found.alpha is None or not found.counts:
            return ViewResult(rendered.alpha, found.status, found.overlap, "surface")
        alpha = fused_alpha(found.values(), rendered, self.config.support)
        return ViewResult(alpha, found.status, found.overlap, "prediction")


def segment_scene(
    scene: Scene,
    field: ObjectField,
    predictor: Predictor,
    prompts: Sequence[Prompt],
    *,
    view: int = 0,
    config: PropagationConfig | None = None,
    store: PredictionStore | None = None,
    progress: Progress | None = None,
) -> Propagation:
    """Segment what is prompted in one view.

    Args:
        scene: the views.
        field: an empty field of as many objects as there are prompts, over the same cameras.
        predictor: ZIM, SAM, or any other.
        prompts: one for each object, in pixels of the prompted view.
        view: number of that view.
        config: defaults when None.
        store: keeps answers; with a folder, a run that was killed goes on where it was.
        progress: called with the pass's name, views done and views in all.

    Raises:
        PromptError: no prompt, another number than the field has objects, or one that meets no surface.
    """
    config, store = config or PropagationConfig(), store or PredictionStore()
    if not prompts or len(prompts) != field.objects:
        raise PromptError(f"prompts: expected one for each of {field.objects} objects, got {len(prompts)}")
    order = view_order(scene, view)
    asking = _Asking(scene, field, predictor, tuple(prompts), view, config, store)
    first = asking.answers(0, view)
    seeds = _checked_seeds(scene.views[view], view, field, first)
    changed: list[float] = []
    for number in range(config.passes):
        for done, index in enumerate(order):
            for obj, answer in enumerate(asking.answers(number, index)):
                if answer.counts:
                    field.vote(index, obj, answer.values(), answer.quality / max(first[obj].quality, _LEAST_QUALITY))
            if progress:
                progress(f"pass {number + 1}", done + 1, len(order))
        changed.append(field.end_pass())
        if number and changed[-1] < config.converged:
            break
    return Propagation(
        scene=scene,
        field=field,
        store=store,
        config=config,
        prompted=view,
        passes=len(changed),
        changed=tuple(changed),
        skipped=tuple(asking.skipped.values()),
        seeds=tuple(seeds),
    )


def view_order(scene: Scene, start: int) -> list[int]:
    """All views, each time the nearest to one that has been: by distance of the centres and angle between the axes."""
    centres = np.stack([view.camera.centre for view in scene.views])
    axes = np.stack([view.camera.world_to_camera[2, :3] for view in scene.views])
    spread = max(float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean()), 1e-9)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) / spread
    apart += np.arccos(np.clip(axes @ axes.T, -1, 1))
    order, nearest = [start], apart[start].copy()
    while len(order) < len(centres):
        nearest[order] = np.inf
        order.append(int(np.argmin(nearest)))
        nearest = np.minimum(nearest, apart[order[-1]])
    return order


def fused_alpha(alpha: NDArray[np.float32], rendered: Rendering, support: float) -> NDArray[np.float32]:
    """A view's answer, kept to the neighbourhood of the rendered object, and filled where that is sure of itself.

    Outside `support` (a share of the long side) from the object the answer fades to nothing; farther inside than that
    it is at least the object's own alpha. On thin parts nothing is that far inside: there the answer stands.
    """
    reach = max(2.0, support * max(alpha.shape))
    solid = rendered.alpha > 0.5
    outside = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(np.pad(solid, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    if not solid.any():
        return np.zeros_like(alpha)
    allowed = np.clip(2 - outside / reach, 0, 1)
    filled = np.clip(inside / reach - 1, 0, 1) * rendered.alpha
    return np.maximum(alpha * allowed, filled).astype(np.float32)


@dataclass
class _Asking:
    """Asks the predictor about a view, unless the answer is stored."""

    scene: Scene
    objects: ObjectField
    predictor: Predictor
    prompts: tuple[Prompt, ...]
    prompted: int
    config: PropagationConfig
    store: PredictionStore
    skipped: dict[int, Skipped] = field(default_factory=dict)

    def answers(self, number: int, index: int) -> list[Prediction]:
        """One answer for each object, of a pass in a view."""
        stored = self.store.get(number, index)
        if stored is None and index == self.prompted and number:
            stored = self.store.get(number - 1, index)  # the user's own prompt: the answer is the same
        if stored is not None:
            self.store.put(number, index, stored)
            return stored
        try:
            found = self._ask(number, index)
        except ZimError as error:
            if index == self.prompted:
                raise
            self.skipped[index] = Skipped(self.scene.names[index], str(error))
            found = [Prediction(None, 0.0, float("nan"), "unreadable")] * self.objects.objects
        self.store.put(number, index, found)
        return found

    def _ask(self, number: int, index: int) -> list[Prediction]:
        if index == self.prompted:
            self.predictor.set_image(self.scene.views[index].read_image())
            return [self._predicted(prompt, None) for prompt in self.prompts]
        asked: list[tuple[Prompt | None, Rendering]] = []
        for obj in range(self.objects.objects):
            rendered = self.objects.render(index, obj)
            asked.append((self_prompt(rendered, self.config.prompts), rendered))
        if any(prompt is not None for prompt, _ in asked):
            self.predictor.set_image(self.scene.views[index].read_image())
        unseen = Prediction(None, 0.0, float("nan"), "not in view")
        return [unseen if prompt is None else self._predicted(prompt, rendered) for prompt, rendered in asked]

    def _predicted(self, prompt: Prompt, rendered: Rendering | None) -> Prediction:
        given: dict[str, Any] = {key: value for key, value in prompt.as_kwargs().items() if value is not None}
        if rendered is None:
            return Prediction(*self._answer(given), float("nan"), "prompted")
        stored, quality = self._answer(given)
        best = Prediction(stored, quality, *self._judged(stored, rendered))
        for _ in range(self.config.box_steps if prompt.box is not None else 0):
            wider = grown_where_touched(np.asarray(given["box"]), stored > 127)
            if wider is None:
                break
            given["box"] = wider
            stored, quality = self._answer(given)
            found = Prediction(stored, quality, *self._judged(stored, rendered))
            if not found.counts and best.counts:
                break
            best = found
        return best

    def _answer(self, given: dict[str, Any]) -> tuple[NDArray[np.uint8], float]:
        logits, qualities, _ = self.predictor.predict(**given, multimask_output=False, return_logits=True)
        alpha = 1 / (1 + np.exp(-np.clip(np.asarray(logits[0], np.float32), -30, 30)))
        return (alpha * 255 + 0.5).astype(np.uint8), float(np.clip(np.ravel(qualities)[0], 0, 1))

    def _judged(self, stored: NDArray[np.uint8], rendered: Rendering) -> tuple[float, str]:
        overlap = known_overlap(stored > 127, rendered)
        return overlap, "accepted" if overlap >= self.config.gate else "disagrees"


def grown_where_touched(box: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """A box widened on the sides along which an answer lies; None where it is cut off nowhere.

    An answer that ends at the box touches it along a line, an object that fits touches it nowhere.
    """
    height, width = mask.shape
    left, top, right, bottom = (int(v) for v in (*np.floor(box[:2] + 0.5), *np.ceil(box[2:] - 0.5)))
    inner = mask[max(0, top) : bottom + 1, max(0, left) : right + 1]
    if min(inner.shape, default=0) < 4:
        return None
    across, down = (max(2, round(NEAR_BOX * side)) for side in (inner.shape[1], inner.shape[0]))
    near = [inner[:, :across].any(1), inner[:down].any(0), inner[:, -across:].any(1), inner[-down:].any(0)]
    touched = [int(np.count_nonzero(line)) > max(3, TOUCH * line.size) for line in near]
    at_border = (left <= 0, top <= 0, right >= width - 1, bottom >= height - 1)
    grow = [yes and not edge for yes, edge in zip(touched, at_border, strict=True)]
    if not any(grow):
        return None
    x, y = WIDENING * (right - left), WIDENING * (bottom - top)
    wider = np.array(box, np.float64) + np.array([-x, -y, x, y]) * grow
    return np.clip(wider, 0, [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)


def known_overlap(mask: NDArray[np.bool_], rendered: Rendering) -> float:
    """IoU of an answer with the rendered object where the surface has been voted on: the rest is news, no error."""
    solid = main_parts(rendered.alpha > 0.5)
    where = rendered.known | solid
    if int(np.count_nonzero(where)) < _FEWEST_KNOWN:
        return 0.0
    return mask_iou(mask & where, solid)


def _checked_seeds(view: View, index: int, field: ObjectField, answers: Sequence[Prediction]) -> list[int]:
    """Seed the field by the prompted view.

    Raises:
        PromptError: an answer is empty, or lies where the scene has no surface.
    """
    seeds = field.seed(index, np.stack([each.values() for each in answers]))
    for obj, (count, answer) in enumerate(zip(seeds, answers, strict=True)):
        shown = int((answer.values() > 0.5).sum())
        if count < _FEWEST_SEEDS:
            raise PromptError(
                f"prompt {obj + 1}: in view {view.name} it selects {shown} pixels, on {count} points of the surface: "
                "nothing to start from; is it on empty background?"
            )
    return seeds
