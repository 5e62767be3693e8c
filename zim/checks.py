"""What enters at the public boundary is checked here, once; inside, shapes are trusted.

A prompt that sticks out of the image is cut to it, as a user's hand does at the border: points and boxes are
moved to the frame [0, W] x [0, H]. A box that does not touch the image at all is an error.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zim.errors import ConfigError, ImageError, PromptError

Kind = Literal["coordinates", "labels", "logits"]

NO_PROMPT = (
    "prompt: expected at least one of point_coords, box (boxes in predict_torch) and mask_input, got none; "
    "to segment everything without prompts use an automatic mask generator"
)


class PromptTensors(NamedTuple):
    """B prompts in one frame, checked; at least one field is not None.

    `point_coords` (B, N, 2) float with `point_labels` (B, N) int in {-1, 0, 1}, N >= 1; `boxes` (B, 4) float
    xyxy; `mask_input` (B, 1, m, m) float logits.
    """

    point_coords: Tensor | None
    point_labels: Tensor | None
    boxes: Tensor | None
    mask_input: Tensor | None

    @property
    def batch_size(self) -> int:
        """B."""
        return next(len(field) for field in self if field is not None)

    def to(self, device: torch.device) -> "PromptTensors":
        """Every field on a device, in single precision."""
        moved = (None if field is None else _single(field).to(device) for field in self)
        return PromptTensors(*moved)

    def rows(self, start: int, stop: int) -> "PromptTensors":
        """Prompts start..stop - 1."""
        return PromptTensors(*(None if field is None else field[start:stop] for field in self))


def _single(field: Tensor) -> Tensor:
    return field.to(torch.float32) if field.is_floating_point() else field


def describe(value: Any) -> str:
    """What was received, for an error: type, dtype and shape."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, Tensor):
        return f"{value.dtype} tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}"[:120]


def check_size(value: Any, name: str) -> tuple[int, int]:
    """An (H, W) of two positive integers.

    Raises:
        ImageError: anything else.
    """
    try:
        height, width = (int(side) for side in value)
        whole = all(int(side) == side for side in value)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name}: expected (H, W), two positive integers, got {describe(value)}") from error
    if not whole or height < 1 or width < 1:
        raise ImageError(f"{name}: expected (H, W), two positive integers, got {describe(value)}")
    return height, width


def check_side(value: Any, name: str) -> int:
    """One side of an image, a positive integer.

    Raises:
        ImageError: anything else.
    """
    return check_size((value, 1), name)[0]


