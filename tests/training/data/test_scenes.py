"""Exactness, determinism and make-up of the procedural scenes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data import scenes
from training.data.scene_layers import Blur, Layer, LayerPart, Painter, lay_over, paint
from training.data.scenes import PhotoPool, SceneConfig, generate_scene
from training.data.shapes.catalog import FINE_MAKERS, HARD_MAKERS, Maker
from training.data.shapes.marks import Fill, Placement, Roi, Shape, Strokes, bounds, rasterise
from training.data.shapes.outlines import circle
from zim.errors import DataError

IDENTITY = Placement(np.eye(2), np.zeros(2))
PLAIN = Painter(pool=None, photo_probability=0.0, light=np.array([1.0, 0.0]), relief=0.5)
EVERYTHING = SceneConfig(min_visible_area=0.0)


def hand_made_layer(colour: float, coverage: float, roi: Roi) -> Layer:
    plane = np.full((roi.height, roi.width), coverage, np.float32)
    half = LayerPart(kind="half", fine=False, coverage=plane * 0.5)
    paint_ = np.full((roi.height, roi.width, 3), colour * coverage, np.float32)
    return Layer(kind="box", fine=False, roi=roi, colour=paint_, coverage=plane, parts=[half])


def test_over_compositing_by_hand() -> None:
    image = np.full((4, 6, 3), 100.0, np.float32)
    first = lay_over(image, hand_made_layer(200, 0.5, Roi(0, 0, 4, 4)), [])
    second = lay_over(image, hand_made_layer(0, 0.25, Roi(2, 1, 3, 2)), first)
    assert image[0, 0] == pytest.approx(150)  # 100 * 0.5 + 200 * 0.5
    assert image[1, 2] == pytest.approx(112.5)  # 150 * 0.75
    assert image[1, 4] == pytest.approx(75)  # 100 * 0.75
    assert image[3, 5] == pytest.approx(100)
    whole, part = first
    assert whole[0, 0] == 0.5 and whole[1, 2] == pytest.approx(0.375) and whole[1, 4] == 0
    assert part[0, 0] == 0.25 and part[1, 2] == pytest.approx(0.1875)
    assert second[0][1, 4] == 0.25 and second[0][0, 0] == 0


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_alphas_and_background_share_each_pixel(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same layers over black and over white differ by exactly the background's weight."""
    config = replace(EVERYTHING, shadow_probability=0.0, camouflage_probability=0.0)
    monkeypatch.setattr(scenes, "_develop", lambda rng, image, objects, config: (image.copy(), objects))
    pictures = []
    for level in (0.0, 255.0):
        ground = np.full((96, 96, 3), level, np.float32)
        monkeypatch.setattr(scenes, "background", lambda rng, size, ground=ground, **kw: ground.copy())
        pictures.append(generate_scene(seed, size=96, config=config))
    weight = (pictures[1].image - pictures[0].image) / 255
    whole = [item.alpha for item in pictures[0].objects if item.parent is None]
    assert len(whole) >= 1
    np.testing.assert_allclose(np.sum(whole, axis=0)[..., None] + weight, 1.0, atol=2e-4)


@pytest.mark.parametrize("seed", range(8))
def test_objects_are_in_range_and_parts_inside_their_parent(seed: int) -> None:
    scene = generate_scene(seed, size=96)
    assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
    assert scene.image.flags.c_contiguous
    total = np.zeros((96, 96))
    for item in scene.objects:
        assert item.alpha.dtype == np.float32 and item.alpha.shape == (96, 96)
        assert item.alpha.min() >= -1e-6 and item.alpha.max() <= 1 + 1e-5
        assert item.alpha.mean() >= SceneConfig().min_visible_area
        if item.parent is None:
            total += item.alpha
        else:
            assert scene.objects[item.parent].parent is None
            assert (item.alpha <= scene.objects[item.parent].alpha + 1e-4).all()
    assert total.max() <= 1 + 1e-4


def test_same_seed_same_pixels_and_other_seeds_differ() -> None:
    first, again = generate_scene(7, size=96), generate_scene(7, size=96)
    np.testing.assert_array_equal(first.image, again.image)
    assert [item.kind for item in first.objects] == [item.kind for item in again.objects]
    for one, other in zip(first.objects, again.objects, strict=True):
        np.testing.assert_array_equal(one.alpha, other.alpha)
    pictures = [generate_scene(seed, size=64).image.astype(float) for seed in range(6)]
    differences = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(differences) > 5


def test_too_small_a_scene_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size: expected at least 32 pixels, got 8"):
        generate_scene(0, size=8)


def test_disc_covers_its_area() -> None:
    for radius in (10.0, 30.0):
        disc = rasterise(
            [Fill(contours=(circle((50.3, 49.6), radius, count=300),))], IDENTITY, Roi(0, 0, 100, 100)
        )
        # Antialiasing widens an outline by a fraction of a pixel.
        assert np.pi * radius**2 <= disc.sum() <= np.pi * (radius + 0.5) ** 2
        y, x = (disc * np.mgrid[0:100, 0:100]).sum(axis=(1, 2)) / disc.sum() + 0.5
        assert (x, y) == pytest.approx((50.3, 49.6), abs=0.1)


