"""Mattes of folders and shards: the pixels on disk reach the sample, and any photograph is reached by its number."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data import samples
from training.data.batches import BatchConfig, BatchSource, Shares, Sources
from training.data.mattes import MatteFolders, MatteShards
from training.data.samples import matte_sample
from training.sa1b_matte.shards import (
    ConvertedImage,
    ShardSummary,
    ShardWriter,
    StoredMatte,
    encode_alpha,
    iter_shard,
)
from zim.errors import ConfigError, DataError


def ramp_disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.clip((radius - np.hypot(columns - x, rows - y)) / 6 + 0.5, 0, 1).astype(np.float32)


def write_pair(folder: Path, name: str, alpha: np.ndarray) -> None:
    for part in ("image", "alpha"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    grey = (alpha * 255).round().astype(np.uint8)
    image = np.stack([grey, np.full_like(grey, 200), 0 * grey], axis=-1)
    Image.fromarray(image).save(folder / "image" / f"{name}.png")
    Image.fromarray(grey).save(folder / "alpha" / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_pair(tmp_path / "mine", f"{number}", ramp_disc(60, 90, 30 + 15 * number, 30, 18))
    return tmp_path / "mine"


def write_shard(path: Path, first: int, images: int) -> None:
    """Photographs of one colour each, with one to three mattes."""
    with path.open("wb") as file:
        writer = ShardWriter(file)
        for number in range(first, first + images):
            image = np.full((50, 70, 3), 10 * number, np.uint8)
            jpg = cv2.imencode(".jpg", image)[1].tobytes()
            mattes = tuple(
                StoredMatte(
                    id=f"{k:04d}", source=str(k), box=(5 * k, 4, 5 * k + 30, 34), area=500, agreement=0.9,
                    png=encode_alpha(ramp_disc(30, 30, 15, 15, 8 + number % 5)),
                )
                for k in range(1 + number % 3)
            )  # fmt: skip
            writer.add(ConvertedImage(key=f"sa_{number}", size_hw=(50, 70), mattes=mattes, jpg=jpg))
        writer.finish(
            ShardSummary(
                source="s", identity="i", keys="k", images_read=images, images=images, labels_read=9, labels=9,
                filtered={},
            )
        )  # fmt: skip


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shard(tmp_path / "a-0.tar", 0, 4)
    write_shard(tmp_path / "b-0.tar", 4, 3)
    return tmp_path


def test_folder_gives_its_photographs_and_exact_mattes(folder: Path) -> None:
    pool = MatteFolders([folder])
    assert len(pool) == 3
    seen = set()
    for seed in range(20):
        drawn = pool.draw(np.random.default_rng(seed), 3)
        (alpha,) = drawn.mattes
        np.testing.assert_array_equal(drawn.image[..., 0], (alpha * 255).round())
        assert alpha.dtype == np.float32 and 0.02 < ((alpha > 0) & (alpha < 1)).mean()
        seen.add(int(alpha.sum(0).argmax()))
    assert len(seen) == 3


def test_large_photographs_are_reduced_with_their_mattes(folder: Path) -> None:
    drawn = MatteFolders([folder], max_side=45, cache=1).draw(np.random.default_rng(0), 1)
    assert drawn.image.shape == (30, 45, 3)
    np.testing.assert_allclose(drawn.image[..., 0] / 255, drawn.mattes[0], atol=1.1 / 255)


def test_data_sets_come_by_name_and_test_sets_do_not(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "am2k"
    for split in ("train", "validation"):
        write_pair(root / split, "a", ramp_disc(40, 40, 20, 20, 10))
        (root / split / "image").rename(root / split / "original")
        (root / split / "alpha").rename(root / split / "mask")
    assert len(MatteFolders([f"am2k={root}", folder])) == 4  # the training split alone
    with pytest.raises(DataError, match="not for training"):
        MatteFolders([f"aim500={_aim500(tmp_path)}"])
    with pytest.raises(DataError, match="expected"):
        MatteFolders([tmp_path / "nowhere"])


def _aim500(root: Path) -> Path:
    write_pair(root / "aim", "a", ramp_disc(40, 40, 20, 20, 10))
    (root / "aim" / "image").rename(root / "aim" / "original")
    (root / "aim" / "alpha").rename(root / "aim" / "mask")
    return root / "aim"


def test_any_photograph_of_the_shards_is_what_reading_in_order_gives(shards: Path) -> None:
    pool = pickle.loads(pickle.dumps(MatteShards([shards / "*.tar", shards / "a-0.tar"])))
    in_order = [*iter_shard(shards / "a-0.tar"), *iter_shard(shards / "b-0.tar")]
    assert len(pool) == len(in_order) == 7
    for index in (6, 0, 3, 4, 1):
        found, expected = pool.photo(index), in_order[index]
        assert found == expected and found.jpg == expected.jpg
        assert [m.png for m in found.mattes] == [m.png for m in expected.mattes]
    drawn = pool.draw(np.random.default_rng(3), 2)
    assert 1 <= len(drawn.mattes) <= 2 and drawn.mattes[0].shape == drawn.image.shape[:2] == (50, 70)


def test_faults_of_shards_are_named(shards: Path) -> None:
    with pytest.raises(DataError, match="shards: expected files that match .*nothing.*, found none"):
        MatteShards([shards / "nothing*.tar"])
    pool = MatteShards([shards / "a-0.tar"])
    whole = (shards / "a-0.tar").read_bytes()
    (shards / "a-0.tar").write_bytes(whole[:512] + bytes(3000) + whole[3512:])
    with pytest.raises(DataError, match="a-0.tar"):
        pool.photo(0).image.sum()
    (shards / "a-0.tar").write_bytes(whole[:700])
    with pytest.raises(DataError, match="a-0.tar"):
        pool.photo(2)


def test_sample_keeps_image_and_matte_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "jitter_colours", lambda image, rng: image)
    alpha = ramp_disc(80, 120, 70, 35, 24)
    grey = (alpha * 255).round().astype(np.uint8)
    image = np.stack([grey, np.full_like(grey, 200), 0 * grey], axis=-1)
    for seed in range(20):
        sample = matte_sample(image, [alpha], side=64, count=2, rng=np.random.default_rng(seed))
        assert sample is not None
        (target,) = sample.targets
        np.testing.assert_allclose(sample.image[..., 0] / 255, target.alpha, atol=2 / 255)
        assert bool((target.weight == 1).all()) and set(np.unique(target.coarse)) == {0, 1}


def test_mattes_and_shards_fill_batches_by_their_shares(folder: Path, shards: Path) -> None:
    sources = Sources(scenes=None, mattes=MatteFolders([folder]), shards=MatteShards([shards / "*.tar"]))
    config = BatchConfig(images=6, prompts=2, side=64, shares=Shares(mattes=0.5, shards=0.5))
    green = torch_green(BatchSource(sources, config, seed=0))
    assert 10 < green < 38  # of 48 images: the folder's are green
    only = BatchConfig(images=6, prompts=2, side=64, shares=Shares(shards=0))
    assert torch_green(BatchSource(sources, only, seed=0)) > 42  # a few are made grey by the jitter
    with pytest.raises(DataError, match="no source has a positive share"):
        BatchSource(Sources(scenes=None), only, seed=0)
    with pytest.raises(ConfigError, match="shares: expected numbers >= 0, got mattes=-1"):
        Shares(mattes=-1)


def torch_green(source: BatchSource) -> int:
    """Images of eight batches whose green is clearly more than their blue."""
    images = [image for step in range(8) for image in source[step].image]
    return sum(float((image[1] - image[2]).mean()) > 0.3 for image in images)


def test_json_of_a_shard_is_read_as_it_is_written(shards: Path) -> None:
    """The index rests on members in one piece, photograph first: what the writer's description promises."""
    pool = MatteShards([shards / "b-0.tar"])
    assert [pool.photo(i).key for i in range(3)] == ["sa_4", "sa_5", "sa_6"]
    assert json.loads(json.dumps(pool.photo(1).mattes[0].description()))["box"] == [0, 4, 30, 34]
