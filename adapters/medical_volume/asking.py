"""One slice, one prompt, one answer: between a volume and a predictor of pictures."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.alpha import predict_alpha
from zim.mask_prompts import interior_points
from zim.prompts import mask_input_from_mask
from zim.protocol import Predictor

from .prompts import PlanePrompt, box_of_mask
from .slicing import Frame, Region, SliceView
from .windowing import Window

MIN_CONTEXT = 12
"""A shown region has at least this many voxels along each side, where the plane has them."""

_WAY_BACK = "voxels whose enlargement fits best"
"""Part of an answer's key: answers that came to their voxels in another way are not taken up."""

ShowImage = Callable[[Predictor, NDArray[np.uint8]], None]


def show_directly(predictor: Predictor, picture: NDArray[np.uint8]) -> None:
    """`set_image`, nothing kept."""
    predictor.set_image(picture)


class Answers:
    """What was asked and answered before; this one forgets. See `answer_store.AnswerStore`."""

    def get(self, key: str) -> NDArray[np.float32] | None:
        """The alpha of an earlier answer."""
        return None

    def put(self, key: str, alpha: NDArray[np.float32]) -> None:
        """Keep an answer."""


class MemoryAnswers(Answers):
    """Answers of one predictor, kept as long as the process lives."""

    def __init__(self) -> None:
        self._known: dict[str, NDArray[np.float32]] = {}

    def get(self, key: str) -> NDArray[np.float32] | None:
        """See `Answers`."""
        return self._known.get(key)

    def put(self, key: str, alpha: NDArray[np.float32]) -> None:
        """See `Answers`."""
        self._known[key] = alpha.copy()


@dataclass(kw_only=True)
class SliceAsker:
    """Asks a predictor about slices of one volume along one axis.

    predictor: anything of `zim.protocol`. voxels: (X, Y, Z) canonical. context: see `Settings`. show: how a picture
    gets into the predictor. answers: earlier answers. asked: called after each slice, for progress bars.
    """

    predictor: Predictor
    voxels: NDArray[np.float32]
    view: SliceView
    window: Window
    context: float = 0.0
    show: ShowImage = show_directly
    answers: Answers = field(default_factory=Answers)
    asked: Callable[[], None] = lambda: None
    _shown: tuple[int, Region] | None = None

    def __call__(self, index: int, prompt: PlanePrompt) -> NDArray[np.float32]:
        """The alpha of slice `index`: (rows, columns) float32 in [0, 1], the share of each voxel."""
        frame = self.view.frame(self._region(prompt))
        picture = self.view.picture(self.voxels, index, self.window, frame)
        prompts = _picture_prompts(prompt, frame, self._img_size())
        key = _key(picture, prompts, frame)
        known = self.answers.get(key)
        if known is not None and known.shape == self.view.plane_hw:
            self.asked()
            return known
        if self._shown != (index, frame.region):
            self._shown = None
            self.show(self.predictor, picture)
            self._shown = index, frame.region
        alpha = frame.to_plane(predict_alpha(self.predictor, **prompts), self.view.plane_hw)
        self.answers.put(key, alpha)
        self.asked()
        return alpha

    def _region(self, prompt: PlanePrompt) -> Region | None:
        """What is shown: the prompt's box, grown; the whole plane for points alone."""
        box = prompt.box
        if box is None and prompt.alpha is not None and (prompt.alpha > 0.5).any():
            box = box_of_mask(prompt.alpha > 0.5)
        if not self.context or box is None:
            return None
        points = prompt.points[prompt.labels == 1]
        low, high = np.vstack([box[:2], points]).min(0), np.vstack([box[2:], points]).max(0)
        half = np.maximum((high - low) * self.context, MIN_CONTEXT) / 2
        rows, columns = self.view.plane_hw
        left, top = np.clip(np.floor((low + high) / 2 - half), 0, (columns, rows)).astype(int)
        right, bottom = np.clip(np.ceil((low + high) / 2 + half), 0, (columns, rows)).astype(int)
        return Region(int(top), int(left), int(bottom), int(right))

    def _img_size(self) -> int:
        model = getattr(self.predictor, "model", None)
        return int(getattr(getattr(model, "image_encoder", None), "img_size", 1024))


def _picture_prompts(prompt: PlanePrompt, frame: Frame, img_size: int) -> dict[str, Any]:
    """Keyword arguments of `predict`, in pixels of the picture."""
    height, width = frame.picture_hw
    given: dict[str, Any] = {}
    if prompt.box is not None:
        box = frame.xy_in_picture(prompt.box.reshape(2, 2)).ravel()
        given["box"] = np.clip(box, 0, [width, height, width, height])
    inside = frame.xy_in_picture(prompt.points)
    kept = ((inside >= 0) & (inside <= (width, height))).all(axis=1)
    if kept.any():
        given["point_coords"], given["point_labels"] = inside[kept], prompt.labels[kept].astype(np.int32)
    if prompt.alpha is not None:
        picture = np.clip(frame.to_picture(prompt.alpha.astype(np.float32)), 0, 1)
        given["mask_input"] = mask_input_from_mask(picture, img_size)
    return given


def _key(picture: NDArray[np.uint8], prompts: dict[str, Any], frame: Frame) -> str:
    digest = hashlib.sha256(repr((_WAY_BACK, picture.shape, frame.region)).encode())
    digest.update(np.ascontiguousarray(picture).data)
    for name in sorted(prompts):
        value = np.ascontiguousarray(prompts[name])
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def prompt_from(
    solid: NDArray[np.bool_], *, padding: float, points: int, alpha: NDArray[np.float32] | None = None
) -> PlanePrompt:
    """The prompt that the answer on one slice gives for the next: its box, grown, and interior points.

    Args:
        solid: (rows, columns), the object; with at least one voxel.
        padding: share of the box's size on each side, and at least one voxel.
        points: at most so many.
        alpha: handed on as a mask input.
    """
    box = box_of_mask(solid)
    grow = np.maximum((box[2:] - box[:2]) * padding, 1)
    rows, columns = solid.shape
    grown = np.clip(box + np.concatenate([-grow, grow]), 0, [columns, rows, columns, rows])
    inner = interior_points(solid, points).astype(np.float64) + 0.5 if points else np.zeros((0, 2))
    return PlanePrompt(box=grown, points=inner, labels=np.ones(len(inner), np.int64), alpha=alpha)