def check_positive_int(value: Any, name: str) -> int:
    """A setting that counts something.

    Raises:
        ConfigError: not an integer, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name}: expected an integer >= 1, got {value!r}")
    return int(value)


def check_torch_image(image: Any, img_size: int) -> None:
    """A (1, 3, H, W) tensor whose long side is the model's input size.

    Raises:
        ImageError: anything else.
    """
    good = isinstance(image, Tensor) and image.ndim == 4 and image.shape[:2] == (1, 3)
    if not good or max(image.shape[2:]) != img_size or min(image.shape[2:]) < 1:
        raise ImageError(
            f"transformed_image: expected a (1, 3, H, W) tensor of values 0..255 with long side {img_size}, "
            f"got {describe(image)}"
        )
    if image.dtype == torch.bool or image.is_complex():
        raise ImageError(f"transformed_image: expected uint8 or float values 0..255, got {image.dtype}")


def prompts_of_one(
    point_coords: Any,
    point_labels: Any,
    box: Any,
    mask_input: Any,
    *,
    frame_hw: tuple[int, int],
    img_size: int,
) -> PromptTensors:
    """Check one prompt as `predict` takes it and give it a batch axis.

    Args:
        point_coords: (N, 2), point_labels: (N,), box: (4,) or (1, 4), in pixels of the frame.
        mask_input: (1, m, m) or (m, m), m = img_size / 4 or img_size / 2.
        frame_hw: size of the frame that the coordinates refer to.
        img_size: side of the model's padded frame.

    Raises:
        PromptError: the argument, what was expected and what was received.
    """
    coords, labels = _points(point_coords, point_labels, "(N, 2)", "(N,)")
    box = _numbers(box, "box")
    if box is not None:
        if box.ndim == 2 and box.shape[1] == 4 and len(box) > 1:
            raise PromptError(
                f"box: expected one box (4,) or (1, 4), got {len(box)} boxes; "
                "use predict_many (one Prompt each) or predict_torch(boxes=...)"
            )
        if box.shape not in ((4,), (1, 4)):
            raise PromptError(f"box: expected shape (4,) or (1, 4), got {tuple(box.shape)}")
    logits = _numbers(mask_input, "mask_input", "logits")
    if logits is not None:
        if logits.ndim == 3 and logits.shape[0] > 1:
            raise PromptError(
                f"mask_input: expected one map (1, {img_size // 4}, {img_size // 4}), "
                f"got {tuple(logits.shape)}; feed the best one back as low_res[best][None]"
            )
        logits = logits.reshape(1, 1, *_map_size(logits, (2, 3), "", img_size))
    prompts = PromptTensors(
        None if coords is None else coords[None],
        None if labels is None else labels[None],
        None if box is None else box.reshape(1, 4),
        logits,
    )
    return _checked_values(prompts, frame_hw, "box")


def prompts_of_batch(
    point_coords: Any,
    point_labels: Any,
    boxes: Any,
    mask_input: Any,
    *,
    frame_hw: tuple[int, int],
    img_size: int,
) -> PromptTensors:
    """Check B prompts as `predict_torch` takes them.

    Args:
        point_coords: (B, N, 2), point_labels: (B, N), boxes: (B, 4) or (B, 1, 4), in pixels of the frame.
        mask_input: (B, 1, m, m), m = img_size / 4 or img_size / 2. Where one row meets B rows it counts for
            all.
        frame_hw: size of the frame that the coordinates refer to.
        img_size: side of the model's padded frame.

    Raises:
        PromptError: the argument, what was expected and what was received.
    """
    coords, labels = _points(point_coords, point_labels, "(B, N, 2)", "(B, N)")
    boxes = _numbers(boxes, "boxes")
    if boxes is not None:
        if boxes.ndim == 3 and boxes.shape[1:] == (1, 4):
            boxes = boxes[:, 0]
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise PromptError(f"boxes: expected shape (B, 4), got {tuple(boxes.shape)}")
    logits = _numbers(mask_input, "mask_input", "logits")
    if logits is not None:
        _map_size(logits, (4,), "B, ", img_size)
    named = {"point_coords": coords, "boxes": boxes, "mask_input": logits}
    counts = {name: len(value) for name, value in named.items() if value is not None}
    batch = max(counts.values(), default=0)
    if counts and min(counts.values()) < 1:
        raise PromptError(f"prompt: expected at least one row, got batch sizes {counts}")
    if any(count not in (1, batch) for count in counts.values()):
        raise PromptError(f"prompt: expected one batch size B for all arguments, got {counts}")
    rows = (
        None if value is None else value.expand(batch, *value.shape[1:]) for value in (coords, labels, boxes, logits)
    )
    return _checked_values(PromptTensors(*rows), frame_hw, "boxes")


def _numbers(value: Any, name: str, kind: Kind = "coordinates") -> Tensor | None:
    """Anything array-like as a finite tensor, on the device it is on; None stays None."""
    if value is None:
        return None
    tensor = value.detach() if isinstance(value, Tensor) else _tensor_of(value, name)
    if tensor.is_complex() or (tensor.dtype == torch.bool and kind == "coordinates"):
        raise PromptError(f"{name}: expected real numbers, got {describe(value)}")
    if kind == "logits" and not tensor.is_floating_point():
        raise PromptError(
            f"{name}: expected float logits, got {describe(value)}; "
            "zim.prompts.mask_input_from_mask makes logits of a mask"
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise PromptError(f"{name}: expected finite values, got NaN or infinity in {describe(value)}")
    return tensor


def _tensor_of(value: Any, name: str) -> Tensor:
    """A copy of numpy data or nested lists: integers as int64, floats as they are."""
    try:
        array = np.array(value)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}: expected an array of numbers, got {describe(value)}") from error
    if array.dtype.kind in "iu":
        array = array.astype(np.int64)
    elif array.dtype.kind == "f" and array.itemsize > 8:
        array = array.astype(np.float64)
    elif array.dtype.kind not in "bf":
        raise PromptError(f"{name}: expected an array of numbers, got {describe(value)}")
    return torch.from_numpy(array)


def _points(
    point_coords: Any, point_labels: Any, coords_shape: str, labels_shape: str
) -> tuple[Tensor | None, Tensor | None]:
    """Coordinates and labels of matching shape; an empty list of points counts as none."""
    if point_coords is None and point_labels is None:
        return None, None
    if point_labels is None:
        raise PromptError(f"point_labels: expected {labels_shape} labels with point_coords, got None")
    if point_coords is None:
        raise PromptError(f"point_coords: expected {coords_shape} coordinates with point_labels, got None")
    coords = _numbers(point_coords, "point_coords")
    labels = _numbers(point_labels, "point_labels", "labels")
    if coords is None or labels is None:  # for the type checker: neither was None above
        return None, None
    if coords.numel() == 0 and labels.numel() == 0:
        return None, None
    dimensions = coords_shape.count(",") + 1
    if coords.ndim != dimensions or coords.shape[-1] != 2:
        raise PromptError(f"point_coords: expected shape {coords_shape}, got {tuple(coords.shape)}")
    if labels.shape != coords.shape[:-1]:
        raise PromptError(
            f"point_labels: expected shape {tuple(coords.shape[:-1])} "
            f"to match point_coords {tuple(coords.shape)}, got {tuple(labels.shape)}"
        )
    if not bool(((labels == 1) | (labels == 0) | (labels == -1)).all()):
        raise PromptError(
            "point_labels: expected 1 (foreground), 0 (background) or -1 (padding), "
            f"got {torch.unique(labels)[:8].tolist()}"
        )
    return coords, labels.to(torch.int64)


def _map_size(logits: Tensor, dimensions: tuple[int, ...], batch: str, img_size: int) -> tuple[int, int]:
    """(m, m) of a mask input, m being the public or the decoder's own low-resolution side."""
    public, native = img_size // 4, img_size // 2
    channel_good = logits.ndim == 2 or (logits.ndim > 2 and logits.shape[-3] == 1)
    if (
        logits.ndim not in dimensions
        or not channel_good
        or tuple(logits.shape[-2:]) not in {(public,) * 2, (native,) * 2}
    ):
        raise PromptError(
            f"mask_input: expected shape ({batch}1, {public}, {public}) or ({batch}1, {native}, {native}), "
            f"got {tuple(logits.shape)}"
        )
    return int(logits.shape[-2]), int(logits.shape[-1])


