"""SA1B-Matte shards: what is written can be read by tarfile, Pillow and the project; faults are named."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.sa1b_matte.shards import (
    ConvertedImage,
    ShardSummary,
    ShardWriter,
    StoredMatte,
    encode_alpha,
    iter_shard,
    read_summary,
)
from zim.errors import DataError

ALPHA = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


def jpeg(width: int = 9, height: int = 7) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (10, 200, 30)).save(file, "JPEG", quality=95)
    return file.getvalue()


def sample(key: str = "sa_1", ids: tuple[str, ...] = ("0000", "0003")) -> ConvertedImage:
    mattes = tuple(
        StoredMatte(
            id=each, source="77", box=(2, 1, 6, 4), area=5, agreement=0.75, scores={"predicted_iou": 0.9},
            png=encode_alpha(ALPHA),
        )
        for each in ids
    )
    return ConvertedImage(key=key, size_hw=(7, 9), mattes=mattes, jpg=jpeg())


def write(path: Path, *images: ConvertedImage) -> Path:
    with path.open("wb") as file:
        writer = ShardWriter(file)
        for image in images:
            writer.add(image)
        writer.finish(
            ShardSummary(
                source="a",
                identity="i",
                keys="k",
                images_read=9,
                images=len(images),
                labels_read=9,
                labels=9,
                filtered={},
            )
        )
    return path


def rewrite(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tar", sample(), sample("sa_2", ()))
    first, second = iter_shard(shard, check=True)
    assert (first.key, second.key, second.mattes) == ("sa_1", "sa_2", ())
    np.testing.assert_allclose(first.mattes[0].alpha, ALPHA, atol=0.5 / 255 + 1e-6)
    assert first.image.shape == (7, 9, 3) and first.image.dtype == np.uint8
    assert abs(first.image.astype(int) - (10, 200, 30)).max() < 6
    full = first.mattes[1].full(first.size_hw)
    assert full.shape == (7, 9) and full[3, 5] == 1 and full.sum() == pytest.approx(ALPHA.sum(), abs=0.05)
    assert [matte.id for matte in first.mattes] == ["0000", "0003"] and first.mattes[0].scores == {"predicted_iou": 0.9}
    assert read_summary(shard).images == 2


def test_other_readers_see_plain_files(tmp_path: Path, read_tar: Callable[[Path], dict[str, bytes]]) -> None:
    shard = write(tmp_path / "a.tar", sample())
    members = read_tar(shard)
    assert list(members) == ["sa_1.jpg", "sa_1.json", "sa_1.0000.png", "sa_1.0003.png", "__zim__/summary.json"]
    assert members["sa_1.jpg"] == jpeg()
    png = np.asarray(Image.open(io.BytesIO(members["sa_1.0003.png"])))
    np.testing.assert_array_equal(png, np.floor(ALPHA * 255 + 0.5).astype(np.uint8))
    described = json.loads(members["sa_1.json"])
    assert (described["width"], described["height"], described["labels"][1]["box"]) == (9, 7, [2, 1, 6, 4])
    with tarfile.open(shard) as tar:
        assert {(each.mtime, each.uid, each.gid, each.uname, each.mode) for each in tar} == {(0, 0, 0, "", 0o644)}
    assert shard.read_bytes() == write(tmp_path / "b.tar", sample()).read_bytes()


def test_the_writer_refuses_bad_names(tmp_path: Path) -> None:
    for images in ((sample("sa.1"),), (sample("a/b"),), (sample(), sample())):
        with pytest.raises(DataError, match="each key once"):
            write(tmp_path / "a.tar", *images)
    with pytest.raises(DataError, match="four digits"):
        write(tmp_path / "a.tar", sample(ids=("1",)))


def change_json(members: dict[str, bytes], change: Callable[[Any], None]) -> None:
    described = json.loads(members["sa_1.json"])
    change(described)
    members["sa_1.json"] = json.dumps(described).encode()


FAULTS: list[tuple[Callable[[dict[str, bytes]], Any], str]] = [
    (lambda m: m.pop("sa_1.jpg"), r"sa_1\.json: expected KEY\.jpg"),
    (lambda m: m.pop("sa_1.0003.png"), r"sa_1\.json: expected the mattes"),
    (lambda m: m.update({"sa_1.jpg": b"rubbish"}), r"sa_1\.jpg: .*cannot be decoded"),
    (lambda m: m.update({"sa_1.jpg": jpeg(8, 7)}), r"sa_1\.jpg: expected 9x7 pixels, got 8x7"),
    (lambda m: m.update({"sa_1.json": b"{"}), r"sa_1\.json: no such JSON"),
    (lambda m: m.update({"sa_1.0000.png": b""}), r"sa_1\.0000\.png: expected an 8-bit grey PNG of 4x3, got no picture"),
    (lambda m: m.update({"sa_1.0000.png": encode_alpha(ALPHA.T)}), r"sa_1\.0000\.png: expected .* of 4x3"),
    (lambda m: change_json(m, lambda d: d.update(format="x/9")), r"sa_1\.json: expected format 'sa1b-matte/1'"),
    (lambda m: change_json(m, lambda d: d.update(width=5)), r"sa_1\.json: label 0000: expected a box inside 5x7"),
    (lambda m: change_json(m, lambda d: d["labels"][1].pop("box")), r"sa_1\.json: no such JSON \(KeyError\('box'"),
    (lambda m: m.pop("__zim__/summary.json"), r"__zim__/summary\.json: expected a summary of 1 images, got none"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS)
def test_faults_name_shard_and_member(
    tmp_path: Path,
    read_tar: Callable[[Path], dict[str, bytes]],
    damage: Callable[[dict[str, bytes]], Any],
    message: str,
) -> None:
    members = read_tar(write(tmp_path / "a.tar", sample()))
    damage(members)
    shard = rewrite(tmp_path / "b.tar", members)
    with pytest.raises(DataError, match=rf"{shard}:{message}"):
        list(iter_shard(shard, check=True))


def test_a_shard_that_is_cut_off(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.tar", sample(), sample("sa_2")).read_bytes()
    for length in (0, 300, 512, 900, 2048, 6000):
        (tmp_path / "b.tar").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"b\.tar"):
            list(iter_shard(tmp_path / "b.tar"))
