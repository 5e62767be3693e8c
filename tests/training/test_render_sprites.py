"""Sprite libraries: the same bytes for a seed, whole or interrupted; the scene generator is the oracle."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from training.data.batches import BatchConfig, Shares
from training.data.device_scenes import DeviceBatchSource
from training.data.scenes import generate_scene
from training.data.segments import SegmentPool
from training.data.sprites import FAMILIES, load_library
from training.data.sprites_render import RIM, cut_sprite
from training.render_sprites import LibraryConfig, Material, main, render_library
from zim.errors import ConfigError, DataError

ARGUMENTS = ["--count", "5", "--size", "64", "--photo-side", "64", "--backgrounds", "2", "--shard", "2", "--seed", "3"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of a red disc on grey, and their labels, in the layout of a set with whole objects."""
    root = tmp_path_factory.mktemp("photos") / "davis_train"
    rows, columns = np.mgrid[:80, :110]
    for number in range(2):
        label = np.hypot(columns - 50 - 5 * number, rows - 40) < 26
        image = np.where(label[..., None], (200, 20, 20), (128, 128, 128)).astype(np.uint8)
        for part, array in (("image", image), ("label", label.astype(np.uint8))):
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / part / f"{number}.png")
    (root / "NOTICE.txt").write_text("made by a test", encoding="utf-8")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def rendered(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("library")
    data = ["--segments", str(photos), "--photos", str(photos), "--labelled", "2", "--data-license", "a test's"]
    assert main(["--out", str(out), *ARGUMENTS, "--cutouts", "1", *data]) == 0
    return out


def test_manifest_says_where_it_comes_from(rendered: Path, photos: Path) -> None:
    manifest = json.loads((rendered / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["license"] == "a test's" and manifest["complete"] and manifest["count"] == 5
    assert [item["name"] for item in manifest["sources"]] == ["davis_train"]
    assert manifest["sources"][0]["files"] == 5 and "made by a test" in str(manifest["sources"][0]["notices"])
    assert str(photos.parent) not in (rendered / "manifest.json").read_text(encoding="utf-8")
    shards = [path for path in rendered.iterdir() if path.suffix == ".npz"]
    assert manifest["bytes"] == sum(path.stat().st_size for path in shards) and len(shards) == 5


def test_library_holds_what_was_asked_for(rendered: Path) -> None:
    library = load_library(rendered)
    assert library.atlas.shape == (5, 5, 64, 96) and library.photos.shape == (4, 3, 64, 64)
    assert (library.family == FAMILIES.index("photo")).sum() == 1 and library.owner.tolist() == [2, 3]
    assert bool((library.atlas[:, 3].flatten(1).amax(1) > 200).all())
    assert bool((library.atlas[:, :3].amax(1) <= library.atlas[:, 3].float() + 1).all())  # premultiplied
    assert bool((library.atlas[:, 4] <= library.atlas[:, 3]).all())  # a part is no more than the whole


def test_interrupted_library_becomes_the_same(rendered: Path, photos: Path, tmp_path: Path) -> None:
    """With some shards missing and the manifest unfinished, the command goes on to the same bytes."""
    data = ["--segments", str(photos), "--photos", str(photos), "--labelled", "2", "--data-license", "a test's"]
    command = ["--out", str(tmp_path / "again"), *ARGUMENTS, "--cutouts", "1", *data]
    before = contents(rendered)
    (tmp_path / "again").mkdir()
    manifest = {k: v for k, v in json.loads(before["manifest.json"]).items() if not k.startswith("bytes")}
    (tmp_path / "again" / "manifest.json").write_text(json.dumps({**manifest, "complete": False}), encoding="utf-8")
    for name in ("sprites_0000.npz", "photos_0001.npz"):
        (tmp_path / "again" / name).write_bytes(before[name])
    assert main(command) == 0
    assert contents(tmp_path / "again") == before


def test_what_makes_no_sense_is_refused(
    rendered: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), *ARGUMENTS, "--photos", str(photos)]) == 1
    assert "--data-license: expected" in capsys.readouterr().err
    assert main(["--out", str(rendered), *ARGUMENTS]) == 1
    assert "library of other arguments" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="size: expected a multiple of 16"):
        LibraryConfig(count=3, size=100)
    with pytest.raises(ConfigError, match="expected 0 without --segments"):
        config = LibraryConfig(count=3, labelled=2)
        render_library(tmp_path / "x", config, Material(), origin={"license": "", "sources": []})
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "sprites_0000.npz").write_bytes(b"")
    with pytest.raises(DataError, match="shards without a manifest"):
        render_library(tmp_path / "y", LibraryConfig(count=3), Material(), origin={"license": ""})


