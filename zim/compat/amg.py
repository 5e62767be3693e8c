"""The functions of SAM's `utils.amg`, which scripts around the automatic mask generator import.

Same names, arguments and results, on the device of what comes in, on the project's own grids, crops and run-length
encodings; nothing needs pycocotools.
"""

from collections.abc import ItemsView, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from zim.crops import crops_of, point_grid, point_grids
from zim.errors import ConfigError
from zim.region_cleanup import remove_small_regions as remove_regions
from zim.rle import decode_mask, encode_mask, from_dict, to_coco, to_uncompressed

Rle = dict[str, Any]


class MaskData:
    """Columns (lists, arrays or tensors) with one row per mask, filtered and joined together."""

    def __init__(self, **columns: Any) -> None:
        self._stats: dict[str, Any] = {}
        for name, column in columns.items():
            self[name] = column

    def __setitem__(self, key: str, item: Any) -> None:
        if not isinstance(item, list | np.ndarray | Tensor):
            raise TypeError(f"{key}: expected a list, a numpy array or a tensor, got {type(item).__name__}")
        self._stats[key] = item

    def __delitem__(self, key: str) -> None:
        del self._stats[key]

    def __getitem__(self, key: str) -> Any:
        return self._stats[key]

    def items(self) -> ItemsView[str, Any]:
        """Names and columns."""
        return self._stats.items()

    def filter(self, keep: Tensor) -> None:
        """Keep rows: (N,) bool, or (K,) indices in their new order."""
        rows = torch.as_tensor(keep).detach().cpu()
        numbers = rows.nonzero()[:, 0].tolist() if rows.dtype == torch.bool else rows.tolist()
        for name, column in self._stats.items():
            if isinstance(column, list):
                self._stats[name] = [column[number] for number in numbers]
            elif isinstance(column, Tensor):
                self._stats[name] = column[rows.to(column.device)]
            else:
                self._stats[name] = column[rows.numpy()]

    def cat(self, new_stats: "MaskData") -> None:
        """Append the rows of another; columns that are new here are copied."""
        for name, column in new_stats.items():
            mine = self._stats.get(name)
            if mine is None:
                self._stats[name] = deepcopy(column)
            elif isinstance(column, Tensor):
                self._stats[name] = torch.cat([mine, column])
            elif isinstance(column, np.ndarray):
                self._stats[name] = np.concatenate([mine, column])
            else:
                self._stats[name] = mine + deepcopy(column)

    def to_numpy(self) -> None:
        """Turn tensors into arrays."""
        for name, column in self._stats.items():
            if isinstance(column, Tensor):
                self._stats[name] = column.detach().cpu().numpy()


# Batches, points and crops.


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Slices of `batch_size` rows through several sequences of one length.

    Raises:
        ConfigError: no sequence, or sequences of different lengths.
    """
    lengths = {len(column) for column in args}
    if len(lengths) != 1:
        raise ConfigError(f"batch_iterator: expected sequences of one length, got lengths {sorted(lengths)}")
    for start in range(0, lengths.pop(), batch_size):
        yield [column[start : start + batch_size] for column in args]


def build_point_grid(n_per_side: int) -> NDArray[np.float64]:
    """(n * n, 2) xy in [0, 1], cell centres, row by row."""
    return point_grid(n_per_side)


def build_all_layer_point_grids(n_per_side: int, n_layers: int, scale_per_layer: int) -> list[NDArray[np.float64]]:
    """The grids of crop layers 0..n_layers, each coarser by `scale_per_layer`."""
    return point_grids(n_per_side, n_layers, scale_per_layer)


def generate_crop_boxes(
    im_size: tuple[int, ...], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """The whole image and, for each layer i = 1..n, 2^i x 2^i overlapping crops -> xyxy boxes, their layers."""
    height, width = im_size
    crops = crops_of((height, width), n_layers, overlap_ratio)
    return [list(crop.box) for crop in crops], [crop.layer for crop in crops]


def uncrop_boxes_xyxy(boxes: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Boxes (..., 4) of a crop in pixels of the whole image."""
    return boxes + torch.tensor([*crop_box[:2], *crop_box[:2]], device=boxes.device)


