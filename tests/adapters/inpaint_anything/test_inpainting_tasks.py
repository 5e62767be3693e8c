"""Remove, fill and replace with engines that are known: what changes, what must not, and what is refused."""

import numpy as np
import pytest

from adapters.inpaint_anything.engines.opencv import OpenCvEngine
from adapters.inpaint_anything.engines.protocol import Geometry, InpaintingEngine, check_picture, padded
from adapters.inpaint_anything.inpainting import (
    PaintSettings,
    fill,
    fill_anything,
    remove,
    remove_anything,
    replace,
    replace_anything,
)
from adapters.inpaint_anything.masks import MaskSettings
from adapters.inpaint_anything.selection import Selection
from adapters.inpaint_anything.stand_ins import TrueBackgroundEngine
from adapters.oracle import OraclePredictor
from zim.errors import ConfigError, DataError, ImageError
from zim.prompts import Prompt


def test_with_the_true_background_nothing_is_left(disc) -> None:  # type: ignore[no-untyped-def]
    done = remove(disc.image, disc.alpha, TrueBackgroundEngine(disc.background))
    np.testing.assert_array_equal(done.image, disc.background)
    np.testing.assert_array_equal(done.image[~done.changed], disc.image[~done.changed])
    assert (done.mask >= (disc.alpha > 0.1)).all() and done.changed.sum() < 0.5 * done.changed.size


def test_only_the_mask_and_its_seam_change(disc, green) -> None:  # type: ignore[no-untyped-def]
    """The engine paints the whole crop green; outside core and seam every byte is the photo's."""
    settings = PaintSettings(mask=MaskSettings(dilation=2, feather=3))
    done = fill(disc.image, disc.alpha, green, "grass", settings=settings)
    np.testing.assert_array_equal(done.image[~done.changed], disc.image[~done.changed])
    assert (done.image[done.mask] == (0, 200, 0)).all()
    seam = done.changed & ~done.mask
    assert seam.any() and (done.image[seam] != (0, 200, 0)).any(1).all()
    _, mask, prompt, seed = green.asked[0]
    assert prompt == "grass" and seed == 0 and mask.sum() == done.changed.sum()


def test_a_ramp_goes_on_behind_the_object(disc) -> None:  # type: ignore[no-untyped-def]
    for method in ("telea", "navier-stokes"):
        done = remove(disc.image, disc.alpha, OpenCvEngine(method))
        error = np.abs(done.image.astype(int) - disc.background)
        assert error.mean() < 2.5 and error.max() < 45  # the object differs by up to 180


def test_far_objects_are_painted_one_by_one(green) -> None:  # type: ignore[no-untyped-def]
    image = np.random.default_rng(0).integers(0, 256, (300, 900, 3), np.uint8)
    alpha = np.zeros((300, 900), np.float32)
    alpha[100:140, 50:90] = alpha[60:100, 800:840] = 1
    done = remove(image, alpha, green)
    assert len(green.asked) == 2 and all(photo.shape[1] < 300 for photo, *_ in green.asked)
    assert (done.image[alpha == 1] == (0, 200, 0)).all()
    np.testing.assert_array_equal(done.image[~done.changed], image[~done.changed])
    green.asked.clear()
    fill(image, alpha, green, "one thing")
    assert len(green.asked) == 1


def test_the_engine_never_sees_the_object(disc, green) -> None:  # type: ignore[no-untyped-def]
    remove(disc.image, disc.alpha, green)
    photo, mask, *_ = green.asked[0]
    assert (np.ptp(photo[~mask].astype(int), axis=1) <= 6).all()  # the background is grey, the object red


def test_replace_keeps_the_object(disc, green) -> None:  # type: ignore[no-untyped-def]
    done = replace(disc.image, disc.alpha, engine=green, prompt="a meadow")
    sure = disc.alpha == 1
    np.testing.assert_array_equal(done.image[sure], disc.image[sure])
    assert (done.image[disc.alpha == 0] == (0, 200, 0)).all()
    np.testing.assert_array_equal(done.image[~done.changed], disc.image[~done.changed])
    _, mask, prompt, _ = green.asked[0]
    assert prompt == "a meadow" and mask[disc.alpha < 0.9].all() and not mask.all()
    given = replace(disc.image, disc.alpha, background=(0, 200, 0))
    np.testing.assert_array_equal(given.image, done.image)


def test_shadows_are_removed_on_request() -> None:
    rows, columns = np.mgrid[:240, :320].astype(np.float64)
    floor = np.repeat((120 + 0.1 * columns)[..., None], 3, 2)
    lost = 0.4 * np.clip(1.2 - np.hypot((columns - 190) / 50, (rows - 150) / 16), 0, 1)
    image = floor * (1 - lost[..., None])
    alpha = (np.hypot(columns - 150, rows - 110) < 40).astype(np.float32)
    image[alpha == 1] = (200, 20, 20)
    image, floor = image.astype(np.uint8), floor.astype(np.uint8)
    engine, dark = TrueBackgroundEngine(floor), (lost > 0.1) & (alpha == 0)
    plain = remove(image, alpha, engine).image
    aware = remove(image, alpha, engine, settings=PaintSettings(mask=MaskSettings(shadows=True))).image
    left = [np.abs(result.astype(int) - floor)[dark].mean() for result in (plain, aware)]
    assert left[1] < 0.1 * left[0]


