"""Synthetic volumes whose volumes are known from formulas; readers, exported slices, and the comparison."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.medical_volume import benchmark, export
from adapters.medical_volume.benchmark import compare, true_box
from adapters.medical_volume.datasets import labelled_volumes
from adapters.medical_volume.loading import load_volume
from adapters.medical_volume.prompts import resolve_prompts
from adapters.medical_volume.scenes import KINDS, volume_scene, volume_scenes
from adapters.medical_volume.slice_export import export_labels, export_mattes, separate_pieces
from adapters.medical_volume.slicing import view_of
from adapters.medical_volume.windowing import percentile_window
from zim import load_predictor
from zim.errors import ConfigError, DataError


def test_scenes_depend_on_their_seed_only() -> None:
    for kind in KINDS:
        one, again, other = (volume_scene(kind, seed=seed, shape=(40, 40, 20)) for seed in (3, 3, 4))
        assert np.array_equal(one.volume.voxels, again.volume.voxels)
        assert not np.array_equal(one.volume.voxels, other.volume.voxels)
        assert one.volume.voxels.min() > 0 and one.volume.voxels.dtype == np.float32
        for alpha in one.alphas.values():
            assert alpha.min() == 0 and 0.5 < alpha.max() <= 1 and ((alpha > 0.02) & (alpha < 0.98)).any()
    kinds = [scene.kind for scene in volume_scenes(4, seed=1)]
    assert kinds == list(KINDS)
    with pytest.raises(ConfigError, match="kind: expected one of vessels"):
        volume_scene("bones", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 16 voxels"):
        volume_scene("shell", seed=0, shape=(8, 40, 40))


def test_alpha_is_the_share_of_the_voxel() -> None:
    """The same object on two grids has the same volume, and a coarse voxel is the mean of the fine ones in it."""
    fine = volume_scene("organs", seed=5, shape=(64, 64, 48), spacing=(1.0, 1.0, 1.0)).alphas["large"]
    coarse = volume_scene("organs", seed=5, shape=(32, 32, 24), spacing=(2.0, 2.0, 2.0)).alphas["large"]
    merged = fine.reshape(32, 2, 32, 2, 24, 2).mean((1, 3, 5))
    assert np.abs(merged - coarse).max() < 0.04 and abs(merged - coarse).mean() < 1e-3
    assert fine.sum() == pytest.approx(8 * coarse.sum(), rel=2e-3)


def test_a_wall_has_the_volume_between_two_ellipsoids() -> None:
    """Fine sampling of a scene's own radii: outer minus inner ellipsoid, drawn again from the same generator."""
    seed, shape, spacing = 2, (60, 60, 40), (1.0, 1.0, 1.5)
    rng = np.random.default_rng([seed, KINDS.index("shell")])
    size = np.multiply(shape, spacing)
    rng.uniform(0.45, 0.55, 3)
    radii = size * rng.uniform(0.27, 0.4, 3)
    rng.normal(0, 0.2, (3, 3))
    wall = rng.uniform(1.0, 2.0)
    volume = 4 / 3 * np.pi * (np.prod(radii) - np.prod(radii - wall))
    alpha = volume_scene("shell", seed=seed, shape=shape, spacing=spacing).alphas["shell"]
    assert alpha.sum() * np.prod(spacing) == pytest.approx(volume, rel=0.01)


def test_bodies_are_large_solid_and_the_same_on_every_grid() -> None:
    """As for organs; no voxel belongs to two bodies, and what lies deep in one is wholly its own."""
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(3):
        fine = volume_scene("bodies", seed=seed, shape=(96, 96, 24), spacing=(1.0, 1.0, 2.0))
        coarse = volume_scene("bodies", seed=seed, shape=(48, 48, 24), spacing=(2.0, 2.0, 2.0)).alphas
        assert 2 <= len(fine.alphas) <= 4 and list(fine.alphas) == list(coarse)
        assert sum(fine.alphas.values()).max() <= 1 + 1e-5
        for name, alpha in fine.alphas.items():
            assert alpha.sum() == pytest.approx(4 * coarse[name].sum(), rel=5e-3)
        largest = max(fine.alphas.values(), key=np.sum)
        deep = ndimage.binary_erosion(largest > 0.5, iterations=3)
        assert deep.sum() > 3000 and largest[deep].mean() > 0.999


