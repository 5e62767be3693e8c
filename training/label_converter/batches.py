"""Batches for the converter's training: that of a step depends on the seed and the step alone."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from zim.errors import ConfigError, DataError

from ..data.batches import share_of
from ..data.samples import jitter_colours
from .crops import CropWindow, cut_label, window_around
from .pairs import Pair, PairSource
from .sga import SgaConfig, spatial_generalization

_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """What a batch is mixed of; the shares and ranges are this project's choice.

    stl_share: of samples whose target is their label (Selective Transformation Learning).
    sga: cutting of label and matte; of STL samples too. None cuts nothing.
    margin: range of a crop's surroundings on each side, as a fraction of the label's longer side.
    shift: how far off its middle the label may lie, as a fraction of the surroundings.
    """

    stl_share: float = 0.25
    sga: SgaConfig | None = SgaConfig()
    margin: tuple[float, float] = (0.03, 0.4)
    shift: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.stl_share <= 1 or not 0 <= self.shift <= 1:
            raise ConfigError(f"stl_share, shift: expected numbers in [0, 1], got {self.stl_share} and {self.shift}")
        if not 0 <= self.margin[0] <= self.margin[1]:
            raise ConfigError(f"margin: expected 0 <= low <= high, got {self.margin}")


@dataclass(frozen=True)
class ConverterBatch:
    """images: (N, S, S, 3) uint8. labels: (N, S, S) bool. alphas: (N, S, S) uint8, 255 opaque.

    scale: factors on the model's guidance radii in this step.
    """

    images: Tensor
    labels: Tensor
    alphas: Tensor
    scale: tuple[float, float]

    def to(self, device: torch.device) -> "ConverterBatch":
        """Every tensor on `device`."""
        tensors = {k: v.to(device, non_blocking=True) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)  # type: ignore[arg-type]

    def part(self, index: int, count: int) -> "ConverterBatch":
        """Part `index` of `count` equal ones.

        Raises:
            ConfigError: `count` does not divide the number of crops.
        """
        span = share_of(len(self.images), index, count)
        cut = {k: v[span.start : span.stop] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **cut)  # type: ignore[arg-type]


class ConverterBatches(Dataset[ConverterBatch]):
    """Batch `step` of a training, for any step at any time.

    Args:
        fine: pairs with mattes. stl: pairs whose target is their label; None gives their share to `fine`.
        images: crops a batch. side: of a crop, in pixels.
    """

    def __init__(
        self, fine: PairSource, stl: PairSource | None, mix: MixConfig, *, images: int, side: int, seed: int
    ) -> None:
        self.fine, self.stl, self.mix = fine, stl, mix
        self.images, self.side, self.seed = images, side, seed

    def __getitem__(self, step: int) -> ConverterBatch:
        rng = np.random.default_rng((self.seed, step))
        scale = (float(rng.uniform(0, 2)), float(rng.uniform(0, 2)))
        crops = [self._crop(rng) for _ in range(self.images)]
        return ConverterBatch(
            images=torch.from_numpy(np.stack([crop.image for crop in crops])),
            labels=torch.from_numpy(np.stack([crop.label for crop in crops])),
            alphas=torch.from_numpy(np.stack([(crop.alpha * 255 + 0.5).astype(np.uint8) for crop in crops])),
            scale=scale,
        )

    def _crop(self, rng: np.random.Generator) -> Pair:
        source = self.stl if self.stl is not None and rng.random() < self.mix.stl_share else self.fine
        for _ in range(_TRIES):
            pair = source.draw(rng)
            crop = None if pair is None else training_crop(pair, self.mix, self.side, rng)
            if crop is not None:
                return crop
        raise DataError(f"pairs: {_TRIES} draws in a row from {type(source).__name__} held no useful label")


def training_crop(pair: Pair, mix: MixConfig, side: int, rng: np.random.Generator) -> Pair | None:
    """A crop of (side, side) around the label, cut by SGA and augmented; None when it shows hardly any label."""
    label, alpha = pair.label, pair.alpha
    if mix.sga is not None:
        label, alpha = spatial_generalization(label, alpha, rng, mix.sga)
    window = _jittered(window_around(label, side, float(rng.uniform(*mix.margin))), label, mix, rng)
    image = np.asarray(window.cut(pair.image, side), np.uint8)
    matte = np.asarray(window.cut(alpha, side), np.float32)
    cut = cut_label(label, window, side)
    if not 0.01 <= cut.mean() <= 0.98:
        return None
    turn, flip = int(rng.integers(4)) if rng.random() < 0.2 else 0, rng.random() < 0.5
    image, cut, matte = (_turned(array, turn, flip) for array in (image, cut, matte))
    return Pair(image=jitter_colours(image, rng), label=cut, alpha=np.clip(matte, 0, 1))


def _jittered(window: CropWindow, label: NDArray[np.bool_], mix: MixConfig, rng: np.random.Generator) -> CropWindow:
    """The window moved within its surroundings; it stays in the image where it was."""
    height, width = label.shape
    x, y, w, h = cv2.boundingRect(label.astype(np.uint8))
    dx, dy = (float(rng.uniform(-0.5, 0.5)) * mix.shift for _ in range(2))
    left = window.x + round(dx * max(0, window.length - w))
    top = window.y + round(dy * max(0, window.length - h))
    if window.length <= width:
        left = min(max(left, 0), width - window.length)
    if window.length <= height:
        top = min(max(top, 0), height - window.length)
    return CropWindow(left, top, window.length)


def _turned(array: np.ndarray, quarters: int, flip: bool) -> np.ndarray:
    turned = np.rot90(array, quarters)
    return np.ascontiguousarray(turned[:, ::-1] if flip else turned)
