"""One training sample: a square padded image and several targets in it, from scenes, labelled photos, or both."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .coarse_labels import synthesize_coarse_label
from .scenes import Scene
from .segments import LabelledPhoto


@dataclass(frozen=True, kw_only=True)
class Target:
    """alpha: (S, S) float32, the matte. coarse: (S, S) float32 of 0 and 1, the segmentation label.

    weight: (S, S) float32, where the matte is trusted (0 around the outline of human labels, which is inexact).
    """

    alpha: np.ndarray
    coarse: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Sample:
    """image: (S, S, 3) uint8, zero below and to the right of `input_hw`, as inference pads it."""

    image: np.ndarray
    input_hw: tuple[int, int]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class _Window:
    """A window (x, y, width, height) of the source, and the size (h, w) it is resized to."""

    x: int
    y: int
    width: int
    height: int
    out_hw: tuple[int, int]

    def cut(self, array: np.ndarray, side: int) -> np.ndarray:
        """The window of `array`, resized and zero-padded to (side, side)."""
        piece = array[self.y : self.y + self.height, self.x : self.x + self.width]
        shrinks = self.out_hw[0] < piece.shape[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(np.ascontiguousarray(piece), self.out_hw[::-1], interpolation=method)
        out = np.zeros((side, side, *array.shape[2:]), array.dtype)
        out[: self.out_hw[0], : self.out_hw[1]] = resized
        return out


def _fit(x: int, y: int, width: int, height: int, side: int) -> _Window:
    scale = side / max(width, height)
    return _Window(x, y, width, height, (max(1, round(height * scale)), max(1, round(width * scale))))


def _choose_window(region: np.ndarray, side: int, rng: np.random.Generator) -> _Window:
    """The whole frame, or a window 1 to 2.5 times the region's box; of any aspect ratio, or square."""
    height, width = region.shape
    if rng.random() < 0.3:
        return _fit(0, 0, width, height, side)
    x, y, w, h = cv2.boundingRect(region.astype(np.uint8))
    factor = float(np.exp(rng.uniform(0, np.log(2.5))))
    new_w, new_h = w * factor * np.exp(rng.normal(0, 0.1)), h * factor * np.exp(rng.normal(0, 0.1))
    if rng.random() < 0.5:
        new_w = new_h = max(new_w, new_h)
    new_w, new_h = int(np.clip(new_w, 48, width)), int(np.clip(new_h, 48, height))
    left = int(np.clip(x + w / 2 - new_w / 2 + rng.uniform(-0.5, 0.5) * (new_w - w), 0, width - new_w))
    top = int(np.clip(y + h / 2 - new_h / 2 + rng.uniform(-0.5, 0.5) * (new_h - h), 0, height - new_h))
    return _fit(left, top, new_w, new_h, side)


def scene_sample(scene: Scene, *, side: int, count: int, rng: np.random.Generator) -> Sample | None:
    """Up to `count` objects of a scene, in the whole frame or a window of it."""
    size = scene.image.shape[0]
    window = _fit(0, 0, size, size, side)
    if rng.random() < 0.5:
        w, h = (int(size * rng.uniform(0.55, 1.0)) for _ in range(2))
        window = _fit(int(rng.integers(size - w + 1)), int(rng.integers(size - h + 1)), w, h, side)
    image = window.cut(scene.image, side)
    flip = rng.random() < 0.5
    targets = []
    for index in rng.permutation(len(scene.objects)):
        alpha = window.cut(scene.objects[index].alpha, side)
        if not _promptable(alpha):
            continue
        alpha = _flipped(alpha, window.out_hw, flip)
        coarse = synthesize_coarse_label(alpha, rng)
        targets.append(Target(alpha=alpha, coarse=coarse, weight=np.ones_like(alpha)))
        if len(targets) == count:
            break
    return _finish(_flipped(image, window.out_hw, flip), window.out_hw, targets, rng)


def photo_sample(photo: LabelledPhoto, *, side: int, count: int, rng: np.random.Generator) -> Sample | None:
    """Up to `count` labelled regions of a photograph, around one of them."""
    first = photo.sample_region(rng)
    if first is None:
        return None
    window = _choose_window(first, side, rng)
    flip = rng.random() < 0.5
    targets = []
    for region in [first, *(photo.sample_region(rng) for _ in range(count - 1))]:
        if region is None:
            continue
        alpha = window.cut(region.astype(np.float32), side)
        if _promptable(alpha):
            alpha = _flipped(alpha, window.out_hw, flip)
            targets.append(Target(alpha=alpha, coarse=(alpha > 0.5).astype(np.float32), weight=_trust(alpha)))
    return _finish(_flipped(window.cut(photo.image, side), window.out_hw, flip), window.out_hw, targets, rng)