def test_vessels_hang_together() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(3):
        alpha = volume_scene("vessels", seed=seed).alphas["vessels"]
        pieces, _ = ndimage.label(alpha > 0, structure=np.ones((3, 3, 3)))
        assert np.bincount(pieces[alpha > 0]).max() > 0.9 * (alpha > 0).sum()  # a branch may leave and come back
        assert 300 < alpha.sum() < 0.1 * alpha.size


@pytest.fixture
def data_set(tmp_path: Path, nifti_file: Callable[..., Path]) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for seed in range(2):
        scene = volume_scene("organs", seed=seed, shape=(40, 40, 16))
        ids = sum((number * (alpha > 0.5)) for number, alpha in enumerate(scene.alphas.values(), start=1))
        scene.volume.save(tmp_path / "set" / "images" / f"case{seed}_0000.nii.gz", scene.volume.voxels)
        scene.volume.save(tmp_path / "set" / "labels" / f"case{seed}.nii.gz", np.asarray(ids, np.uint8))
    return tmp_path / "set"


def test_readers(data_set: Path) -> None:
    found = labelled_volumes(data_set)
    assert [one.name for one in found] == ["case0", "case1"]
    volume, truths = found[0].load()
    assert list(truths) == ["label1", "label2", "label3"] and truths["label1"].shape == volume.voxels.shape
    _, whole = found[0].load(whole=True)
    assert np.array_equal(whole["whole"], np.clip(sum(truths.values()), 0, 1))
    described = {
        "labels": {"0": "background", "1": "liver"},
        "training": [{"image": "./images/case1_0000.nii.gz", "label": "./labels/case1.nii.gz"}],
    }
    (data_set / "dataset.json").write_text(json.dumps(described))
    (one,) = labelled_volumes(data_set)
    assert list(one.load()[1]) == ["liver", "label2", "label3"]
    soft = whole["whole"] * 0.7 + 0.1
    volume.save(data_set / "labels" / "case1.nii.gz", (soft * np.linspace(0.5, 1, soft.shape[0])[:, None, None]))
    assert list(one.load()[1]) == ["soft"]
    described["training"].append({"image": "images/none.nii.gz", "label": "labels/none.nii.gz"})  # type: ignore[attr-defined]
    (data_set / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match="which is not there"):
        labelled_volumes(data_set)
    (data_set / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match="Decathlon's description"):
        labelled_volumes(data_set)
    (data_set / "dataset.json").unlink()
    (data_set / "images" / "case0_0000.nii.gz").unlink()
    with pytest.raises(DataError, match="no image of the same name"):
        labelled_volumes(data_set)
    with pytest.raises(DataError, match="found neither"):
        labelled_volumes(data_set / "images")


def test_exported_slices_are_what_the_trainer_reads(tmp_path: Path) -> None:
    scene = volume_scene("organs", seed=0, shape=(40, 40, 16))
    window = percentile_window(scene.volume.voxels)
    count = export_mattes(scene.volume, scene.alphas, tmp_path / "mattes", name="a", window=window, axes=(2,), every=2)
    images, alphas = (sorted((tmp_path / "mattes" / kind).iterdir()) for kind in ("image", "alpha"))
    assert [path.name for path in images] == [path.name for path in alphas] and len(images) == count > 4
    view = view_of(scene.volume.geometry, 2)
    for path in alphas:
        _, axis, number, label = path.stem.split("_")
        alpha = np.asarray(Image.open(path)) / 255
        plane = view.plane(scene.alphas[label], int(number))
        assert axis == "axial" and alpha.shape == (256, 256)
        assert alpha.mean() == pytest.approx(plane.mean(), abs=0.003)
    ids = sum((number * (alpha > 0.5)) for number, alpha in enumerate(scene.alphas.values(), start=1))
    written = export_labels(scene.volume, np.asarray(ids), tmp_path / "labels", name="a", window=window)
    labels = sorted((tmp_path / "labels" / "label").iterdir())
    assert len(labels) == written and set(np.unique(np.asarray(Image.open(labels[0])))) <= {0, 1, 2, 3}
    assert json.loads((tmp_path / "labels" / "regions.json").read_text())["single"] == 1.0


