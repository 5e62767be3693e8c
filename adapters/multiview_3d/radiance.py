"""A scene without depth as a grid of density and colour, and the weight of each of its voxels on a pixel's ray.

A voxel grid optimised directly on the pictures, as in DVGO (arXiv 2111.11215), without view-dependent colours: enough
for where surfaces are, which is all that a mask needs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zim.errors import DataError
from zim.files import atomic_write

from .camera import Camera

_INITIAL_ALPHA = 1e-4
_TINY = 1e-10


class Rays(NamedTuple):
    """origin, direction: (B, 3) float32 in the cube's coordinates; directions have z = 1 in the camera's axes."""

    origin: Tensor
    direction: Tensor


class Samples(NamedTuple):
    """Places along rays. position: (B, S, 3) in [-1, 1]. inside: (B, S) bool. step: (B, 1), length of a step in units
    of the cube's half side. parameter: (B, S), the depth z."""

    position: Tensor
    inside: Tensor
    step: Tensor
    parameter: Tensor


@dataclass
class RadianceGrid:
    """Density and colour in a cube.

    centre: (3,) and half_side: the cube, world units. density: (1, 1, R, R, R) before the activation, axes z, y, x.
    colour: (1, 3, R, R, R) before the sigmoid. background: (3,) RGB in [0, 1]. occupied: (1, 1, R, R, R) bool.
    """

    centre: NDArray[np.float64]
    half_side: float
    density: Tensor
    colour: Tensor
    background: Tensor
    occupied: Tensor

    @classmethod
    def empty(cls, centre: NDArray[np.float64], half_side: float, side: int, background: Tensor) -> "RadianceGrid":
        """A grid of nothing: every sample has an opacity of about 1e-4."""
        return cls(
            centre,
            half_side,
            torch.zeros(1, 1, side, side, side),
            torch.zeros(1, 3, side, side, side),
            background,
            torch.ones(1, 1, side, side, side, dtype=torch.bool),
        )

    @property
    def side(self) -> int:
        """Voxels along an edge."""
        return int(self.density.shape[-1])

    @property
    def voxel(self) -> float:
        """Side of a voxel, world units."""
        return 2 * self.half_side / self.side

    def rays(self, camera: Camera, pixels: NDArray[np.float64] | None = None) -> Rays:
        """Rays through (B, 2) image coordinates, or through all pixel centres."""
        pose = camera.camera_to_world
        directions = camera.directions(camera.pixel_centres() if pixels is None else pixels) @ pose[:3, :3].T
        origin = np.broadcast_to((pose[:3, 3] - self.centre) / self.half_side, directions.shape)
        as_tensor = (torch.from_numpy(np.array(part, np.float32)) for part in (origin, directions / self.half_side))
        return Rays(*as_tensor)

    def samples(self, rays: Rays, jitter: Tensor | None = None) -> Samples:
        """Even steps of one voxel from where a ray enters the cube; jitter: (B, 1) in [0, 1), 0.5 when None."""
        with torch.no_grad():
            length = rays.direction.norm(dim=1, keepdim=True)
            safe = torch.where(rays.direction.abs() < 1e-9, torch.full_like(rays.direction, 1e-9), rays.direction)
            low, high = (-1 - rays.origin) / safe, (1 - rays.origin) / safe
            enter = torch.minimum(low, high).amax(1, keepdim=True).clamp_min(0)
            leave = torch.maximum(low, high).amin(1, keepdim=True)
            count = int(np.ceil(np.sqrt(3) * self.side)) + 1
            step = 2 / (self.side * length)
            offset = torch.full_like(enter, 0.5) if jitter is None else jitter
            parameter = enter + (torch.arange(count)[None] + offset) * step
            position = rays.origin[:, None] + rays.direction[:, None] * parameter[..., None]
            inside = parameter < leave
            places = self.cells(position[inside])
            inside[inside.clone()] = self.occupied.flatten()[places]
        return Samples(position, inside, step * length, parameter)

    def cells(self, position: Tensor) -> Tensor:
        """(M, 3) positions in [-1, 1] -> (M,) numbers of their voxels."""
        cell = ((position + 1) / 2 * self.side).long().clamp(0, self.side - 1)
        return (cell[:, 2] * self.side + cell[:, 1]) * self.side + cell[:, 0]

    def opacities(self, samples: Samples) -> Tensor:
        """(B, S): 1 - exp(-density * step), 0 outside."""
        found = samples.position.new_zeros(samples.inside.shape)
        places = samples.position[samples.inside]
        raw = F.grid_sample(self.density, places[None, None, None], align_corners=False, padding_mode="border")
        shift = float(np.log(np.expm1(-np.log1p(-_INITIAL_ALPHA))))
        steps = samples.step.expand_as(samples.inside)[samples.inside] * self.side / 2
        return found.masked_scatter(samples.inside, 1 - torch.exp(-F.softplus(raw.flatten() + shift) * steps))

    def weights(self, samples: Samples) -> Tensor:
        """(B, S): what each sample contributes to its ray's pixel; the rest is background."""
        opacity = self.opacities(samples)
        clear = torch.cumprod(torch.cat([torch.ones_like(opacity[:, :1]), 1 - opacity + _TINY], 1), 1)
        return opacity * clear[:, :-1]

    def colours(self, samples: Samples, weights: Tensor) -> Tensor:
        """(B, 3) pixel colours in [0, 1]."""
        places = samples.position[samples.inside]
        raw = F.grid_sample(self.colour, places[None, None, None], align_corners=False, padding_mode="border")
        each = torch.sigmoid(raw[0, :, 0, 0].T) * weights[samples.inside][:, None]
        owner = torch.arange(len(weights))[:, None].expand_as(samples.inside)[samples.inside]
        total = torch.zeros(len(weights), 3).index_add(0, owner, each)
        return total + (1 - weights.sum(1, keepdim=True)) * self.background

    def refined(self, side: int) -> "RadianceGrid":
        """The same grid with more voxels, without those that are empty all around."""
        size = (side,) * 3
        density = F.interpolate(self.density, size, mode="trilinear", align_corners=False)
        shift = float(np.log(np.expm1(-np.log1p(-_INITIAL_ALPHA))))
        opaque = 1 - torch.exp(-F.softplus(density + shift))
        occupied = F.max_pool3d(opaque, 3, 1, 1) > 5 * _INITIAL_ALPHA
        colour = F.interpolate(self.colour, size, mode="trilinear", align_corners=False)
        return RadianceGrid(self.centre, self.half_side, density, colour, self.background, occupied)

    def save(self, path: Path) -> None:
        """Write the grid as safetensors, atomically."""
        tensors = {
            "centre": torch.from_numpy(np.asarray(self.centre, np.float64)),
            "half_side": torch.tensor([self.half_side], dtype=torch.float64),
            "density": self.density.detach().contiguous(),
            "colour": self.colour.detach().contiguous(),
            "background": self.background.detach().contiguous(),
            "occupied": self.occupied.to(torch.uint8),
        }
        with atomic_write(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> "RadianceGrid":
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            with safe_open(str(path), framework="pt") as reader:
                found = {name: reader.get_tensor(name) for name in reader.keys()}
            return cls(
                found["centre"].numpy(),
                float(found["half_side"][0]),
                found["density"],
                found["colour"],
                found["background"],
                found["occupied"].bool(),
            )
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(f"{path}: expected a density grid ({error})") from error
