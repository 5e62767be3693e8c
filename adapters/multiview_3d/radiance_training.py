"""Fitting a density and colour grid to the pictures of a scene."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.errors import ConfigError, DataError

from .radiance import RadianceGrid, Rays
from .views import Scene

Progress = Callable[[int, int, float], None]

_BORDER = 0.02
_CUBE = 0.42
_SURENESS = 0.003


@dataclass(frozen=True, kw_only=True)
class RadianceConfig:
    """How the grid is fitted.

    side: voxels along an edge at the end; coarse_side: at the start, to find what is empty. steps, coarse_steps: of
    `rays` each. picture_side: pictures are scaled to this long side. centre, half_side: of the cube around what is to
    be fitted, world units; None takes the point nearest to all optical axes, and a share of its distance.
    """

    side: int = 96
    coarse_side: int = 48
    steps: int = 700
    coarse_steps: int = 250
    rays: int = 2048
    picture_side: int = 200
    rate: float = 0.15
    centre: tuple[float, float, float] | None = None
    half_side: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("side", "coarse_side", "steps", "coarse_steps", "rays", "picture_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)!r}")
        if self.half_side is not None and not self.half_side > 0:
            raise ConfigError(f"half_side: expected a positive number, got {self.half_side!r}")


def fit_radiance(
    scene: Scene, config: RadianceConfig | None = None, *, progress: Progress | None = None
) -> RadianceGrid:
    """Fit a grid to all views.

    Args:
        scene: cameras that look at one place from around it; a plain background is assumed.
        config: defaults when None.
        progress: called with steps done, of all, and the present PSNR in dB.

    Raises:
        DataError: the cameras look past one another, or a picture cannot be read.
    """
    config = config or RadianceConfig()
    centre, half_side = scene_cube(scene, config)
    colours, background, pictures = [], [], []
    for view in scene.views:
        width, height = scaled_size(view.hw, config.picture_side)
        small = cv2.resize(view.read_image(), (width, height), interpolation=cv2.INTER_AREA)
        pictures.append(view.camera.resized(width, height))
        colours.append(torch.from_numpy(small.reshape(-1, 3).astype(np.float32) / 255))
        rim = max(1, round(_BORDER * max(height, width)))
        background.append(np.concatenate([small[:rim].reshape(-1, 3), small[-rim:].reshape(-1, 3)]))
    plain = torch.from_numpy(np.median(np.concatenate(background), axis=0).astype(np.float32) / 255)
    grid = RadianceGrid.empty(centre, half_side, config.coarse_side, plain)
    parts = [grid.rays(camera) for camera in pictures]
    rays = Rays(torch.cat([part.origin for part in parts]), torch.cat([part.direction for part in parts]))
    target = torch.cat(colours)
    total = config.coarse_steps + config.steps
    generator = torch.Generator().manual_seed(config.seed)
    grid = _optimised(grid, rays, target, config, config.coarse_steps, generator, progress, 0, total)
    grid = grid.refined(config.side)
    return _optimised(grid, rays, target, config, config.steps, generator, progress, config.coarse_steps, total)


def scaled_size(hw: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Width and height of a picture scaled down to a long side; never up."""
    scale = min(1.0, long_side / max(hw))
    return max(1, round(hw[1] * scale)), max(1, round(hw[0] * scale))


def scene_cube(scene: Scene, config: RadianceConfig) -> tuple[NDArray[np.float64], float]:
    """Centre and half side of the cube that the cameras look at.

    Raises:
        DataError: the optical axes are nearly parallel, so that they meet nowhere.
    """
    centres = np.stack([view.camera.centre for view in scene.views])
    axes = np.stack([view.camera.world_to_camera[2, :3] for view in scene.views])
    if config.centre is not None:
        middle = np.array(config.centre, np.float64)
    else:
        across = np.eye(3)[None] - axes[:, :, None] * axes[:, None, :]
        matrix = across.sum(axis=0)
        if np.linalg.cond(matrix) > 1e4:
            raise DataError("cameras: expected views from around one place, got parallel ones; give centre, half_side")
        middle = np.linalg.solve(matrix, (across @ centres[..., None]).sum(axis=0)[:, 0])
    distance = float(np.median(np.linalg.norm(centres - middle, axis=1)))
    return middle, config.half_side or _CUBE * distance


def _optimised(
    grid: RadianceGrid,
    rays: Rays,
    target: Tensor,
    config: RadianceConfig,
    steps: int,
    generator: torch.Generator,
    progress: Progress | None,
    before: int,
    total: int,
) -> RadianceGrid:
    """Adam on the squared error of the colours; rays are half transparent or solid, not in between."""
    density, colour = grid.density.clone().requires_grad_(), grid.colour.clone().requires_grad_()
    fitted = replace(grid, density=density, colour=colour)
    optimizer = torch.optim.Adam([density, colour], lr=config.rate, eps=1e-15)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = config.rate * 0.1 ** (step / steps)
        chosen = torch.randint(len(target), (config.rays,), generator=generator)
        samples = fitted.samples(
            Rays(rays.origin[chosen], rays.direction[chosen]), torch.rand(config.rays, 1, generator=generator)
        )
        weights = fitted.weights(samples)
        error = (fitted.colours(samples, weights) - target[chosen]).square().mean()
        opacity = weights.sum(1).clamp(1e-4, 1 - 1e-4)
        sureness = -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
        loss = error + _SURENESS * sureness * (step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if progress:
            progress(before + step + 1, total, -10 * float(torch.log10(error.detach().clamp_min(1e-10))))
    return replace(grid, density=density.detach(), colour=colour.detach())