def test_empty_and_everything(disc, green) -> None:  # type: ignore[no-untyped-def]
    nothing, everything = np.zeros_like(disc.alpha), np.ones_like(disc.alpha)
    cv = OpenCvEngine()
    for call in (
        lambda: remove(disc.image, nothing, cv),
        lambda: fill(disc.image, nothing, green, "x"),
        lambda: replace(disc.image, nothing, background=(0, 0, 0)),
    ):
        with pytest.raises(DataError, match="nothing is selected"):
            call()
    with pytest.raises(DataError, match="no background to continue"):
        remove(disc.image, everything, cv)
    assert (fill(disc.image, everything, green, "x").image == (0, 200, 0)).all()
    np.testing.assert_array_equal(replace(disc.image, everything, background=(0, 0, 0)).image, disc.image)
    np.testing.assert_array_equal(replace(disc.image, everything, engine=green, prompt="x").image, disc.image)


def test_wrong_engines_and_settings(disc, green) -> None:  # type: ignore[no-untyped-def]
    cv = OpenCvEngine()
    with pytest.raises(ConfigError, match="fill: expected an engine that paints what a text says.*got cv2"):
        fill(disc.image, disc.alpha, cv, "a ball")
    with pytest.raises(ConfigError, match="replace: expected an engine"):
        replace(disc.image, disc.alpha, engine=cv)
    with pytest.raises(ConfigError, match="either a background or an engine"):
        replace(disc.image, disc.alpha)
    with pytest.raises(ConfigError, match="seed: expected"):
        PaintSettings(seed=-1)
    with pytest.raises(ConfigError, match="context: expected"):
        PaintSettings(context=-0.1)
    with pytest.raises(ConfigError, match="method: expected one of"):
        OpenCvEngine("patches")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="expected the image's size"):
        remove(disc.image, disc.alpha[1:], cv)


@pytest.mark.parametrize("hw", [(1, 1), (3, 200), (20, 17)])
def test_tiny_photos(hw: tuple[int, int], green) -> None:  # type: ignore[no-untyped-def]
    image = np.full((*hw, 3), 90, np.uint8)
    alpha = np.zeros(hw, np.float32)
    alpha[hw[0] // 2, hw[1] // 2] = 1
    assert (fill(image, alpha, green, "x").image[alpha == 1] == (0, 200, 0)).all()
    if min(hw) > 10:
        assert np.abs(remove(image, alpha, OpenCvEngine()).image.astype(int) - image).max() <= 2


def test_a_photo_of_more_than_8000_pixels() -> None:
    ramp = np.repeat(np.linspace(20, 220, 8200)[None], 300, 0)[..., None].repeat(3, 2).astype(np.uint8)
    alpha = np.zeros(ramp.shape[:2], np.float32)
    alpha[100:200, 8000:8150] = 1
    image = ramp.copy()
    image[alpha == 1] = (255, 0, 0)
    done = remove(image, alpha, OpenCvEngine())
    assert done.image.shape == ramp.shape and np.abs(done.image.astype(int) - ramp).max() <= 20
    np.testing.assert_array_equal(done.image[:, :7000], image[:, :7000])


def test_a_predictor_is_asked_and_its_answer_removed(disc, green) -> None:  # type: ignore[no-untyped-def]
    predictor = OraclePredictor()
    predictor.expect(disc.alpha)
    selection = Selection(prompts=(Prompt(box=np.array([44, 18, 96, 70], np.float32)),))
    by_hand = remove(disc.image, np.clip(disc.alpha, 1e-6, 1 - 1e-6), OpenCvEngine()).image
    np.testing.assert_array_equal(remove_anything(disc.image, predictor, selection, OpenCvEngine()).image, by_hand)
    filled = fill_anything(disc.image, predictor, selection, green, "grass")
    assert (filled.image[disc.alpha > 0.5] == (0, 200, 0)).all()
    replaced = replace_anything(disc.image, predictor, selection, background=(1, 2, 3))
    assert (replaced.image[disc.alpha == 0] == (1, 2, 3)).all()


def test_padding_mirrors_and_engines_keep_the_protocol(green) -> None:  # type: ignore[no-untyped-def]
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    mask = np.zeros((5, 7), bool)
    mask[4, 6] = True
    wide, wide_mask = padded(image, mask, Geometry(multiple=8, least=16))
    assert wide.shape == (16, 16, 3)
    np.testing.assert_array_equal(wide[:5, :7], image)
    np.testing.assert_array_equal(wide[5, :7], image[4])
    assert wide_mask[5, 7]
    assert isinstance(OpenCvEngine(), InpaintingEngine) and isinstance(green, InpaintingEngine)
    with pytest.raises(ImageError, match="mask: expected bool"):
        check_picture(image, mask.astype(np.uint8))
    with pytest.raises(ImageError, match="image: expected"):
        check_picture(image[..., 0], mask)