@pytest.mark.parametrize("width", [0.3, 0.6, 1.0, 1.5, 3.0, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
def test_line_covers_length_times_width(width: float, angle: float) -> None:
    """Hair thinner than a pixel is translucent, not a pixel wide."""
    end = np.array([20.0, 20.0]) + 150 * np.array([np.cos(angle), np.sin(angle)])
    line = Strokes(lines=np.array([[[20.0, 20.0], end]]), width=width)
    drawn = rasterise([line], IDENTITY, Roi(0, 0, 200, 200))
    assert drawn.sum() / (150 * width) == pytest.approx(1.0, abs=0.25)
    assert width >= 1 or drawn.max() < 0.8


def test_hole_and_roi_offset() -> None:
    square = np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])
    marks = [Fill(contours=(square,)), Fill(contours=(square * 0.2 + 16,), level=0.0)]
    full = rasterise(marks, IDENTITY, Roi(0, 0, 40, 40))
    assert full[20, 20] == 0 and full[13, 13] == 1
    window = rasterise(marks, IDENTITY, Roi(8, 6, 20, 20))
    np.testing.assert_allclose(window, full[6:26, 8:28], atol=1.5 / 255)


def test_overhanging_part_grows_its_parent_and_hides_parts_below() -> None:
    def square(x: float, y: float) -> Fill:
        return Fill(contours=(np.array([[x, y], [x + 20, y], [x + 20, y + 20], [x, y + 20]]),))

    shirt = Shape(kind="shirt", fine=False, marks=(square(10, 10),))
    hair = Shape(kind="hair", fine=True, marks=(square(20, 20),), clipped=False)
    body = Shape(kind="body", fine=True, marks=(square(10, 10),), parts=(shirt, hair))
    layer = paint(np.random.default_rng(0), body, IDENTITY, 64, PLAIN, Blur())
    assert layer is not None
    alphas = lay_over(np.zeros((64, 64, 3), np.float32), layer, [])
    whole, under, over = (alpha > 0.5 for alpha in alphas)
    assert whole[15, 15] and whole[35, 35] and not whole[35, 15]
    assert over[25, 25] and over[35, 35] and not over[15, 15]
    assert under[15, 15] and not under[25, 25]


@pytest.mark.parametrize("blur", [Blur(sigma=2.0), Blur(length=9.0, angle=0.7)])
def test_blur_keeps_the_amount_of_coverage_and_colour(blur: Blur) -> None:
    plane = np.zeros((80, 80), np.float32)
    cv2.circle(plane, (40, 40), 9, 1.0, -1)
    blurred = blur.apply(plane)
    assert blurred.sum() == pytest.approx(plane.sum(), rel=1e-3)
    assert ((blurred > 0.01) & (blurred < 0.99)).sum() > ((plane > 0.01) & (plane < 0.99)).sum() + 50
    outside = cv2.circle(np.ones((80, 80), np.uint8), (40, 40), 10 + blur.margin, 0, -1)
    assert blurred[outside > 0].max() == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize(
    "maker", [maker for maker, _ in FINE_MAKERS + HARD_MAKERS], ids=lambda maker: maker.__name__
)
def test_every_maker_draws_something_and_says_whether_it_is_fine(maker: Maker) -> None:
    fine = maker in {made for made, _ in FINE_MAKERS}
    placement = Placement(np.eye(2) * 44, np.full(2, 48.0))
    for seed in range(3):
        shape = maker(np.random.default_rng(seed), 44.0)
        assert shape.fine is fine
        roi = bounds(shape, placement, 96, 0)
        assert roi is not None
        coverage = rasterise(shape.marks, placement, Roi(0, 0, 96, 96))
        assert 0.01 < coverage.mean() < 0.95
        inside = np.zeros_like(coverage)
        inside[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] = 1
        assert (coverage * (1 - inside)).max() == 0


def write_photo(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((60, 90, 3), colour[::-1], np.uint8))


def test_photo_pool_finds_photographs_and_skips_labels(tmp_path: Path) -> None:
    write_photo(tmp_path / "a" / "one.png", (250, 0, 0))
    write_photo(tmp_path / "two.jpg", (250, 0, 0))
    for folder in ("label", "labels", "alpha", "groundTruth", "depth"):
        write_photo(tmp_path / "a" / folder / "one.png", (0, 0, 250))
    (tmp_path / "notes.txt").write_text("nothing")
    pool = PhotoPool(tmp_path, max_side=45)
    assert sorted(path.name for path in pool.paths) == ["one.png", "two.jpg"]
    assert pool.load(0).shape == (30, 45, 3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        crop = pool.sample_crop(rng, 17, 23)
        assert crop.shape == (17, 23, 3) and crop.dtype == np.uint8
        np.testing.assert_allclose(crop.reshape(-1, 3).mean(axis=0), (250, 0, 0), atol=6)


def test_photo_pool_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"photos: expected a .*\.jpg.* file under .*found none"):
        PhotoPool(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no jpeg")
    with pytest.raises(DataError, match=r"could not decode .*broken\.jpg"):
        PhotoPool(tmp_path).load(0)


def test_photographs_reach_the_scene(tmp_path: Path) -> None:
    write_photo(tmp_path / "green.png", (10, 200, 10))
    config = SceneConfig(
        objects=(1, 1), scale=(0.08, 0.1), photo_background_probability=1.0, noise_probability=0.0
    )
    image = generate_scene(3, size=64, photos=PhotoPool(tmp_path), config=config).image.astype(float)
    green = np.median(image, axis=(0, 1))
    assert green[1] > 3 * green[0] and green[1] > 3 * green[2]
