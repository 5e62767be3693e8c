"""Where pairs of coarse label and matte come from: scenes, matte data sets, and labels that are to stay (STL).

STL, Selective Transformation Learning: for objects whose outline is hard and simple the target is the segmentation
label itself, so that the converter learns where there is nothing finer to find.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.coarse_labels import CoarseLabelConfig, synthesize_coarse_label
from ..data.scene_cache import SceneCache
from ..data.scenes import SceneObject
from ..readers import MatteRecord, Quarantine, Reader, SegmentRecord

MIN_PIXELS = 100
"""Smallest label worth a crop, in pixels."""

MAX_SHARE = 0.97
"""A label that covers more of the image is the image."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """image: (H, W, 3) uint8 RGB. label: (H, W) bool. alpha: (H, W) float32, what the label is to become."""

    image: NDArray[np.uint8]
    label: NDArray[np.bool_]
    alpha: NDArray[np.float32]


class PairSource(Protocol):
    """Pairs at random."""

    def draw(self, rng: np.random.Generator) -> Pair | None:
        """A pair, or None when what was drawn holds no label of a useful size."""


@dataclass(frozen=True, kw_only=True)
class ScenePairs:
    """Fine objects of procedural scenes with their exact mattes and synthetic coarse labels.

    by_size: see `drawn_by_size`.
    """

    scenes: SceneCache
    coarse: CoarseLabelConfig = CoarseLabelConfig()
    by_size: float = 0.0

    def draw(self, rng: np.random.Generator) -> Pair | None:
        scene = self.scenes.scene(int(rng.integers(self.scenes.count)))
        wanted = [item for item in scene.objects if item.fine]
        if not wanted:
            return None
        alpha = drawn_by_size(wanted, rng, self.by_size).alpha
        return coarse_pair(scene.image, alpha, rng, self.coarse)


@dataclass(frozen=True, kw_only=True)
class HardScenePairs:
    """STL out of procedural scenes: hard objects (solid things, patches), target = label = alpha > 0.5.

    by_size: see `drawn_by_size`.
    """

    scenes: SceneCache
    by_size: float = 0.0

    def draw(self, rng: np.random.Generator) -> Pair | None:
        scene = self.scenes.scene(int(rng.integers(self.scenes.count)))
        wanted = [item for item in scene.objects if not item.fine]
        if not wanted:
            return None
        return unchanged_pair(scene.image, drawn_by_size(wanted, rng, self.by_size).alpha > 0.5)


@dataclass(frozen=True, kw_only=True)
class MattePairs:
    """Mattes of a data set; photographs that cannot be read go to the quarantine."""

    reader: Reader[MatteRecord]
    quarantine: Quarantine
    coarse: CoarseLabelConfig = CoarseLabelConfig()

    def draw(self, rng: np.random.Generator) -> Pair | None:
        loaded = self.quarantine.load(self.reader, int(rng.integers(len(self.reader))))
        if loaded is None:
            return None
        image, alpha = loaded[1]
        return coarse_pair(image, alpha, rng, self.coarse)


@dataclass(frozen=True, kw_only=True)
class SegmentPairs:
    """STL out of a data set of coarse objects (ADE20K's, or a folder of one's own): target = label."""

    reader: Reader[SegmentRecord]
    quarantine: Quarantine

    def draw(self, rng: np.random.Generator) -> Pair | None:
        loaded = self.quarantine.load(self.reader, int(rng.integers(len(self.reader))))
        if loaded is None:
            return None
        image, masks = loaded[1]
        return unchanged_pair(image, masks[int(rng.integers(len(masks)))]) if len(masks) else None


@dataclass(frozen=True, kw_only=True)
class MixedPairs:
    """One of several sources at a time, each as often as its weight says."""

    sources: Sequence[PairSource]
    weights: Sequence[float]

    def draw(self, rng: np.random.Generator) -> Pair | None:
        weights = np.asarray(self.weights, float)
        return self.sources[int(rng.choice(len(self.sources), p=weights / weights.sum()))].draw(rng)


def drawn_by_size(objects: Sequence[SceneObject], rng: np.random.Generator, power: float) -> SceneObject:
    """One of a scene's objects, in proportion to the long side of its box to the `power`; 0: all alike.

    A crop shows an object of any size as large, so all count alike in the loss; in the squared error of a picture
    they count by their area, which is the power of 2.
    """
    if not power:
        return objects[int(rng.integers(len(objects)))]
    sides = [max(cv2.boundingRect((item.alpha > 0.5).astype(np.uint8))[2:]) for item in objects]
    weights = np.maximum(sides, 1.0) ** power
    return objects[int(rng.choice(len(objects), p=weights / weights.sum()))]


def coarse_pair(
    image: NDArray[np.uint8], alpha: NDArray[np.float32], rng: np.random.Generator, config: CoarseLabelConfig
) -> Pair | None:
    """A matte with a synthetic coarse label; None when the label would be too small or everything."""
    label = synthesize_coarse_label(alpha, rng, config) > 0.5
    return _if_useful(Pair(image=image, label=label, alpha=alpha))


def unchanged_pair(image: NDArray[np.uint8], label: NDArray[np.bool_]) -> Pair | None:
    """A label that is its own target."""
    return _if_useful(Pair(image=image, label=label, alpha=label.astype(np.float32)))


def _if_useful(pair: Pair) -> Pair | None:
    area = int(pair.label.sum())
    return pair if MIN_PIXELS <= area <= MAX_SHARE * pair.label.size else None
