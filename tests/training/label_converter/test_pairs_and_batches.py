"""Training pairs: labels and mattes that belong together, and batches that depend on the step alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.coarse_labels import CoarseLabelConfig
from training.data.scene_cache import SceneCache, save_scene
from training.data.scenes import Scene, SceneObject
from training.label_converter.batches import ConverterBatches, MixConfig, training_crop
from training.label_converter.pairs import (
    HardScenePairs,
    MattePairs,
    MixedPairs,
    Pair,
    ScenePairs,
    SegmentPairs,
    drawn_by_size,
    unchanged_pair,
)
from training.readers import Quarantine, open_dataset
from zim.errors import ConfigError, DataError
from zim.image_io import save_png


class Always:
    """The same pair each time."""

    def __init__(self, pair: Pair | None) -> None:
        self.pair = pair

    def draw(self, rng: np.random.Generator) -> Pair | None:
        return self.pair


@pytest.fixture
def scenes(tmp_path: Path, make_disc: Callable) -> SceneCache:
    """One scene: a soft disc that is fine, a hard one that is not; the image shows which is where."""
    fine, hard = (make_disc((128, 128), centre, 20) for centre in ((40, 60), (90, 60)))
    image = np.zeros((128, 128, 3), np.uint8)
    image[fine, 0], image[hard, 1] = 255, 255
    objects = (
        SceneObject(alpha=fine.astype(np.float32) * 0.8, kind="fur", fine=True),
        SceneObject(alpha=hard.astype(np.float32), kind="solid", fine=False),
    )
    save_scene(tmp_path / "v1_128" / "00000005.npz", Scene(image=image, objects=objects))
    return SceneCache(folder=tmp_path, size=128, first=5, count=1, photos=None)


def test_large_objects_are_drawn_more_often(make_disc: Callable) -> None:
    """Radii of 30 and 10: nine to one at a power of 2, one to one at 0."""
    large, small = (
        SceneObject(alpha=make_disc((128, 128), (64, 64), radius).astype(np.float32), kind="fur", fine=True)
        for radius in (30, 10)
    )
    for power, share in ((0.0, 0.5), (2.0, 0.9)):
        rng = np.random.default_rng(1)
        drawn = [drawn_by_size((large, small), rng, power) is large for _ in range(2000)]
        assert np.mean(drawn) == pytest.approx(share, abs=0.03)


def test_scenes_give_fine_mattes_and_hard_labels(scenes: SceneCache) -> None:
    rng = np.random.default_rng(0)
    exact = CoarseLabelConfig(
        downsample_probability=0, blur_probability=0, dilate_probability=0, erode_probability=0,
        open_probability=0, close_probability=0, threshold=(0.5, 0.5),
    )  # fmt: skip
    fine = ScenePairs(scenes=scenes, coarse=exact).draw(rng)
    hard = HardScenePairs(scenes=scenes).draw(rng)
    assert fine is not None and hard is not None
    assert fine.alpha.max() == pytest.approx(0.8, abs=0.01)
    np.testing.assert_array_equal(fine.label, fine.image[..., 0] > 0)
    np.testing.assert_array_equal(hard.label, hard.image[..., 1] > 0)
    np.testing.assert_array_equal(hard.alpha, hard.label.astype(np.float32))


def test_data_sets_give_pairs_and_quarantine_what_is_broken(tmp_path: Path, make_disc: Callable) -> None:
    label = make_disc((70, 70), (35, 35), 20)
    for name in ("a", "b"):
        save_png(tmp_path / "m" / "image" / f"{name}.png", np.zeros((70, 70, 3), np.uint8))
        save_png(tmp_path / "m" / "alpha" / f"{name}.png", label)
        save_png(tmp_path / "s" / "image" / f"{name}.png", np.zeros((70, 70, 3), np.uint8))
        save_png(tmp_path / "s" / "label" / f"{name}.png", label.astype(np.uint8) * 9)
    (tmp_path / "m" / "image" / "b.png").write_bytes(b"not a picture")
    quarantine, rng = Quarantine(), np.random.default_rng(0)
    mattes = MattePairs(reader=open_dataset("matte_folder", tmp_path / "m"), quarantine=quarantine)
    drawn = [mattes.draw(rng) for _ in range(20)]
    assert 0 < sum(pair is None for pair in drawn) < 20 and len(quarantine) == 1
    kept = next(pair for pair in drawn if pair is not None)
    np.testing.assert_array_equal(kept.alpha > 0.5, label)
    pair = SegmentPairs(reader=open_dataset("label_folder", tmp_path / "s"), quarantine=quarantine).draw(rng)
    assert pair is not None
    np.testing.assert_array_equal(pair.label, label)
    np.testing.assert_array_equal(pair.alpha, label.astype(np.float32))


def test_sources_mix_by_weight(make_disc: Callable) -> None:
    pair = unchanged_pair(np.zeros((50, 50, 3), np.uint8), make_disc((50, 50), (25, 25), 12))
    mixed = MixedPairs(sources=[Always(pair), Always(None)], weights=[3, 1])
    rng = np.random.default_rng(0)
    assert 0.65 < sum(mixed.draw(rng) is not None for _ in range(400)) / 400 < 0.85


def test_labels_of_no_useful_size_are_left_out(make_disc: Callable) -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    assert unchanged_pair(image, make_disc((50, 50), (25, 25), 4)) is None  # 49 pixels
    assert unchanged_pair(image, np.ones((50, 50), bool)) is None


def test_image_label_and_matte_stay_on_one_another(make_disc: Callable) -> None:
    """The image shows the label, brightest where it is: through crop, turn and mirror it still does."""
    label = make_disc((120, 160), (60, 50), 25) | make_disc((120, 160), (90, 80), 12)
    image = np.repeat(label[..., None], 3, 2).astype(np.uint8) * 200
    pair = Pair(image=image, label=label, alpha=label.astype(np.float32))
    rng = np.random.default_rng(0)
    for _ in range(40):
        crop = training_crop(pair, MixConfig(sga=None), 64, rng)
        assert crop is not None and crop.image.shape == (64, 64, 3) and crop.label.shape == (64, 64)
        assert np.corrcoef(crop.image.mean(2).ravel(), crop.label.ravel())[0, 1] > 0.9
        assert np.abs(crop.alpha - crop.label).mean() < 0.05


def _batches(pair: Pair, stl: Pair | None, mix: MixConfig, seed: int = 0) -> ConverterBatches:
    return ConverterBatches(Always(pair), Always(stl) if stl else None, mix, images=8, side=64, seed=seed)


def test_a_batch_depends_on_seed_and_step_alone(make_disc: Callable) -> None:
    label = make_disc((90, 90), (45, 45), 20)
    pair = Pair(image=np.full((90, 90, 3), 90, np.uint8), label=label, alpha=label.astype(np.float32) * 0.7)
    first, again = _batches(pair, None, MixConfig()), _batches(pair, None, MixConfig())
    again[3]
    for name in ("images", "labels", "alphas"):
        assert torch.equal(getattr(first[7], name), getattr(again[7], name))
        assert not torch.equal(getattr(first[7], name), getattr(first[8], name))
    assert first[7].scale == again[7].scale != _batches(pair, None, MixConfig(), seed=1)[7].scale


def test_the_stl_share_is_kept(make_disc: Callable) -> None:
    label = make_disc((90, 90), (45, 45), 20)
    image = np.zeros((90, 90, 3), np.uint8)
    fine = Pair(image=image, label=label, alpha=label.astype(np.float32) * 0.5)
    stl = unchanged_pair(image, label)
    mix = MixConfig(stl_share=0.3, sga=None)
    opaque = sum(int((_batches(fine, stl, mix)[step].alphas.amax((1, 2)) == 255).sum()) for step in range(30))
    assert 0.2 < opaque / 240 < 0.4
    none = _batches(fine, None, mix)[0]
    assert int(none.alphas.max()) == 128


def test_sources_without_a_useful_label_end_in_an_error() -> None:
    batches = ConverterBatches(Always(None), None, MixConfig(), images=1, side=64, seed=0)
    with pytest.raises(DataError, match="100 draws in a row from Always"):
        batches[0]
    with pytest.raises(ConfigError, match="stl_share"):
        MixConfig(stl_share=1.2)
