"""ResizeLongestSide against segment_anything's class, and against filters and arithmetic of others."""

from typing import Any

import numpy as np
import pytest
import torch

from zim.compat.segment_anything import import_segment_anything
from zim.transforms import ResizeLongestSide

SIZES = [(64, 64), (37, 61), (61, 37), (481, 321), (15, 1023), (1025, 11), (100, 33), (5, 5), (127, 129)]


def sam_transform(target: int) -> Any:
    return import_segment_anything().utils.transforms.ResizeLongestSide(target)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("target", [64, 257])
@pytest.mark.parametrize("size", SIZES)
def test_images_are_byte_identical_to_sams(size: tuple[int, int], target: int) -> None:
    image = noise(*size)
    before = image.copy()
    expected = sam_transform(target).apply_image(image)
    received = ResizeLongestSide(target).apply_image(image)
    assert received.dtype == np.uint8
    assert np.array_equal(received, expected)
    assert np.array_equal(image, before)


def test_full_size_and_other_channel_counts_are_byte_identical_to_sams() -> None:
    ours, theirs = ResizeLongestSide(1024), sam_transform(1024)
    for image in (
        noise(683, 511),
        noise(50, 31, 1),
        noise(50, 31, 4),
        noise(50, 31)[..., 0],
        noise(60, 40)[::2, ::-1],
    ):
        assert np.array_equal(ours.apply_image(image), theirs.apply_image(image))


@pytest.mark.parametrize("size", [(300, 200), (40, 64)])
def test_images_agree_with_torchs_antialiased_filter(size: tuple[int, int]) -> None:
    image = noise(*size)
    transform = ResizeLongestSide(96)
    received = transform.apply_image(image).astype(float)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = transform.apply_image_torch(batch)[0].permute(1, 2, 0).numpy()
    assert expected.shape == received.shape
    assert np.abs(expected - received).max() <= 1.01  # Pillow rounds after each of its two passes


def test_torch_images_keep_batch_and_linear_ramps() -> None:
    ramp = torch.linspace(0, 1, 80).expand(2, 3, 40, 80).contiguous()
    resized = ResizeLongestSide(160).apply_image_torch(ramp)
    assert resized.shape == (2, 3, 80, 160)
    centres = (torch.arange(160) + 0.5) / 2 - 0.5  # half-pixel centres
    assert torch.allclose(resized[..., 2:-2], (centres / 79).expand(2, 3, 80, 160)[..., 2:-2], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_shapes_coords_and_boxes_equal_sams(size: tuple[int, int]) -> None:
    ours, theirs = ResizeLongestSide(1024), sam_transform(1024)
    rng = np.random.default_rng(0)
    points = rng.uniform(0, max(size), (4, 5, 2))
    boxes = rng.uniform(0, max(size), (6, 4))
    assert ours.get_preprocess_shape(*size, 1024) == theirs.get_preprocess_shape(*size, 1024)
    assert np.array_equal(ours.apply_coords(points, size), theirs.apply_coords(points, size))
    assert np.array_equal(ours.apply_boxes(boxes, size), theirs.apply_boxes(boxes, size))
    for name, values in (("apply_coords_torch", points), ("apply_boxes_torch", boxes)):
        for dtype in (torch.float32, torch.float64, torch.int64):
            tensor = torch.from_numpy(values).to(dtype)
            received = getattr(ours, name)(tensor, size)
            assert torch.equal(received, getattr(theirs, name)(tensor, size))
            assert received.dtype == torch.float32


def test_every_shape_up_to_400_is_sams_unless_a_side_vanishes() -> None:
    theirs = sam_transform(64)
    for height in range(1, 400, 7):
        for width in range(1, 400, 5):
            expected = tuple(max(1, side) for side in theirs.get_preprocess_shape(height, width, 64))
            assert ResizeLongestSide.get_preprocess_shape(height, width, 64) == expected


def test_corners_go_to_corners() -> None:
    transform = ResizeLongestSide(100)
    assert transform.apply_coords(np.array([[0, 0], [50, 200]]), (200, 50)).tolist() == [[0, 0], [25, 100]]
    assert transform.apply_boxes(np.array([0, 0, 50, 200]), (200, 50)).tolist() == [[0, 0, 25, 100]]
    assert transform.apply_boxes_torch(torch.tensor([0, 0, 50, 200]), (200, 50)).tolist() == [[0, 0, 25, 100]]


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 10_000)])
def test_a_thin_image_keeps_one_pixel(size: tuple[int, int]) -> None:
    transform = ResizeLongestSide(1024)
    image = np.broadcast_to(np.array([10, 120, 250], dtype=np.uint8), (*size, 3))
    resized = transform.apply_image(image)
    assert resized.shape == ((1, 1024, 3) if size[0] == 1 else (1024, 1, 3))
    assert (resized == [10, 120, 250]).all()
    end = transform.apply_coords(np.array([size[1], size[0]]), size)
    assert end.tolist() == [resized.shape[1], resized.shape[0]]


def test_inputs_are_left_alone() -> None:
    transform = ResizeLongestSide(10)
    points, boxes = np.ones((2, 2)), np.ones((2, 4))
    transform.apply_coords(points, (5, 4))
    transform.apply_boxes(boxes, (5, 4))
    assert (points == 1).all()
    assert (boxes == 1).all()
    points_torch, boxes_torch = torch.ones(2, 2), torch.ones(2, 4)
    transform.apply_coords_torch(points_torch, (5, 4))
    transform.apply_boxes_torch(boxes_torch, (5, 4))
    assert (points_torch == 1).all()
    assert (boxes_torch == 1).all()
