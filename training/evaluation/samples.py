"""Records of the data set readers as samples of the benchmark: one a matte, one a mask."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError
from zim.evaluation.samples import MattingSample, Tag, evenly_spaced

from ..readers.masks import MaskSet
from ..readers.records import MatteRecord, SegmentRecord

TAGS: dict[str, Tag] = {"fine": "fine", "coarse": "coarse"}


@dataclass(frozen=True, kw_only=True, eq=False)
class MatteSample(MattingSample):
    """A matte whose pixels have been read: `image` (H, W, 3) uint8 RGB, `alpha` (H, W) float32 in [0, 1]."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The pixels; no file is read again."""
        return self.image, self.alpha


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskSample(MattingSample):
    """Mask `index` of `masks` as a matte of zeros and ones; the mask is made when it is loaded.

    image: (H, W, 3) uint8 RGB.
    """

    image: NDArray[np.uint8]
    masks: MaskSet
    index: int

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The photograph, and the mask, (H, W) float32 of 0 and 1.

        Raises:
            DataError: the mask cannot be made.
        """
        try:
            return self.image, self.masks[self.index].astype(np.float32)
        except DataError:
            raise
        except Exception as error:  # decoders raise whatever they trip over
            raise DataError(f"{self.alpha_path}: mask {self.index}: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class ObjectRule:
    """Which masks of a photograph count: at least `min_area` pixels; at most `most`, evenly spaced; None takes all."""

    min_area: int = 1
    most: int | None = None

    def chosen(self, masks: MaskSet) -> list[int]:
        """Indices of the masks that count, in order."""
        large = [index for index, info in enumerate(masks.info) if info.area >= self.min_area]
        return evenly_spaced(large, self.most)


def samples_of(
    record: MatteRecord | SegmentRecord, pixels: tuple[Any, Any], rule: ObjectRule, prefix: str = ""
) -> Iterator[MattingSample]:
    """The samples of a record, one a matte, one a mask.

    Args:
        record: of any reader.
        pixels: what `record.load()` gave.
        rule: which masks of a segmentation count.
        prefix: put before the ids.
    """
    image, target = pixels
    image_path = Path(record.image_name)
    if isinstance(record, MatteRecord):
        yield MatteSample(
            id=prefix + record.key,
            image_path=image_path,
            alpha_path=Path(record.alpha_name),
            tag=TAGS.get(record.tag),
            prompt=record.prompt,
            image=image,
            alpha=target,
        )
        return
    for index in rule.chosen(target):
        yield MaskSample(
            id=f"{prefix}{record.key}#{index}:{target.info[index].name}",
            image_path=image_path,
            alpha_path=Path(record.masks_name),
            image=image,
            masks=target,
            index=index,
        )
