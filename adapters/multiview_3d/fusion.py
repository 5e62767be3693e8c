"""Posed RGB-D frames fused into one mesh (truncated signed distances in open3d's VoxelBlockGrid)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import ConfigError, DataError, ImageError

from .open3d_door import import_open3d
from .surface import Mesh, Surface, surface_from_vertices
from .views import Scene, Skipped, View

_BLOCK = 8
_FIRST_BLOCKS = 20_000
_VOXELS_PER_PIXEL = 2.0
_PROBED_VIEWS = 8


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How frames are fused.

    voxel: side of a voxel in world units; None takes twice a pixel's width at the median depth. depth_max: farther
    measurements are left out (open3d's own default of 3 m loses the far half of most rooms). min_weight: voxels seen
    in fewer frames give no surface.
    """

    voxel: float | None = None
    depth_max: float = 20.0
    min_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("voxel", "depth_max", "min_weight"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ConfigError(f"{name}: expected a positive number, got {value!r}")


def fuse_rgbd(
    scene: Scene,
    config: FusionConfig | None = None,
    *,
    progress: bool = False,
    on_view: Callable[[int, int], None] | None = None,
) -> tuple[Surface, list[Skipped]]:
    """Fuse the frames that have depth; the others are reported.

    Args:
        scene: the views.
        config: defaults when None.
        progress: show a bar.
        on_view: called with the views done and their number; what it raises ends the work.

    Returns:
        The surface, its points the vertices of the mesh, and the frames that were left out.

    Raises:
        DataError: no frame has depth, or no surface comes of them.
        MissingDependencyError: open3d is not installed.
    """
    config = config or FusionConfig()
    open3d = import_open3d()
    voxel = config.voxel or _fitting_voxel(scene, config.depth_max)
    grid = open3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight", "color"),
        attr_dtypes=(open3d.core.float32,) * 3,
        attr_channels=((1), (1), (3)),
        voxel_size=voxel,
        block_resolution=_BLOCK,
        block_count=_FIRST_BLOCKS,
    )
    skipped = []
    for done, view in enumerate(tqdm(scene.views, desc="fusing", unit="view", disable=not progress), 1):
        try:
            _integrate(open3d, grid, view, config)
        except (DataError, ImageError) as error:
            skipped.append(Skipped(view.name, str(error)))
        if on_view:
            on_view(done, len(scene.views))
    if len(skipped) == len(scene.views):
        raise DataError(f"fusion: no frame could be used; {skipped[0].name}: {skipped[0].reason}")
    mesh = grid.extract_triangle_mesh(weight_threshold=config.min_weight - 0.5)
    if not mesh.vertex.positions.shape[0]:
        raise DataError(f"fusion: no surface within {config.depth_max:g} units; is depth_scale right?")
    colours = np.clip(mesh.vertex.colors.numpy() * 255 + 0.5, 0, 255).astype(np.uint8)
    made = Mesh(mesh.vertex.positions.numpy(), mesh.triangle.indices.numpy().astype(np.int32), colours)
    return surface_from_vertices(made), skipped


def _integrate(open3d: Any, grid: Any, view: View, config: FusionConfig) -> None:
    depth, image = pinhole_frame(view)
    depth = np.where(depth <= config.depth_max, depth, 0).astype(np.float32)
    if not depth.any():
        raise DataError(f"no depth below {config.depth_max:g}")
    tensor = open3d.core.Tensor
    frame = open3d.t.geometry.Image(tensor(np.ascontiguousarray(depth[..., None])))
    colour = open3d.t.geometry.Image(tensor(np.ascontiguousarray(image.astype(np.float32) / 255)))
    matrix = view.camera.matrix - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # open3d counts from the first pixel's centre
    intrinsic, extrinsic = tensor(matrix), tensor(np.ascontiguousarray(view.camera.world_to_camera))
    blocks = grid.compute_unique_block_coordinates(frame, intrinsic, extrinsic, 1.0, config.depth_max)
    grid.integrate(blocks, frame, colour, intrinsic, intrinsic, extrinsic, 1.0, config.depth_max)


def pinhole_frame(view: View) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Depth and picture as the same camera without its lens would see them."""
    depth, image = view.read_depth(), view.read_image()
    camera = view.camera
    if camera.lens.is_none:
        return depth, image
    plane = (camera.pixel_centres() - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    bent = camera.lens.distort(plane) * [camera.fx, camera.fy] + [camera.cx, camera.cy] - 0.5
    where = bent.astype(np.float32).reshape(camera.height, camera.width, 2)
    x, y = where[..., 0], where[..., 1]
    straight = cv2.remap(depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    picture = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return straight.astype(np.float32), picture.astype(np.uint8)


def _fitting_voxel(scene: Scene, depth_max: float) -> float:
    """Twice a pixel's width at the median depth of some frames."""
    widths = []
    for view in scene.views[:: max(1, len(scene.views) // _PROBED_VIEWS)]:
        try:
            depth = view.read_depth()
        except DataError:
            continue
        measured = depth[(depth > 0) & (depth <= depth_max)]
        if measured.size:
            widths.append(float(np.median(measured)) / view.camera.fx)
    if not widths:
        raise DataError(f"fusion: no frame of {len(scene.views)} has depth up to {depth_max:g} units")
    return _VOXELS_PER_PIXEL * float(np.median(widths))