def test_cutout_is_its_object_taken_in_a_little(photos: Path) -> None:
    """A disc comes out as a disc that fills the frame, smaller by the eroded pixel, red to its edge."""
    sprite = cut_sprite(np.random.default_rng(0), size=128, segments=SegmentPool(photos))
    alpha = sprite.alpha.astype(float) / 255
    radius = np.sqrt(alpha.sum() / np.pi)
    scale = (128 - 2 * RIM - 6) / 51
    assert scale * 23.5 < radius < scale * 25.8
    rows, columns = np.nonzero(alpha > 0.5)
    assert abs(rows.mean() - 63.5) < 1.5 and abs(columns.mean() - 63.5) < 1.5
    assert np.abs(sprite.colour[alpha > 0.6].astype(int) - (200, 20, 20)).max() < 40
    assert not alpha[:RIM].any() and not alpha[:, -RIM:].any() and 0 < alpha[(alpha > 0) & (alpha < 1)].mean() < 1


@pytest.mark.slow
def test_scenes_resemble_the_generators(tmp_path: Path) -> None:
    """Solid areas and the share of half-transparent pixels of objects, within a factor of 1.6 in the mean."""
    side = 128
    sizes = ["--size", "128", "--backgrounds", "4", "--photo-side", "64"]
    assert main(["--out", str(tmp_path), "--count", "160", *sizes]) == 0
    shares = Shares(scenes=1.0, segments=0.0, pasted=0.0)
    config = BatchConfig(images=80, prompts=3, side=side, shares=shares)
    ours = DeviceBatchSource(load_library(tmp_path), config, seed=0)[0].alpha.numpy() / 255
    scenes = [generate_scene(seed, size=side) for seed in range(80)]
    theirs = np.stack([item.alpha for scene in scenes for item in scene.objects])
    figures = []
    for alphas in (ours, theirs):
        solid = (alphas > 0.5).mean((1, 2))
        kept = alphas[(solid >= 0.005) & (solid <= 0.97)]
        band = ((kept > 0.02) & (kept < 0.98)).sum((1, 2)) / (kept > 0.02).sum((1, 2))
        figures.append((np.sqrt((kept > 0.5).mean((1, 2))).mean(), band.mean()))
    for found, wanted in zip(*figures, strict=True):
        assert 1 / 1.6 < found / wanted < 1.6


def test_colours_do_not_depend_on_opencvs_threads(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    try:
        made = []
        for number in (1, 4):
            cv2.setNumThreads(number)
            config = LibraryConfig(count=1, size=64, backgrounds=1, photo_side=64)
            origin = {"license": "", "sources": []}
            render_library(tmp_path / str(number), config, Material(), origin=origin)
            made.append(contents(tmp_path / str(number)))
        assert made[0] == made[1]
    finally:
        cv2.setNumThreads(threads)


def test_device_generator_is_left_alone(rendered: Path) -> None:
    """Drawing batches does not touch torch's own generator, on which the training's resuming depends."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    DeviceBatchSource(load_library(rendered), BatchConfig(images=2, prompts=1, side=64), seed=0)[0]
    assert torch.equal(torch.rand(3), expected)


def test_several_processes_write_the_same_bytes(rendered: Path, photos: Path, tmp_path: Path) -> None:
    data = ["--segments", str(photos), "--photos", str(photos), "--labelled", "2", "--data-license", "a test's"]
    out = tmp_path / "parallel"
    assert main(["--out", str(out), *ARGUMENTS, "--cutouts", "1", *data, "--workers", "2"]) == 0
    assert contents(out) == contents(rendered)


def test_negative_workers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "x"), *ARGUMENTS, "--workers", "-1"]) == 1
    assert "--workers: expected at least 0, got -1" in capsys.readouterr().err