def test_the_trainers_own_readers_take_them(tmp_path: Path) -> None:
    from training.data.mattes import MatteFolders
    from training.data.segments import SegmentPool

    scene = volume_scene("organs", seed=0, shape=(40, 40, 16))
    window = percentile_window(scene.volume.voxels)
    count = export_mattes(scene.volume, scene.alphas, tmp_path / "m", name="a", window=window, every=4)
    assert len(MatteFolders([tmp_path / "m"])) == count
    ids = np.asarray(scene.alphas["large"] > 0.5, np.uint16)
    assert export_labels(scene.volume, ids, tmp_path / "l", name="a", window=window, every=4) == len(
        SegmentPool(tmp_path / "l")
    )


def test_true_boxes_are_tight(data_set: Path) -> None:
    volume, truths = labelled_volumes(data_set)[0].load()
    case = benchmark.Case("set", "case0", volume, truths["label1"], ())
    view = view_of(volume.geometry, 2)
    prompts = resolve_prompts([true_box(case, view, whole=True)], volume.geometry, view)
    shown = np.flatnonzero((truths["label1"] > 0.5).any((0, 1)))
    assert (prompts.first, prompts.last) == (shown[0], shown[-1]) and prompts.rough
    (middle,) = resolve_prompts([true_box(case, view, whole=False)], volume.geometry, view).planes
    assert middle == int(np.argmax((truths["label1"] > 0.5).sum((0, 1))))


