"""SA-1B: folders and tar shards hold the same records; faults of either are named."""

import gzip
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.readers import ItemError, Quarantine, open_dataset, read_all
from zim.errors import DataError

NUMBERS = (10, 9, 223750)


def disc(number: int) -> np.ndarray:
    y, x = np.mgrid[:12, :16]
    return (y - 5) ** 2 + (x - number % 7 - 4) ** 2 < 14


def write(mini: Any, rle_of: Any, folder: str = ".", numbers: tuple[int, ...] = NUMBERS) -> None:
    for number in numbers:
        stem = f"{folder}/sa_{number}"
        mini.photo(f"{stem}.jpg", value=number % 200)
        annotations = [
            {
                "id": 500 + place,
                "segmentation": rle_of(mask, compressed=place == 0),
                "area": int(mask.sum()),
                "bbox": [0, 0, 1, 1],
                "predicted_iou": 0.95,
                "stability_score": 0.97,
                "crop_box": [0, 0, 16, 12],
                "point_coords": [[3, 4]],
            }
            for place, mask in enumerate((disc(number), ~disc(number)))
        ]
        image = {"image_id": number, "width": 16, "height": 12, "file_name": f"sa_{number}.jpg"}
        mini.json(f"{stem}.json", {"image": image, "annotations": annotations})


def pack(mini: Any, folder: str, shard: str, prefix: str = "./") -> Path:
    """A folder as a tar file, in the order of a directory listing turned round."""
    path = mini.root / shard
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as opened:
        for file in sorted((mini.root / folder).glob("sa_*.j*"), reverse=True):
            opened.add(file, prefix + file.name)
            file.unlink()
    return path


def check(reader: Any, numbers: tuple[int, ...]) -> None:
    assert [record.key for record in reader] == [f"sa_{number}" for number in numbers]
    for record, number in zip(reader, numbers, strict=True):
        image, masks = record.load()
        assert abs(int(image[0, 0, 0]) - number % 200) < 4 and record.size_hw() == (12, 16)
        np.testing.assert_array_equal(masks[0], disc(number))
        np.testing.assert_array_equal(masks[1], ~disc(number))
        assert masks.info[0].name == "500" and masks.info[0].area == disc(number).sum()
        assert masks.info[1].scores == {"predicted_iou": 0.95, "stability_score": 0.97}


def test_folders(mini: Any, rle_of: Any) -> None:
    write(mini, rle_of)
    write(mini, rle_of, "sa_000020", (3,))
    mini.json("readme.json", {})
    check(open_dataset("sa1b", mini.root), (9, 10, 223750, 3))


@pytest.mark.parametrize("prefix", ["", "./", "sa_000020/"])
def test_tar_shards(mini: Any, rle_of: Any, prefix: str) -> None:
    write(mini, rle_of, "unpacked")
    shard = pack(mini, "unpacked", "shards/sa_000020.tar", prefix)
    write(mini, rle_of, "unpacked", (4,))
    pack(mini, "unpacked", "shards/sa_000021.tar", prefix)
    check(open_dataset("sa1b", mini.root), (9, 10, 223750, 4))
    one = pickle.loads(pickle.dumps(open_dataset("sa1b", shard)))
    check(one, (9, 10, 223750))
    assert str(one[0].image) == f"{shard}:{prefix}sa_9.jpg"


def test_folders_and_shards_together(mini: Any, rle_of: Any) -> None:
    write(mini, rle_of, "more", (7,))
    pack(mini, "more", "b.tar")
    write(mini, rle_of, "more", (8,))
    write(mini, rle_of, "a", (11, 2))
    check(open_dataset("sa1b", mini.root), (7, 2, 11, 8))


def test_a_missing_partner_is_named_on_opening(mini: Any, rle_of: Any) -> None:
    write(mini, rle_of)
    (mini.root / "sa_10.json").unlink()
    with pytest.raises(DataError, match=r"sa_10\.jpg: found no sa_10\.json beside it"):
        open_dataset("sa1b", mini.root)
    shard = pack(mini, ".", "shards/x.tar")
    with pytest.raises(DataError, match=rf"{shard}/sa_10\.jpg: found no sa_10\.json"):
        open_dataset("sa1b", shard)


def test_faulty_tar_files_are_named(mini: Any, rle_of: Any) -> None:
    write(mini, rle_of)
    shard = pack(mini, ".", "x.tar")
    whole = shard.read_bytes()
    with tarfile.open(shard) as opened:
        middle = opened.getmembers()[3].offset
    damaged = bytearray(whole)
    damaged[middle : middle + 20] = b"rubbish in the header"[:20]
    cuts = [whole[: middle + 700], whole[:middle], whole[: middle + 100], bytes(damaged), b"", b"no tar file" * 99]
    for content in [*cuts, gzip.compress(whole)]:
        shard.write_bytes(content)
        with pytest.raises(DataError, match=f"{shard}: expected a whole, uncompressed tar file"):
            open_dataset("sa1b", shard)
    shard.write_bytes(whole)
    mini.photo("again.jpg")
    with tarfile.open(shard, "a") as opened:
        opened.add(mini.root / "again.jpg", "./sa_9.jpg")
    with pytest.raises(DataError, match=r"sa_9\.jpg: expected each name once"):
        open_dataset("sa1b", shard)


def test_a_shard_that_shrinks_after_opening(mini: Any, rle_of: Any) -> None:
    write(mini, rle_of)
    shard = pack(mini, ".", "x.tar")
    reader = open_dataset("sa1b", shard)
    mini.cut("x.tar", 0.1)
    with pytest.raises(ItemError, match=r"x\.tar:\./sa_9\.jpg: expected \d+ bytes, got 0"):
        reader[0].load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stored: stored.pop("image"), "expected JSON with 'image'"),
        (lambda stored: stored.update(annotations=3), "expected JSON with 'image'"),
        (lambda stored: stored["image"].update(height=13), "mask 0: expected size"),
        (lambda stored: stored["annotations"].append({}), "annotation 2: KeyError"),
        (lambda stored: stored["annotations"].append(7), "annotation 2: TypeError"),
        (lambda stored: stored["annotations"][1].update(predicted_iou=None), "annotation 1: TypeError"),
        (lambda stored: stored["annotations"][1]["segmentation"].update(counts="5~"), "annotation 1: RLE"),
        (lambda stored: stored["annotations"][1]["segmentation"].update(counts=[3]), "annotation 1: RLE.*got 3"),
    ],
)
def test_faults_of_the_json(mini: Any, rle_of: Any, change: Any, message: str) -> None:
    write(mini, rle_of)
    path = mini.root / "sa_9.json"
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    reader = open_dataset("sa1b", mini.root)
    with pytest.raises(ItemError, match=f"{path}: {message}"):
        reader[0].load()
    quarantine = Quarantine()
    assert [record.key for record, _ in read_all(reader, quarantine)] == ["sa_10", "sa_223750"]
    assert [(item.key, item.file) for item in quarantine.items] == [("sa_9", str(path))]


def test_faults_of_files(mini: Any, rle_of: Any) -> None:
    write(mini, rle_of)
    mini.cut("sa_9.json")
    mini.cut("sa_10.jpg")
    quarantine = Quarantine()
    reader = open_dataset("sa1b", mini.root)
    assert [record.key for record, _ in read_all(reader, quarantine)] == ["sa_223750"]
    assert [Path(item.file).name for item in quarantine.items] == ["sa_9.json", "sa_10.jpg"]