def _checked_values(prompts: PromptTensors, frame_hw: tuple[int, int], box_name: str) -> PromptTensors:
    """Refuse what cannot be meant and cut the rest to the frame."""
    coords, labels, boxes, _ = prompts
    if coords is None and boxes is None and prompts.mask_input is None:
        raise PromptError(NO_PROMPT)
    height, width = frame_hw
    if coords is not None and labels is not None:
        coords = coords.to(torch.promote_types(coords.dtype, torch.float32))
        limits = coords.new_tensor([width, height])
        inside = torch.minimum(coords.clamp(min=0), limits)
        coords = torch.where((labels == -1)[..., None], coords, inside)
    if boxes is not None:
        boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
        x1, y1, x2, y2 = boxes.unbind(-1)
        _refuse_rows(boxes, (x2 < x1) | (y2 < y1), box_name, "x1 <= x2 and y1 <= y2 (xyxy)")
        outside = (x1 >= width) | (y1 >= height) | (x2 < 0) | (y2 < 0)
        _refuse_rows(boxes, outside, box_name, f"a box that touches the {width} x {height} frame")
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
    return prompts._replace(point_coords=coords, boxes=boxes)


def _refuse_rows(boxes: Tensor, bad: Tensor, name: str, expected: str) -> None:
    if bool(bad.any()):
        raise PromptError(f"{name}: expected {expected}, got {boxes[bad][0].tolist()}")
