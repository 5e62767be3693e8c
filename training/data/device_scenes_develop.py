"""Pictures as a camera would have left them: light, colour, blur, noise and codec, on a device."""

import numpy as np
import torch
from torch import Tensor

from .device_scenes_filters import both_ways, gaussian_matrix, on_device
from .scenes import SceneConfig
from .sprites_codec import CELL, through_codec

_GREY = (0.299, 0.587, 0.114)


def jitter(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Exposure, contrast, white balance and saturation of (I, 3, S, S) in 0..255, as `samples` draws them."""
    count, device = len(images), images.device
    mild = rng.random(count) < 0.8
    contrast = np.where(mild, np.exp(rng.normal(0, 0.2, count)), 1.0)
    gain = np.where(mild[:, None], np.exp(rng.normal(0, 0.2, (count, 1)) + rng.normal(0, 0.06, (count, 3))), 1.0)
    saturation = np.where(rng.random(count) < 0.4, rng.uniform(0.0, 1.6, count), 1.0)
    grey = np.array(_GREY)
    mix = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * np.broadcast_to(grey, (3, 3))
    matrix = on_device(mix * (gain * contrast[:, None])[:, None, :], device)
    bias = on_device(gain * (1 - contrast[:, None]), device) * images.mean((1, 2, 3))[:, None]
    bias = torch.einsum("idc,ic->id", on_device(mix, device), bias)
    return (torch.einsum("idc,ichw->idhw", matrix, images) + bias[..., None, None]).clamp(0, 255)


def tint(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Mild gain, gamma and cast of (I, 3, S, S) in 0..255, as the scene generator gives them to backgrounds."""
    count, device = len(images), images.device
    gain = np.exp(rng.normal(-0.025, 0.1, (count, 1)) + rng.normal(0, 0.06, (count, 3)))
    gamma = on_device(np.exp(rng.normal(0, 0.175, count)), device)[:, None, None, None]
    return (on_device(255 * gain, device)[..., None, None] * (images / 255) ** gamma).clamp(0, 255)


def soften(rng: np.random.Generator, images: Tensor, share: float, sigma: tuple[float, float]) -> Tensor:
    """Blur a share of (I, C, S, S) by a Gaussian of `sigma` pixels."""
    rows = np.flatnonzero(rng.random(len(images)) < share)
    if len(rows) == 0:
        return images
    index = on_device(rows, images.device)
    matrix = gaussian_matrix(on_device(rng.uniform(*sigma, len(rows)), images.device), images.shape[-1])
    return images.index_copy(0, index, both_ways(matrix, images[index]))


def expose(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Exposure, cast and light fall-off of scenes (I, 3, S, S), with hardly any clipping."""
    count, side, device = len(images), images.shape[-1], images.device
    exposure = on_device(np.exp(rng.normal(-0.05, 0.2, count)), device)
    brightest = images.amax((1, 2, 3)).clamp(min=1)
    cast = on_device(np.exp(rng.normal(0, 0.05, (count, 3))), device)
    gain = torch.minimum(exposure, 290 / brightest)[:, None] * cast
    slope = on_device(np.where(rng.random((count, 1)) < 0.4, rng.uniform(-0.35, 0.35, (count, 2)), 0.0), device)
    ramp = torch.linspace(-1, 1, side, device=device)
    falloff = 1 + slope[:, :1, None] * ramp[None, None, :] + slope[:, 1:, None] * ramp[None, :, None]
    return images * gain[..., None, None] * falloff[:, None]


def finish(
    rng: np.random.Generator, images: Tensor, generator: torch.Generator, config: SceneConfig = SceneConfig()
) -> Tensor:
    """Noise and codec traces on (I, 3, S, S) in 0..255, whole numbers in the end."""
    count, device = len(images), images.device
    sigma = np.where(rng.random(count) < config.noise_probability, rng.uniform(*config.noise_sigma, count), 0.0)
    noise = torch.randn(images.shape, device=device, generator=generator)
    images = (images + noise * on_device(sigma, device)[:, None, None, None]).clamp(0, 255)
    rows = np.flatnonzero(rng.random(count) < config.jpeg_probability)
    if len(rows) and images.shape[-1] % CELL == 0:
        index = on_device(rows, device)
        low, high = config.jpeg_quality
        quality = on_device(rng.integers(low, high + 1, len(rows)).astype(np.float32), device)
        images = images.index_copy(0, index, through_codec(images[index], quality))
    return images.round()

