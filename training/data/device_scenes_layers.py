"""Sprites drawn and composited on a device: exact visible alphas, many scenes at once."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .device_scenes_filters import both_ways, gaussian_matrix, motion_blur, on_device
from .device_scenes_layout import Layout
from .sprites import SpriteLibrary, level_frames

_SHADOW_REDUCTION = 4


class Composite(NamedTuple):
    """I pictures (I, 3, S, S) in 0..255, and visible alphas (I, 2K, S, S): of K layers, then of a part of each."""

    image: Tensor
    visible: Tensor


def draw_sprites(library: SpriteLibrary, layout: Layout, side: int) -> Tensor:
    """Each sprite where its layout puts it, unblurred: (R, 5, S, S) float, premultiplied colour in 0..255,
    coverage and part coverage in 0..1.
    """
    device, rows = library.device, len(layout.sprite)
    frames = np.array(level_frames(library.side), np.float64)[layout.level]  # (R, 3) x, y, side in the atlas
    inverse = np.linalg.inv(layout.matrix) / (layout.side * side)[:, None, None]
    centre = layout.centre * side
    shift = 0.5 - np.einsum("rij,rj->ri", inverse, centre - 0.5)  # pixel 0 has its centre at 0.5
    theta = on_device(np.concatenate([inverse, shift[..., None]], axis=2), device)
    at = torch.arange(side, device=device, dtype=torch.float32)
    own = theta[:, None, None, :, 0] * at[None, None, :, None] + theta[:, None, None, :, 1] * at[None, :, None, None]
    own = own + theta[:, None, None, :, 2]  # (R, S, S, 2), 0..1 over the sprite's frame
    place = on_device(frames, device)
    origin, size = place[:, None, None, :2], place[:, None, None, 2:]
    inside = ((own > 0) & (own < 1)).all(-1)
    pixels = origin + torch.minimum((own * size).clamp(min=0.5), size - 0.5)
    extent = on_device(np.array([library.side * 1.5, library.side]), device)
    atlas = library.atlas[on_device(layout.sprite, device)].float()
    drawn = F.grid_sample(atlas, 2 * pixels / extent - 1, align_corners=False)
    drawn = drawn * inside[:, None].view(rows, 1, side, side)
    scale = on_device(np.array([1, 1, 1, 1 / 255, 1 / 255]), device)
    return drawn * scale[:, None, None]


def blur_sprites(layers: Tensor, layout: Layout) -> Tensor:
    """Defocus and motion of the rows that have them."""
    side, device = layers.shape[-1], layers.device
    for strength, kind in ((layout.sigma, "defocus"), (layout.length, "motion")):
        rows = np.flatnonzero(strength)
        if len(rows) == 0:
            continue
        index = on_device(rows, device)
        amount = on_device(strength[rows] * side, device)
        if kind == "defocus":
            blurred = both_ways(gaussian_matrix(amount, side), layers[index])
        else:
            blurred = motion_blur(layers[index], amount, on_device(layout.angle[rows], device))
        layers = layers.index_copy(0, index, blurred)
    return layers


def dress(layers: Tensor, layout: Layout, mean: Tensor, behind: Tensor) -> Tensor:
    """Colour jitter and camouflage of premultiplied layers (R, 5, S, S).

    mean: (R, 3) straight mean colours of the sprites. behind: (R, 3) mean colours of their backgrounds.
    """
    device = layers.device
    gain, contrast = on_device(layout.gain, device), on_device(layout.contrast, device)[:, None]
    hidden = on_device(layout.camouflage, device)[:, None]
    factor = gain * contrast
    offset = gain * (1 - contrast) * mean + hidden * (behind - gain * mean)
    alpha = layers[:, 3:4]
    colour = layers[:, :3] * factor[..., None, None] + alpha * offset[..., None, None]
    return torch.cat([torch.minimum(colour.clamp(min=0), 255 * alpha), layers[:, 3:]], dim=1)


def shadows_of(layers: Tensor, layout: Layout) -> Tensor:
    """How much light each layer leaves to what is below it, (R, S, S) in 0..1; 1 where its picture has no shadows."""
    side, device = layers.shape[-1], layers.device
    light = torch.ones(len(layers), side, side, device=device)
    rows = np.flatnonzero(layout.shadow[layout.picture])
    if len(rows) == 0:
        return light
    pictures = layout.picture[rows]
    index = on_device(rows, device)
    small = F.avg_pool2d(layers[index, 3:4], _SHADOW_REDUCTION)
    theta = torch.eye(2, 3, device=device).repeat(len(rows), 1, 1)
    theta[:, :, 2] = on_device(-2 * layout.shadow_offset[pictures], device)
    moved = F.grid_sample(small, F.affine_grid(theta, list(small.shape), align_corners=False), align_corners=False)
    reduced = small.shape[-1]
    matrix = gaussian_matrix(on_device(layout.shadow_sigma[pictures] * reduced, device).clamp(min=0.5), reduced)
    soft = F.interpolate(both_ways(matrix, moved), (side, side), mode="bilinear", align_corners=False)[:, 0]
    return light.index_copy(0, index, 1 - on_device(layout.shadow[pictures], device)[:, None, None] * soft)


def compose(background: Tensor, layers: Tensor, light: Tensor, picture: np.ndarray, order: np.ndarray) -> Composite:
    """Lay layers over backgrounds.

    background: (I, 3, S, S) in 0..255. layers: (R, 5, S, S) premultiplied. light: (R, S, S), see `shadows_of`.
    picture, order: (R,) where each layer belongs, order 0 lowest.

    A layer's visible alpha is its coverage times what everything on top lets through; shadows darken colours only.
    """
    pictures, side = len(background), background.shape[-1]
    device, most = background.device, int(order.max()) + 1
    visible = background.new_zeros(pictures, 2, most, side, side)
    colour = torch.zeros_like(background)
    through = background.new_ones(pictures, 1, side, side)  # alpha's share
    bright = background.new_ones(pictures, 1, side, side)  # the same, darkened by shadows
    for k in reversed(range(most)):
        rows = np.flatnonzero(order == k)
        row = on_device(rows, device)
        at = on_device(picture[rows], device)
        layer = layers[row]
        visible[at, :, k] = layer[:, 3:] * through[at]
        colour = colour.index_add(0, at, layer[:, :3] * bright[at])
        keep = 1 - layer[:, 3:4]
        through = through.index_copy(0, at, through[at] * keep)
        bright = bright.index_copy(0, at, bright[at] * keep * light[row][:, None])
    return Composite(colour + background * bright, visible.flatten(1, 2))