def uncrop_points(points: Tensor, crop_box: Sequence[int]) -> Tensor:
    """Points (..., 2) of a crop in pixels of the whole image."""
    return points + torch.tensor([*crop_box[:2]], device=points.device)


def uncrop_masks(masks: Tensor, crop_box: Sequence[int], orig_h: int, orig_w: int) -> Tensor:
    """Masks (..., h, w) of a crop in the whole image, 0 around it."""
    x0, y0, x1, y1 = crop_box
    padding = (x0, orig_w - x1, y0, orig_h - y1)
    return F.pad(masks, padding, value=0) if any(padding) else masks


def is_box_near_crop_edge(
    boxes: Tensor, crop_box: Sequence[int], orig_box: Sequence[int], atol: float = 20.0
) -> Tensor:
    """(N,) bool: which boxes of a crop end within `atol` pixels of its border where the image goes on."""
    whole = uncrop_boxes_xyxy(boxes, crop_box).float()
    near_crop = (whole - whole.new_tensor(crop_box)).abs() <= atol
    near_image = (whole - whole.new_tensor(orig_box)).abs() <= atol
    return (near_crop & ~near_image).any(dim=1)


# Boxes, stability and regions of masks.


def box_xyxy_to_xywh(box_xyxy: Any) -> Any:
    """One box with width and height instead of its last corner; list, array or tensor, as it came."""
    box = deepcopy(box_xyxy)
    box[2], box[3] = box[2] - box[0], box[3] - box[1]
    return box


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Boxes (..., 4) int64 xyxy, last pixels inside, of masks (..., H, W) bool; zeros where a mask is empty."""
    if not masks.numel():
        return torch.zeros(*masks.shape[:-2], 4, device=masks.device)

    def ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
        """First and last occupied index along the last axis."""
        marks = occupied.to(torch.uint8)
        return marks.argmax(dim=-1), marks.shape[-1] - 1 - marks.flip(-1).argmax(dim=-1)

    (left, right), (top, bottom) = ends(masks.any(dim=-2)), ends(masks.any(dim=-1))
    boxes = torch.stack([left, top, right, bottom], dim=-1)
    return boxes * masks.flatten(-2).any(dim=-1, keepdim=True)


def calculate_stability_score(masks: Tensor, mask_threshold: float, threshold_offset: float) -> Tensor:
    """IoU between the masks of logits (..., H, W) cut an offset above and an offset below the threshold."""
    inner = (masks > mask_threshold + threshold_offset).flatten(-2).sum(-1, dtype=torch.int32)
    outer = (masks > mask_threshold - threshold_offset).flatten(-2).sum(-1, dtype=torch.int32)
    return inner / outer


def remove_small_regions(mask: NDArray[Any], area_thresh: float, mode: str) -> tuple[NDArray[Any], bool]:
    """Fill holes or drop islands below an area (8-connected); the largest island always stays.

    Args:
        mask: (H, W) bool.
        area_thresh: in pixels.
        mode: "holes" or "islands".

    Returns:
        The mask, and whether it changed.

    Raises:
        ConfigError: another mode.
    """
    if mode == "holes":
        return remove_regions(mask, area_thresh, "holes")
    if mode == "islands":
        return remove_regions(mask, area_thresh, "islands")
    raise ConfigError(f'mode: expected "holes" or "islands", got {mode!r}')


# Run-length encodings: runs down the columns, starting with background.


def mask_to_rle_pytorch(tensor: Tensor) -> list[Rle]:
    """Uncompressed encodings of masks (B, H, W) bool."""
    return [to_uncompressed(encode_mask(mask)) for mask in tensor.cpu().numpy().astype(bool)]


def rle_to_mask(rle: Rle) -> NDArray[np.bool_]:
    """(H, W) bool mask of an uncompressed encoding."""
    return decode_mask(from_dict(rle))


def area_from_rle(rle: Rle) -> int:
    """Foreground pixels of an uncompressed encoding."""
    return sum(rle["counts"][1::2])


def coco_encode_rle(uncompressed_rle: Rle) -> Rle:
    """The compressed encoding of COCO, its counts as text, so that JSON takes it."""
    return to_coco(from_dict(uncompressed_rle))
