"""Photographs with mattes of their own in a sprite library: kept, drawn, and cut out in the object's own colours."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.data.batches import BatchConfig, Shares
from training.data.device_scenes import DeviceBatchSource
from training.data.device_scenes_photos import draw_matted
from training.data.mattes import MatteShards, without_haze
from training.data.sprites import FAMILIES, SpriteLibrary, load_library
from training.data.sprites_render import RIM, cut_matte
from training.render_sprites import LibraryConfig, Material, main, render_library
from training.sa1b_matte.shards import ConvertedImage, ShardSummary, ShardWriter, StoredMatte, encode_alpha
from zim.errors import ConfigError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

DISC, GROUND = np.array([210.0, 40.0, 30.0]), np.array([60.0, 90.0, 160.0])
RADIUS, EDGE = 26, 12.0


def ramp(height: int, width: int, x: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.clip((RADIUS - np.hypot(columns - x, rows - height / 2)) / EDGE + 0.5, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs of a disc that fades into the ground over twelve pixels, blended with its own matte."""
    path = tmp_path_factory.mktemp("shards") / "discs-0.tar"
    with path.open("wb") as file:
        writer = ShardWriter(file)
        for number in range(3):
            alpha = ramp(96, 128, 50 + 10 * number)
            image = alpha[..., None] * DISC + (1 - alpha[..., None]) * GROUND
            jpg = cv2.imencode(".jpg", image[..., ::-1].round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 99])[1]
            x, y, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
            cropped = alpha[y : y + height, x : x + width]
            matte = StoredMatte(
                id="0000", source="1", box=(x, y, x + width, y + height), area=2000, agreement=0.9,
                png=encode_alpha(cropped),
            )
            writer.add(ConvertedImage(key=f"disc_{number}", size_hw=(96, 128), mattes=(matte,), jpg=jpg.tobytes()))
        writer.finish(
            ShardSummary(
                source="discs", identity="", keys="", images_read=3, images=3, labels_read=3, labels=3, filtered={}
            )
        )
    return path


@pytest.fixture(scope="module")
def library(shard: Path, tmp_path_factory: pytest.TempPathFactory) -> SpriteLibrary:
    out = tmp_path_factory.mktemp("library")
    sizes = ["--count", "4", "--size", "128", "--photo-side", "128", "--backgrounds", "2", "--shard", "3"]
    data = ["--shards", str(shard), "--objects", str(shard), "--matted", "4", "--matte-cutouts", "2"]
    assert main(["--out", str(out), *sizes, *data, "--quality", "98", "--data-license", "a test's"]) == 0
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert [item["files"] for item in manifest["sources"]] == [1] and manifest["license"] == "a test's"
    return load_library(out)


def test_mattes_are_kept_with_their_photographs(library: SpriteLibrary) -> None:
    assert library.mattes.shape == (4, 128, 128) and library.matted[:, 0].tolist() == [2, 3, 4, 5]
    assert (library.family == FAMILIES.index("matte")).sum() == 2
    for (photo, x1, y1, x2, y2), matte in zip(library.matted, library.mattes, strict=True):
        alpha = matte.numpy()[:96].astype(float) / 255
        assert (x2 - x1, y2 - y1) == pytest.approx((2 * RADIUS + EDGE, 2 * RADIUS + EDGE), abs=3)
        wanted = alpha[..., None] * DISC + (1 - alpha[..., None]) * GROUND
        assert np.abs(library.photos[photo].permute(1, 2, 0).numpy()[:96] - wanted).mean() < 3
        assert not matte[96:].any()


@pytest.mark.parametrize("side", [64, 128])
def test_batches_of_mattes_fit_their_pictures(library: SpriteLibrary, side: int) -> None:
    """The picture is the blend that the matte says, everything is trusted, and the coarse label is hard."""
    shares = Shares(scenes=0, segments=0, pasted=0, mattes=0, shards=1)
    source = DeviceBatchSource(library, BatchConfig(images=6, prompts=2, side=side, shares=shares), seed=3)
    std, mean = (torch.tensor(value)[:, None, None] for value in (PIXEL_STD, PIXEL_MEAN))
    for step in range(3):
        batch = source[step]
        assert bool((batch.weight == 255).all()) and set(batch.coarse.unique().tolist()) <= {0, 255}
        assert bool((batch.alpha.flatten(1).amax(1) > 200).all())
        red = (batch.image * std + mean)[:, 0].repeat_interleave(2, 0)
        for row in range(12):
            seen = batch.valid[row] > 0
            together = torch.stack([red[row][seen], batch.alpha[row].float()[seen]])
            assert torch.corrcoef(together)[0, 1] > 0.96  # haze is taken off, so not quite 1


def test_a_window_is_of_its_photograph(library: SpriteLibrary) -> None:
    windows, number = draw_matted(np.random.default_rng(0), library, 20, 3, 64)
    assert number.shape == (20, 3) and (library.matted[number, 0] == windows.photo[:, None]).all()
    assert windows.out_wh.max(1).tolist() == [64] * 20 and set(windows.photo) == {2, 3, 4, 5}


def test_cutout_has_the_mattes_softness_and_the_objects_colour(shard: Path) -> None:
    """The ground's blue does not come along, and the edge is as wide as in the photograph."""
    sprite = cut_matte(np.random.default_rng(0), size=128, mattes=MatteShards([shard]))
    alpha = sprite.alpha.astype(float) / 255
    assert sprite.family == "matte" and not alpha[:RIM].any()
    scale = (128 - 2 * RIM - 6) / (2 * RADIUS + EDGE)
    soft = ((alpha > 0.1) & (alpha < 0.9)).sum()
    ring = 2 * np.pi * RADIUS * 0.8 * EDGE * scale**2
    assert soft == pytest.approx(ring, rel=0.15)
    assert np.abs(sprite.colour[alpha > 0.3].astype(float) - DISC).max() < 25


def test_haze_goes_and_the_middle_stays() -> None:
    cleaned = without_haze(np.array([0, 0.05, 0.08, 0.5, 0.92, 1], np.float32))
    np.testing.assert_allclose(cleaned, [0, 0, 0, 0.5, 1, 1], atol=1e-6)


def test_what_is_missing_is_named(tmp_path: Path, shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = {"license": "", "sources": []}
    for wrong, message in (({"matted": 2}, "expected 0 without --shards"), ({"matte_cutouts": 1}, "without --objects")):
        with pytest.raises(ConfigError, match=message):
            render_library(tmp_path / "x", LibraryConfig(count=3, **wrong), Material(), origin=origin)
    assert main(["--out", str(tmp_path / "y"), "--shards", str(shard)]) == 1
    assert "--data-license: expected" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "y"), "--shards", str(tmp_path / "*.tar"), "--data-license", "x"]) == 1
    assert "found none" in capsys.readouterr().err
