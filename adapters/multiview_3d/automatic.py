"""Everything in a scene without prompts: the masks of each view's mask generator, merged where they overlap in 3-D.

After the region merging of SegmentAnything3D (overlap 0.5), with each view's word weighted as in the prompted mode.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError, ZimError
from zim.files import write_bytes_atomic, write_json_atomic

from .camera import Camera
from .ply_files import write_point_ply
from .propagation import view_order
from .surface import Surface
from .view_maps import ViewMap, view_map
from .views import Scene, Skipped

Progress = Callable[[int, int], None]


class MaskGenerator(Protocol):
    """`zim.ZimAutomaticMaskGenerator`, SAM's own, or any other with its records."""

    def generate(self, image: NDArray[np.uint8]) -> Sequence[Mapping[str, Any]]:
        """The masks of an image: dictionaries with a boolean `segmentation`, (H, W)."""
        ...


@dataclass(frozen=True, kw_only=True)
class MergingConfig:
    """overlap: a mask joins the segment with which it shares this part of the smaller of the two. smallest_pixels and
    smallest_points: what is below is left out. agreement: a point needs this share of its votes for its segment."""

    overlap: float = 0.5
    smallest_pixels: int = 100
    smallest_points: int = 50
    agreement: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= 1 or not 0 <= self.agreement <= 1:
            raise ConfigError(f"overlap, agreement: expected shares, got {self.overlap!r}, {self.agreement!r}")


class Segmentation(NamedTuple):
    """labels: (N,) int32, 0 for nothing, segments from 1 on, largest first. confidence: (N,) float32, the share of a
    point's votes that its segment has. masks: how many masks each view gave. skipped: views that could not be read."""

    labels: NDArray[np.int32]
    confidence: NDArray[np.float32]
    masks: tuple[int, ...]
    skipped: tuple[Skipped, ...]


def segment_everything(
    scene: Scene,
    surface: Surface,
    generator: MaskGenerator,
    config: MergingConfig | None = None,
    *,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment a scene.

    Raises:
        DataError: no view could be read, or no mask meets the surface.
    """
    config = config or MergingConfig()
    merging = Merging(len(surface.points), config)
    counts, skipped = [0] * len(scene.views), []
    for done, index in enumerate(view_order(scene, 0)):
        view = scene.views[index]
        try:
            regions = label_map(generator.generate(view.read_image()), view.hw, config.smallest_pixels)
        except ZimError as error:
            skipped.append(Skipped(view.name, str(error)))
            continue
        counts[index] = int(regions.max())
        merging.add(view_map(surface, view.camera), regions)
        if progress:
            progress(done + 1, len(scene.views))
    labels, confidence = merging.result()
    if not labels.any():
        raise DataError(f"automatic: no mask of {sum(counts)} in {len(scene.views)} views met the surface")
    return Segmentation(labels, confidence, tuple(counts), tuple(skipped))


def label_map(
    records: Sequence[Mapping[str, Any]], hw: tuple[int, int], smallest: int
) -> NDArray[np.int32]:
    """Masks painted over one another, the largest first, so that parts stay visible on wholes: (H, W) int32."""
    masks = sorted((np.asarray(r["segmentation"], np.bool_) for r in records), key=lambda mask: -int(mask.sum()))
    painted = np.zeros(hw, np.int32)
    for number, mask in enumerate((m for m in masks if int(m.sum()) >= smallest), 1):
        painted[mask] = number
    return painted


class Merging:
    """Segments on points, growing view by view."""

    def __init__(self, points: int, config: MergingConfig) -> None:
        self._config = config
        self._labels = np.zeros(points, np.int32)
        self._segments = 0
        self._votes: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._total = np.zeros(points, np.float32)

    def add(self, seen: ViewMap, regions: NDArray[np.int32]) -> None:
        """Take a view's regions: each joins the segment that it overlaps most, or becomes a new one."""
        column, row = np.minimum(seen.xy.astype(int), [regions.shape[1] - 1, regions.shape[0] - 1]).T
        region = regions[row, column]
        weight = seen.weight * seen.edge_weight
        now = self._labels[seen.points]
        sizes = np.bincount(now, minlength=self._segments + 1)
        joined = np.zeros(int(regions.max()) + 1, np.int32)
        for number in range(1, len(joined)):
            mine = now[region == number]
            if not len(mine):
                continue
            shared = np.bincount(mine, minlength=self._segments + 1)
            shared[0] = 0
            best = int(np.argmax(shared))
            known = int((mine > 0).sum())
            if shared[best] >= self._config.overlap * max(1, min(known, int(sizes[best]) if best < len(sizes) else 0)):
                joined[number] = best if best else 0
            if not joined[number] and len(mine) >= 3:
                self._segments += 1
                joined[number] = self._segments
        voted = joined[region]
        chosen = voted > 0
        self._votes.append((seen.points[chosen], voted[chosen], weight[chosen]))
        np.add.at(self._total, seen.points, weight)
        fresh = chosen & (now == 0)
        self._labels[seen.points[fresh]] = voted[fresh]

    def result(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Each point's segment by most votes, and its share of them; segments renumbered by size."""
        labels, confidence = np.zeros_like(self._labels), np.zeros(len(self._labels), np.float32)
        if not self._votes or not self._segments:
            return labels, confidence
        points, segments, weights = (np.concatenate(parts) for parts in zip(*self._votes, strict=True))
        pairs, where = np.unique(points.astype(np.int64) * (self._segments + 1) + segments, return_inverse=True)
        sums = np.bincount(where.ravel(), weights)
        order = np.argsort(sums)  # written last: most votes
        point, segment = np.divmod(pairs[order], self._segments + 1)
        labels[point] = segment
        confidence[point] = sums[order] / np.maximum(self._total[point], 1e-9)
        labels[confidence < self._config.agreement] = 0
        sizes = np.bincount(labels, minlength=self._segments + 1)
        sizes[0] = 0
        ranks = np.zeros(len(sizes), np.int32)
        kept = [s for s in np.argsort(-sizes, kind="stable") if sizes[s] >= self._config.smallest_points]
        ranks[kept] = np.arange(1, len(kept) + 1)
        return ranks[labels], np.where(ranks[labels] > 0, confidence, 0).astype(np.float32)


def labels_in_view(surface: Surface, camera: Camera, labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """(H, W) int32: the segment that each pixel shows."""
    seen = view_map(surface, camera)
    return np.where(seen.pixels >= 0, labels[seen.pixels], 0).astype(np.int32)


def write_segmentation(scene: Scene, surface: Surface, found: Segmentation, folder: Path) -> dict[str, Any]:
    """Write labels.ply (points with `label`, `alpha` its confidence), labels/NAME.png (16 bits) and report.json."""
    write_point_ply(
        folder / "labels.ply", surface.points, surface.normals, surface.colours, found.confidence, found.labels
    )
    for view in scene.views:
        ids = labels_in_view(surface, view.camera, found.labels).astype(np.uint16)
        done, encoded = cv2.imencode(".png", ids)
        if not done:
            raise DataError(f"view {view.name}: its labels cannot be encoded")
        write_bytes_atomic(folder / "labels" / f"{view.name}.png", encoded.tobytes())
    sizes = np.bincount(found.labels)[1:]
    report = {
        "layout": scene.layout,
        "segments": [{"label": i + 1, "points": int(size)} for i, size in enumerate(sizes)],
        "masks": dict(zip(scene.names, found.masks, strict=True)),
        "skipped": [each._asdict() for each in (*scene.skipped, *found.skipped)],
    }
    write_json_atomic(folder / "report.json", report)
    return report
