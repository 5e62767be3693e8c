"""Photographs for a sprite library: reduced, with label maps cut into connected pieces."""

import cv2
import numpy as np

from .mattes import MattePhoto, without_haze
from .scene_photos import PhotoPool
from .scene_textures import background
from .segments import LabelledPhoto
from .sprites import MAX_COMPONENTS, PhotoShard

_NO_MIX = (0.0, 0.0, 0.0, 0.0)


def pieces_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected pieces of a label map.

    labels: (H, W) unsigned integers, 0 unlabelled. Small pieces of an id share one number; where there are more than
    `MAX_COMPONENTS`, the smallest ids become unlabelled.
    Returns numbers (H, W) uint8 from 1, and a table (P, 7) int32: number, id, area, box x1, y1, x2, y2 (exclusive).
    """
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    ids = ids[np.argsort(-areas, kind="stable")][: MAX_COMPONENTS // 2]
    smallest = max(8, labels.size // 2000)
    found: list[tuple[int, int, np.ndarray]] = []  # area, id, mask
    for key in ids:
        mask = labels == key
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
        large = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= smallest]
        found += [(int(stats[k, cv2.CC_STAT_AREA]), int(key), numbers == k) for k in large]
        crumbs = mask & ~np.isin(numbers, large)
        if crumbs.any():
            found.append((int(crumbs.sum()), int(key), crumbs))
    found.sort(key=lambda item: -item[0])
    result, rows = np.zeros(labels.shape, np.uint8), []
    for number, (area, key, mask) in enumerate(found[:MAX_COMPONENTS], start=1):
        result[mask] = number
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        rows.append((number, key, area, x, y, x + width, y + height))
    return result, np.array(rows, np.int32).reshape(-1, 7)


def reduced(photo: LabelledPhoto, side: int) -> LabelledPhoto:
    """A photograph and its labels with a long side of at most `side` pixels."""
    height, width = photo.image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return photo
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA)
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(int)
    return LabelledPhoto(image=image, labels=photo.labels[:, rows[:, None], columns], mix=photo.mix)


def reduced_mattes(photo: MattePhoto, side: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A photograph with a long side of at most `side` pixels and its converted mattes, without haze: (H, W, 3) and each
    (H, W), uint8.
    """
    factor = min(1.0, side / max(photo.image.shape[:2]))
    size = (max(1, round(photo.image.shape[1] * factor)), max(1, round(photo.image.shape[0] * factor)))
    image = cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA)
    alphas = [cv2.resize(without_haze(alpha), size, interpolation=cv2.INTER_AREA) for alpha in photo.mattes]
    return image.astype(np.uint8, copy=False), [(alpha * 255 + 0.5).astype(np.uint8) for alpha in alphas]


def background_photo(rng: np.random.Generator, side: int, photos: PhotoPool | None, index: int | None) -> np.ndarray:
    """A picture to put behind sprites: photograph `index` of the pool, or a procedural one. (H, W, 3) uint8."""
    if photos is None or index is None:
        return np.clip(background(rng, side, pool=None, photo_probability=0.0) + 0.5, 0, 255).astype(np.uint8)
    image = photos.load(index)
    factor = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def build_shard(
    images: list[np.ndarray],
    labelled: list[LabelledPhoto | None],
    side: int,
    mattes: list[list[np.ndarray]] | None = None,
) -> PhotoShard:
    """A shard of pictures (H, W, 3) uint8, each with its labels or None and its mattes (H, W) uint8, none by default;
    at most two maps a photograph are kept, and mattes that are not empty.
    """
    alphas, matted = _matted(mattes or [], side)
    frames = np.zeros((len(images), side, side, 3), np.uint8)
    maps: list[np.ndarray] = []
    owner, mixes, tables = [], [], []
    for index, (image, labels) in enumerate(zip(images, labelled, strict=True)):
        height, width = image.shape[:2]
        frames[index] = cv2.copyMakeBorder(image, 0, side - height, 0, side - width, cv2.BORDER_REPLICATE)
        for label in [] if labels is None else list(labels.labels[:2]):
            numbers, table = pieces_of(label)
            if len(table) == 0:
                continue
            tables.append(np.insert(table, 0, len(maps), axis=1))
            padded = np.zeros((side, side), np.uint8)
            padded[:height, :width] = numbers
            maps.append(padded)
            owner.append(index)
    for labels in labelled:
        mix = None if labels is None else labels.mix
        mixes.append(_NO_MIX if mix is None else (mix.whole, mix.single, mix.component, mix.union))
    return PhotoShard(
        image=frames,
        hw=np.array([image.shape[:2] for image in images], np.int32),
        labels=np.stack(maps) if maps else np.zeros((0, side, side), np.uint8),
        owner=np.array(owner, np.int32),
        mix=np.array([mixes[k] for k in owner], np.float32).reshape(-1, 4),
        pieces=np.concatenate(tables) if tables else np.zeros((0, 8), np.int32),
        mattes=alphas,
        matted=matted,
    )


def _matted(mattes: list[list[np.ndarray]], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Mattes in frames, and their photographs and boxes, as `PhotoShard` has them."""
    frames, rows = [], []
    for index, several in enumerate(mattes):
        for alpha in several:
            height, width = alpha.shape
            x, y, wide, high = cv2.boundingRect((alpha > 12).astype(np.uint8))
            if wide == 0:
                continue
            frames.append(cv2.copyMakeBorder(alpha, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT, value=0))
            rows.append((index, x, y, x + wide, y + high))
    stacked = np.stack(frames) if frames else np.zeros((0, side, side), np.uint8)
    return stacked, np.array(rows, np.int32).reshape(-1, 5)
