"""The masks of one photograph, made one at a time: hundreds of them at once would not fit into memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

from .rle import Rle


@dataclass(frozen=True, kw_only=True)
class MaskInfo:
    """What is known of a mask without making it.

    name: class or id, as the data set names it. area: foreground pixels. scores: qualities stored with it.
    """

    name: str
    area: int
    scores: Mapping[str, float] = field(default_factory=dict)


class MaskSet(Sequence[NDArray[np.bool_]], ABC):
    """A sequence of masks, (H, W) bool each; `info[i]` describes mask i.

    size_hw: height and width of all of them. info: one description a mask.
    """

    size_hw: tuple[int, int]
    info: Sequence[MaskInfo]

    @abstractmethod
    def _mask(self, index: int) -> NDArray[np.bool_]:
        """Mask `index`, 0 <= index < len(self)."""

    def __len__(self) -> int:
        return len(self.info)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.bool_]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.bool_]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.bool_] | list[NDArray[np.bool_]]:
        positions = range(len(self))[index]  # IndexError past the end, negative numbers from it
        return self._mask(positions) if isinstance(positions, int) else [self._mask(i) for i in positions]

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (self._mask(i) for i in range(len(self)))


class RleMasks(MaskSet):
    """Run-length encoded masks of one size.

    Raises:
        DataError: the sizes differ, or there is not one description a mask.
    """

    def __init__(self, size_hw: tuple[int, int], rles: Sequence[Rle], info: Sequence[MaskInfo]) -> None:
        if len(rles) != len(info):
            raise DataError(f"masks: expected one description a mask, got {len(info)} for {len(rles)}")
        for index, rle in enumerate(rles):
            if rle.size_hw != size_hw:
                raise DataError(f"mask {index}: expected size {size_hw} (height, width), got {rle.size_hw}")
        self.size_hw, self.info, self._rles = size_hw, info, rles

    def _mask(self, index: int) -> NDArray[np.bool_]:
        return self._rles[index].decode()


class LabelMasks(MaskSet):
    """One mask an id of label maps.

    Args:
        labels: (L, H, W) integers; L maps of one photograph, for example one an annotator.
        names: id -> name; ids that are not in it are left out. None takes every id but 0.
        pieces: split ids into 8-connected pieces, a mask each: instances, where one id covers several.
        min_area: masks of fewer pixels are left out.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        *,
        names: Mapping[int, str] | None = None,
        pieces: bool = False,
        min_area: int = 1,
    ) -> None:
        self.size_hw = (int(labels.shape[1]), int(labels.shape[2]))
        self._labels, self._regions, self.info = labels, list[_Region](), list[MaskInfo]()
        for layer, label in enumerate(labels):
            ids, areas = np.unique(label, return_counts=True)
            for number, area in zip(ids.tolist(), areas.tolist(), strict=True):
                if area < min_area or (number == 0 if names is None else number not in names):
                    continue
                name = str(number) if names is None else names[number]
                for piece, piece_area in _pieces(label == number) if pieces else [(0, area)]:
                    if piece_area >= min_area:
                        self._regions.append(_Region(layer, number, piece))
                        self.info.append(MaskInfo(name=name, area=piece_area))

    def _mask(self, index: int) -> NDArray[np.bool_]:
        region = self._regions[index]
        mask = np.asarray(self._labels[region.layer] == region.number)
        return np.asarray(_numbered(mask)[1] == region.piece) if region.piece else mask


class _Region(NamedTuple):
    """piece: which connected piece of the id, counted from 1; 0 is all of it."""

    layer: int
    number: int
    piece: int


def _numbered(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Number of pieces + 1, the map of their numbers (from 1), and their statistics."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return count, np.asarray(numbers, np.int32), np.asarray(stats, np.int32)


def _pieces(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Number and area of each connected piece."""
    count, _, stats = _numbered(mask)
    return [(piece, int(stats[piece, cv2.CC_STAT_AREA])) for piece in range(1, count)]