def matte_sample(
    image: np.ndarray, mattes: Sequence[np.ndarray], *, side: int, count: int, rng: np.random.Generator
) -> Sample | None:
    """Up to `count` of a photograph's mattes, (H, W) float32 each, in a window around the first of them."""
    window = _choose_window(mattes[0] > 0.5, side, rng)
    flip = rng.random() < 0.5
    targets = []
    for matte in mattes[:count]:
        alpha = window.cut(matte, side)
        if _promptable(alpha):
            alpha = _flipped(alpha, window.out_hw, flip)
            coarse = synthesize_coarse_label(alpha, rng)
            targets.append(Target(alpha=alpha, coarse=coarse, weight=np.ones_like(alpha)))
    return _finish(_flipped(window.cut(image, side), window.out_hw, flip), window.out_hw, targets, rng)


def pasted_sample(
    photo: LabelledPhoto, background: np.ndarray, *, side: int, rng: np.random.Generator
) -> Sample | None:
    """A labelled object cut out of its photograph and laid over another one (side, side, 3), its edge feathered."""
    region = photo.sample_region(rng)
    if region is None:
        return None
    x, y, w, h = cv2.boundingRect(region.astype(np.uint8))
    scale = side * float(np.exp(rng.uniform(np.log(0.25), np.log(1.0)))) / max(w, h)
    angle = rng.normal(0, 12) if rng.random() < 0.5 else 0.0
    matrix = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), angle, scale)
    reach = side - 0.35 * scale * np.array([w, h])
    low = np.minimum(0.35 * scale * np.array([w, h]), side / 2)
    matrix[:, 2] += rng.uniform(low, np.maximum(reach, low + 1)) - np.array([x + w / 2, y + h / 2])
    if rng.random() < 0.5:
        matrix[0] = np.array([0, 0, side]) - matrix[0]
    inner = cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = cv2.warpAffine(inner, matrix, (side, side), flags=method)
    alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.4, 1.6)), 0, 1)
    if not _promptable(alpha):
        return None
    layer = cv2.warpAffine(photo.image, matrix, (side, side), flags=method, borderMode=cv2.BORDER_REFLECT)
    mixed = jitter_colours(layer, rng) * alpha[..., None] + background * (1 - alpha[..., None])
    target = Target(alpha=alpha, coarse=synthesize_coarse_label(alpha, rng), weight=np.ones_like(alpha))
    return _finish(np.clip(mixed + 0.5, 0, 255).astype(np.uint8), (side, side), [target], rng)


def _finish(
    image: np.ndarray, input_hw: tuple[int, int], targets: list[Target], rng: np.random.Generator
) -> Sample | None:
    if not targets:
        return None
    height, width = input_hw
    image = image.copy()
    image[:height, :width] = jitter_colours(image[:height, :width], rng)
    return Sample(image=image, input_hw=input_hw, targets=tuple(targets))


def _promptable(alpha: np.ndarray) -> bool:
    """Large enough to be asked for, and not the whole picture."""
    solid = float((alpha > 0.5).mean())
    return 0.005 <= solid <= 0.97


def _flipped(array: np.ndarray, input_hw: tuple[int, int], flip: bool) -> np.ndarray:
    """Mirror the unpadded part, in place."""
    if flip:
        height, width = input_hw
        array[:height, :width] = array[:height, :width][:, ::-1].copy()
    return array


def _trust(alpha: np.ndarray) -> np.ndarray:
    """0 in a band around the outline of a human label, about 1% of its size wide, 1 elsewhere."""
    solid = (alpha > 0.5).astype(np.uint8)
    reach = max(1, round(0.008 * float(np.sqrt(solid.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    band = cv2.dilate(solid, kernel) - cv2.erode(solid, kernel)
    return (1 - band).astype(np.float32)


def jitter_colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, white balance, saturation, seldom grey or blurred; (H, W, 3) uint8 -> uint8."""
    x = image.astype(np.float32)
    if rng.random() < 0.8:
        mean = x.mean()
        x = (x - mean) * np.float32(np.exp(rng.normal(0, 0.2))) + mean
        x = x * np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.06, 3)).astype(np.float32)
    if rng.random() < 0.4:
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        x = grey[..., None] + (x - grey[..., None]) * np.float32(rng.uniform(0.0, 1.6))
    if rng.random() < 0.1:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.2)).astype(np.float32)
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)