def test_the_comparison_asks_everyone_the_same(
    data_set: Path, grey_predictor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = type(grey_predictor)()
    other.reports_binary = True
    monkeypatch.setattr(benchmark, "PROTOCOL_VOLUMES", 1)
    comparison = compare({"grey": grey_predictor, "twin": other}, data=data_set, limit=2)
    assert comparison.cases()[:3] == ["set: box3d", "set: box3d_3axes", "set: middle"]
    assert len(comparison.cases()) == 9
    assert comparison.count("set: box3d", "grey") == 2 and comparison.count("set: point", "grey") == 1
    for case in comparison.cases():
        assert comparison.rows(case) == ["grey", "twin (binary)", "twin (sigmoid)"]
        assert comparison.mean(case, "grey", "mae") == comparison.mean(case, "twin (sigmoid)", "mae")
        assert comparison.mean(case, "grey", "dice") == comparison.mean(case, "twin (binary)", "dice")
    assert not comparison.failures and len(comparison.tiles) == 2
    assert comparison.values("set: middle", "grey", "beyond") and not comparison.values("set: point", "grey", "beyond")
    assert sum("at most" in note and note.startswith("set: middle, grey") for note in comparison.notes) == 1
    assert load_volume(data_set / "labels" / "case0.nii.gz").voxels.max() == 3


def test_the_generated_cases() -> None:
    """Each kind with its modes, and something to ask for on some slice."""
    cases = list(benchmark._synthetic(1))
    modes = {case.data: case.modes for case in cases}
    asked = ("boxes", "medsam_box")
    assert modes == {"vessels": asked, "shell": asked, "organ": ("middle", "box3d"), "body": asked}
    organs = [case.sample for case in cases if case.data == "organ"]
    assert organs == ["organ 0 large", "organ 0 middle", "organ 0 small"]
    others = [case.sample for case in benchmark._synthetic(2, 7) if case.data == "vessels"]
    assert others == ["vessels 7", "vessels 8"]
    assert all((case.truth > 0.5).any() and case.truth.shape == case.volume.voxels.shape for case in cases)


PINNED = [
    ("vessels: boxes", "nsd_1mm", 0.005),
    ("vessels: medsam_box", "nsd_1mm", -0.037),
    ("shell: medsam_box", "nsd_1mm", -0.054),
    ("organ: middle", "dice", 0.008),
    ("organ: box3d", "nsd_1mm", 0.009),
    ("body: boxes", "nsd_1mm", 0.022),
]
"""zim_tiny minus binary sam_tiny on the scenes of seed 0; neither has seen a medical picture."""


@pytest.mark.slow
def test_zim_against_sam_on_synthetic_volumes() -> None:
    if find_spec("segment_anything") is None:
        pytest.skip("segment_anything is not installed")
    predictors = {name: load_predictor(name, device="cpu") for name in ("zim_tiny", "sam_tiny")}
    comparison = compare(predictors, limit=1)
    for case, key, gain in PINNED:
        difference = comparison.mean(case, "zim_tiny", key) - comparison.mean(case, "sam_tiny (binary)", key)
        assert difference == pytest.approx(gain, abs=0.02), f"{case}, {key}: {difference:.4f}"


def test_export_from_the_command_line(data_set: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    words = [str(data_set), "-o", str(out), "--leave-out", "case1", "--every", "4"]
    assert export.main([*words, "--scenes", "1", "--scenes-every", "12"]) == 0
    names = [path.name for path in (out / "set" / "alpha").iterdir()]
    assert names and all(name.startswith("case0_") for name in names)
    assert {name.split("_")[-1] for name in names} == {"whole.png", "label1.png", "label2.png", "label3.png"}
    assert list((out / "synthetic" / "image").glob("vessels_000_*"))
    assert export.main([*words[:3], "--leave-out", "case9"]) == 1
    assert "no volume 'case9'" in capsys.readouterr().err
    assert export.main(["-o", str(out)]) == 1
    capsys.readouterr()
    assert export.main([*words[:3], "--min-voxels", "nan"]) == 1
    assert "--min-voxels: expected a number of at least 1, got nan" in capsys.readouterr().err


def test_slices_with_little_of_an_object_are_written_where_asked_for(tmp_path: Path) -> None:
    scene = volume_scene("organs", seed=0, shape=(40, 40, 16))
    alpha = np.zeros(scene.volume.voxels.shape, np.float32)
    alpha[20:22, 20, 3], alpha[20:28, 20:28, 6], alpha[:, :, 9] = 1, 1, 0.3  # two voxels, many, and a haze
    window = percentile_window(scene.volume.voxels)

    def written(least: float) -> list[int]:
        out = tmp_path / f"{least:g}"
        count = export_mattes(scene.volume, {"a": alpha}, out, name="v", window=window, axes=(2,), min_voxels=least)
        found = sorted(int(path.stem.split("_")[2]) for path in (out / "alpha").iterdir())
        labels = (alpha > 0.5).astype(np.uint8)
        assert len(found) == count
        assert count == export_labels(
            scene.volume, labels, out / "labels", name="v", window=window, axes=(2,), min_voxels=least
        )
        return found

    assert written(6) == [6] and written(2) == [3, 6]


def test_pieces_of_a_slice_are_written_alone_too(tmp_path: Path) -> None:
    """Softer voxels go with the nearest piece, so that the pieces add up to the slice."""
    plane = np.zeros((20, 30), np.float32)
    plane[2:6, 2:6], plane[6, 2:6] = 1, 0.4
    plane[10:18, 15:25], plane[9, 15:25] = 1, 0.3
    large, small = separate_pieces(plane, 3)
    assert np.array_equal(large + small, plane)
    assert large[:8].sum() == 0 and large.sum() == pytest.approx(83.0)
    assert small[8:].sum() == 0 and small.sum() == pytest.approx(17.6)
    assert separate_pieces(large, 3) == []
    assert separate_pieces(plane, 0) == []
    assert len(separate_pieces(plane, 1)) == 1
