"""Photographs with human segmentation labels: regions of them are the micro-level labels to train on."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from zim.errors import ConfigError, DataError, MissingDependencyError
from zim.image_io import read_image

from .scene_photos import PHOTO_SUFFIXES

REGIONS_FILE = "regions.json"
"""Beside `image/` and `label/`: the fields of `RegionMix`, for example {"whole": 1, "single": 0, "objects": true}."""

MIN_AREA = 0.001
"""Smallest region worth prompting, as a share of the photograph."""


@dataclass(frozen=True, kw_only=True)
class RegionMix:
    """How regions are drawn from one label map: relative weights.

    whole: everything labelled, as one object. single: all pixels of one id. component: one connected piece of an id.
    union: two to four ids together. Where ids are instances, `whole` is 0.
    objects: regions are whole objects, which make sense on another background.

    Raises:
        ConfigError: a weight is negative or not finite, or all are 0.
    """

    whole: float = 0.0
    single: float = 1.0
    component: float = 1.0
    union: float = 1.0
    objects: bool = False

    def __post_init__(self) -> None:
        weights = (self.whole, self.single, self.component, self.union)
        if not all(0 <= weight < math.inf for weight in weights) or sum(weights) <= 0:
            raise ConfigError(f"regions: expected weights of at least 0, one of them above, got {weights}")


REGION_MIXES = {
    "ccp": RegionMix(whole=2.0, single=1.0, component=0.7, union=0.8, objects=True),
    "davis_train": RegionMix(whole=1.0, single=0.0, component=0.3, union=0.0, objects=True),
    "fasseg": RegionMix(whole=1.5, single=1.0, component=0.5, union=0.7, objects=True),
    "feralcats": RegionMix(single=1.0, component=0.0, union=0.0, objects=True),
    "camvid": RegionMix(single=0.3, component=1.0, union=0.0),
    "cwfid": RegionMix(whole=0.3, single=0.4, component=1.0, union=0.0),
    "bsds500": RegionMix(single=1.0, component=0.0, union=1.0),
}
"""What the ids of the known sets mean: class ids (ccp, camvid, ...), instances (feralcats), segments (bsds500)."""


@dataclass(frozen=True, kw_only=True)
class LabelledPhoto:
    """image: (H, W, 3) uint8. labels: (L, H, W) unsigned integers, one map per annotator, 0 unlabelled."""

    image: np.ndarray
    labels: np.ndarray
    mix: RegionMix

    def sample_region(self, rng: np.random.Generator, tries: int = 8) -> np.ndarray | None:
        """A random region (H, W) bool of at least `MIN_AREA`, or None when none was found."""
        weights = np.array([self.mix.whole, self.mix.single, self.mix.component, self.mix.union])
        for _ in range(tries):
            label = self.labels[int(rng.integers(len(self.labels)))]
            region = _draw_region(label, int(rng.choice(4, p=weights / weights.sum())), rng)
            if MIN_AREA <= region.mean() <= 0.95:
                return region
        return None


def _draw_region(label: np.ndarray, mode: int, rng: np.random.Generator) -> np.ndarray:
    ids = np.unique(label[::3, ::3])
    ids = ids[ids > 0]
    if len(ids) == 0 or mode == 0:
        return label > 0
    if mode == 3:
        return np.isin(label, rng.choice(ids, min(len(ids), int(rng.integers(2, 5))), replace=False))
    region = label == rng.choice(ids)
    if mode == 1:
        return region
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA].astype(np.float64)
    if count < 2:
        return region
    return pieces == 1 + int(rng.choice(len(areas), p=np.sqrt(areas) / np.sqrt(areas).sum()))


@dataclass(frozen=True)
class _Entry:
    image: Path
    label: Path
    mix: RegionMix


class SegmentPool:
    """Labelled photographs under one folder or several.

    Two layouts are found at any depth: `image/NAME.jpg + label/NAME.png` (one id per pixel), and BSDS500's
    `images/SPLIT/NAME.jpg + groundTruth/SPLIT/NAME.mat`.

    max_side: a larger photograph is reduced to this long side, in pixels. cache: how many stay in memory.

    Raises:
        DataError: nothing was found, a label has no photograph, or (later) a file cannot be read.
    """

    def __init__(
        self, roots: str | Path | Sequence[str | Path], *, max_side: int = 512, cache: int = 4096
    ) -> None:
        folders = [Path(roots)] if isinstance(roots, (str, Path)) else [Path(root) for root in roots]
        self._entries = [entry for root in folders for entry in (*_label_folders(root), *_bsds(root))]
        if not self._entries:
            named = ", ".join(map(str, folders))
            raise DataError(f"segments: expected image/ + label/ folders or BSDS500 under {named}, found none")
        self._sets = _by_set(self._entries, range(len(self._entries)))
        self._object_sets = _by_set(self._entries, self.objects())
        self._max_side, self._capacity = max_side, max(1, cache)
        self._cache: dict[int, LabelledPhoto] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def photo(self, index: int) -> LabelledPhoto:
        """Photograph `index` with its labels, long side at most `max_side`."""
        if index not in self._cache:
            if len(self._cache) >= self._capacity:
                self._cache.pop(next(iter(self._cache)))
            self._cache[index] = _read_entry(self._entries[index], self._max_side)
        return self._cache[index]

    def draw(self, rng: np.random.Generator, *, whole_objects: bool = False) -> LabelledPhoto:
        """A random photograph; a set of n photographs has the weight sqrt(n), so that small sets are not drowned.

        Args:
            rng: where the choice comes from.
            whole_objects: only photographs in which a whole object is labelled.

        Raises:
            DataError: `whole_objects`, and there is no such photograph.
        """
        sets = self._object_sets if whole_objects else self._sets
        if not sets:
            raise DataError("segments: expected a set with whole objects, found none")
        weights = np.sqrt([len(indices) for indices in sets])
        chosen = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
        return self.photo(int(rng.choice(chosen)))

    def objects(self) -> Sequence[int]:
        """Indices of photographs in which a whole object is labelled."""
        return [index for index, entry in enumerate(self._entries) if entry.mix.objects]


def _by_set(entries: Sequence[_Entry], indices: Iterable[int]) -> list[list[int]]:
    """Indices grouped by the kind of their set, in order of appearance."""
    groups: dict[RegionMix, list[int]] = {}
    for index in indices:
        groups.setdefault(entries[index].mix, []).append(index)
    return list(groups.values())


def _label_folders(root: Path) -> list[_Entry]:
    found = []
    for label_folder in sorted(p for p in root.rglob("label") if p.is_dir()):
        candidates = sorted((label_folder.parent / "image").glob("*"))
        images = {path.stem: path for path in candidates if path.suffix.lower() in PHOTO_SUFFIXES}
        mix = _mix_of(label_folder.parent)
        for label in sorted(label_folder.glob("*.png")):
            if label.stem not in images:
                raise DataError(f"segments: {label} has no photograph in {label_folder.parent / 'image'}")
            found.append(_Entry(images[label.stem], label, mix))
    return found


def _mix_of(folder: Path) -> RegionMix:
    """What the ids of a folder mean: its `regions.json`, else a known name, else any regions."""
    path = folder / REGIONS_FILE
    if not path.is_file():
        return REGION_MIXES.get(folder.name, RegionMix())
    try:
        return RegionMix(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        names = ", ".join(RegionMix.__dataclass_fields__)
        raise DataError(f"segments: {path}: expected an object with some of {names} ({error})") from error


def _bsds(root: Path) -> list[_Entry]:
    found = []
    for truth in sorted(p for p in root.rglob("groundTruth") if p.is_dir()):
        for label in sorted(truth.rglob("*.mat")):
            image = truth.parent / "images" / label.relative_to(truth).with_suffix(".jpg")
            if not image.is_file():
                raise DataError(f"segments: {label} has no photograph {image}")
            found.append(_Entry(image, label, REGION_MIXES["bsds500"]))
    return found


def _read_entry(entry: _Entry, max_side: int) -> LabelledPhoto:
    image = read_image(entry.image)
    labels = _read_bsds_label(entry.label) if entry.label.suffix == ".mat" else _read_label(entry.label)[None]
    if labels.shape[1:] != image.shape[:2]:
        raise DataError(f"segments: {entry.label} is {labels.shape[1:]}, its photograph {image.shape[:2]}")
    labels = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))  # a quarter of the memory
    factor = max_side / max(image.shape[:2])
    if factor < 1:
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rows = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(int)
        columns = ((np.arange(size[0]) + 0.5) * labels.shape[2] / size[0]).astype(int)
        labels = labels[:, rows[:, None], columns]
    return LabelledPhoto(image=image, labels=labels, mix=entry.mix)


def _read_label(path: Path) -> np.ndarray:
    """(H, W) ids of a grey, 16-bit or palette PNG."""
    try:
        with Image.open(path) as opened:
            ids = np.asarray(opened)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"segments: {path} is not a readable label image ({error})") from error
    if ids.ndim != 2 or ids.dtype.kind not in "uib" or ids.min(initial=0) < 0:
        raise DataError(f"segments: {path}: expected one id per pixel, got {ids.shape} of {ids.dtype}")
    return ids


def _read_bsds_label(path: Path) -> np.ndarray:
    """(L, H, W) ids, one map per annotator, of a BSDS500 file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingDependencyError(
            'scipy: expected for .mat files, found nothing; install it with: pip install "zim-matting[train]"'
        ) from error
    try:
        truths = loadmat(path)["groundTruth"].ravel()
        return np.stack([truth["Segmentation"][0, 0] for truth in truths])
    except Exception as error:  # scipy raises whatever its reader trips over
        raise DataError(f"segments: {path} is not a readable BSDS500 label ({error!r})") from error
