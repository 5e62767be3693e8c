"""Inverse rendering against what can be computed by hand, and a captured scene of two balls."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adapters.multiview_3d.camera import Camera, look_at
from adapters.multiview_3d.grid_field import GridField
from adapters.multiview_3d.propagation import segment_scene
from adapters.multiview_3d.radiance import RadianceGrid
from adapters.multiview_3d.radiance_training import RadianceConfig, fit_radiance, scene_cube
from adapters.multiview_3d.views import Scene, View
from adapters.oracle import OraclePredictor
from zim.errors import DataError
from zim.prompts import Prompt, box_from_alpha

SIDE = 64
CENTRES = np.array([[-0.45, 0.0, 0.0], [0.45, 0.15, 0.1]])
RADII = np.array([0.35, 0.28])
COLOURS = np.array([[200, 60, 40], [40, 90, 200]], np.float64)


def ball_views(count: int = 10) -> tuple[Scene, np.ndarray]:
    """Two balls on white, by ray and sphere; (2, V, H, W) their true masks."""
    views, masks = [], np.zeros((2, count, SIDE, SIDE), np.float32)
    for i in range(count):
        angle = 2 * np.pi * i / count
        position = 3 * np.array([np.cos(angle) * 0.9, np.sin(angle) * 0.9, 0.3 + 0.25 * (i % 3)])
        pose = look_at(position, np.zeros(3), np.array([0, 0, 1.0]))
        camera = Camera(width=SIDE, height=SIDE, fx=90, fy=90, cx=32, cy=32, world_to_camera=pose)
        directions = camera.directions(camera.pixel_centres()) @ camera.camera_to_world[:3, :3].T
        nearest, image = np.full(SIDE * SIDE, np.inf), np.full((SIDE * SIDE, 3), 255.0)
        owner = np.full(SIDE * SIDE, -1)
        for ball in (0, 1):
            off = camera.centre - CENTRES[ball]
            a, b = (directions**2).sum(1), directions @ off
            inside = b * b - a * (off @ off - RADII[ball] ** 2)
            t = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
            closer = t < nearest
            nearest[closer], owner[closer] = t[closer], ball
            height = camera.centre[2] + directions[:, 2] * np.where(np.isfinite(t), t, 0) - CENTRES[ball, 2]
            shade = 0.7 + 0.3 * height / RADII[ball]
            image[closer] = (COLOURS[ball] * shade[:, None])[closer]
        for ball in (0, 1):
            masks[ball, i] = (owner == ball).reshape(SIDE, SIDE)
        views.append(View(name=f"{i}", camera=camera, image=image.reshape(SIDE, SIDE, 3).astype(np.uint8)))
    return Scene(views=tuple(views)), masks


class KnowsTheBalls(OraclePredictor):
    def __init__(self, scene: Scene, masks: np.ndarray) -> None:
        super().__init__()
        self.views, self.masks = {v.read_image().tobytes(): i for i, v in enumerate(scene.views)}, masks

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        super().set_image(image)
        self.expect(*self.masks[:, self.views[image.tobytes()]])


@pytest.fixture(scope="module")
def fitted() -> tuple[Scene, np.ndarray, RadianceGrid]:
    scene, masks = ball_views()
    torch.manual_seed(0)
    config = RadianceConfig(side=40, coarse_side=24, steps=120, coarse_steps=80, rays=1024, picture_side=64)
    return scene, masks, fit_radiance(scene, config)


def filled_grid(side: int = 16) -> RadianceGrid:
    """A dense slab in the middle of the cube, empty elsewhere."""
    grid = RadianceGrid.empty(np.zeros(3), 1.0, side, torch.ones(3))
    grid.density[:] = -20
    grid.density[..., side // 2 - 2 : side // 2 + 2] = 200  # |x| < 4 / side
    return grid


def test_weights_of_a_slab() -> None:
    """All weight lies where a ray enters the slab, and a ray that passes by sees the background."""
    pose = look_at(np.array([3.0, 0, 0]), np.zeros(3), np.array([0, 0, 1.0]))
    camera = Camera(width=9, height=9, fx=12, fy=12, cx=4.5, cy=4.5, world_to_camera=pose)
    grid = filled_grid(32)
    samples = grid.samples(grid.rays(camera))
    weights = grid.weights(samples)
    middle = 4 * 9 + 4
    assert float(weights[middle].sum()) == pytest.approx(1, abs=1e-4)
    depth = float((weights[middle] * samples.parameter[middle]).sum())
    assert depth == pytest.approx(3 - 2 / 32 * 2, abs=2 * 2 / 32)
    assert torch.allclose(grid.colours(samples, weights * 0)[0], torch.ones(3))


def test_the_vote_is_the_gradient_of_the_loss() -> None:
    """-sum(alpha M) + lambda sum((1 - alpha) M), differentiated by torch, against the two sums."""
    pose = look_at(np.array([3.0, 0.3, 0.2]), np.zeros(3), np.array([0, 0, 1.0]))
    camera = Camera(width=20, height=20, fx=30, fy=30, cx=10, cy=10, world_to_camera=pose)
    field = GridField(filled_grid(), [camera], 1, negative=0.6)
    alpha = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    field.vote(0, 0, alpha, 1.0)
    seen = field.weights_of(0)
    mask = torch.zeros(16**3, requires_grad=True)
    rendered = torch.zeros(400).index_add(
        0, torch.from_numpy(seen.ray).long(), torch.from_numpy(seen.weight) * mask[torch.from_numpy(seen.voxel).long()]
    )
    given = torch.from_numpy(alpha).flatten()
    loss = -(given * rendered).sum() + 0.6 * ((1 - given) * rendered).sum()
    loss.backward()
    voted = (field._for[0] - 0.6 * field._against[0]).astype(np.float64)
    assert mask.grad is not None and np.abs(mask.grad.numpy() + voted).max() < 1e-4
    touched = np.abs(voted) > 1e-3
    assert np.array_equal(field.current(0)[touched] > 0.5, voted[touched] > 0) or (
        np.mean((field.current(0)[touched] > 0.5) == (voted[touched] > 0)) > 0.95  # the prior's pull at the limit
    )


def test_the_fitted_grid_shows_the_balls(fitted: tuple) -> None:
    scene, masks, grid = fitted
    field = GridField(grid, [view.camera for view in scene.views])
    for index in (0, 4):
        depth = field.weights_of(index).depth
        solid = masks[:, index].max(0) > 0.5
        assert ((depth > 0) == solid).mean() > 0.93
        assert np.abs(depth[solid & (depth > 0)] - 3.0).max() < 1.3


def test_one_ball_by_inverse_rendering(fitted: tuple) -> None:
    scene, masks, grid = fitted
    field = GridField(grid, [view.camera for view in scene.views])
    prompt = Prompt(box=box_from_alpha(masks[0, 1], 0.5))
    result = segment_scene(scene, field, KnowsTheBalls(scene, masks), [prompt], view=1)
    surface, alphas = field.surface()
    object_points = surface.points[alphas[0] > 0.5]
    away = np.linalg.norm(object_points - CENTRES[0], axis=1)
    assert len(object_points) > 100 and np.percentile(np.abs(away - RADII[0]), 80) < 0.15
    assert (np.linalg.norm(object_points - CENTRES[1], axis=1) < RADII[1] + 0.02).mean() < 0.03
    for index in range(len(scene.views)):
        found = result.in_view(index)
        both = (found.alpha > 0.5) & (masks[0, index] > 0.5)
        assert both.sum() / ((found.alpha > 0.5) | (masks[0, index] > 0.5)).sum() > 0.8


def test_a_grid_is_kept_in_a_file(fitted: tuple, tmp_path: Path) -> None:
    grid = fitted[2]
    grid.save(tmp_path / "grid.safetensors")
    again = RadianceGrid.load(tmp_path / "grid.safetensors")
    assert torch.equal(again.density, grid.density) and again.half_side == grid.half_side
    (tmp_path / "grid.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="expected a density grid"):
        RadianceGrid.load(tmp_path / "grid.safetensors")


def test_the_cube_is_where_the_cameras_look() -> None:
    scene, _ = ball_views()
    centre, half_side = scene_cube(scene, RadianceConfig())
    assert np.abs(centre).max() < 1e-9 and 1.0 < half_side < 1.6
    parallel = Scene(
        views=tuple(
            View(
                name=str(i),
                camera=Camera(
                    width=8, height=8, fx=8, fy=8, cx=4, cy=4,
                    world_to_camera=look_at(np.array([i, 0.0, 0]), np.array([i, 5.0, 0]), np.array([0, 0, 1.0])),
                ),
                image=np.zeros((8, 8, 3), np.uint8),
            )
            for i in range(3)
        )
    )  # fmt: skip
    with pytest.raises(DataError, match="parallel"):
        scene_cube(parallel, RadianceConfig())
