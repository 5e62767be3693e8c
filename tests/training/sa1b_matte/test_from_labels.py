"""Labelled photographs as SA-1B: the reader of SA-1B gives the labels back."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.readers import open_dataset
from training.readers.rle import parse_rle
from training.sa1b_matte.from_labels import LabelChoice, find_photos, label_masks, main, write_tar
from zim.rle import encode_mask, to_coco

LABEL = np.zeros((20, 30), np.uint8)
LABEL[2:12, 3:13] = 1
LABEL[1:9, 16:26] = 2
LABEL[12:19, 18:28] = 2  # a second piece
LABEL[13:19, 1:9] = 9
LABEL[0, 0] = 7  # too small


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Two photographs with label maps, one of them a PNG."""
    rng = np.random.default_rng(0)
    for folder, name in (("b", "x.jpg"), ("a", "y.png")):
        (tmp_path / folder / "image").mkdir(parents=True)
        (tmp_path / folder / "label").mkdir()
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / folder / "image" / name)
        Image.fromarray(LABEL).save(tmp_path / folder / "label" / f"{name[0]}.png")
    return tmp_path


def test_runs_come_back() -> None:
    rng = np.random.default_rng(1)
    masks = [rng.random((17, 23)) < share for share in (0.01, 0.3, 0.5, 0.99)]
    masks += [np.zeros((4, 5), bool), np.ones((4, 5), bool), np.kron(masks[1], np.ones((40, 40))) > 0]
    for mask in masks:
        rle = to_coco(encode_mask(mask))
        np.testing.assert_array_equal(parse_rle(rle).decode(), mask)
    # pycocotools' answer for a 3x3 mask with the middle pixel and the last column set, from its C source by hand:
    # runs 4 1 1 3 -> the fourth number is stored as the difference to the second
    small = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 1]], bool)
    assert to_coco(encode_mask(small)) == {"size": [3, 3], "counts": "4112"}


def test_the_readers_sees_the_labels(labelled: Path) -> None:
    output = labelled / "out" / "sa_000000.tar"
    assert main(["--input", str(labelled), "--output", str(output), "--first", "5"]) == 0
    records = list(open_dataset("sa1b", output))
    assert [record.key for record in records] == ["sa_5", "sa_6"]  # a/image/y.png, then b/image/x.jpg
    for record in records:
        image, masks = record.load()
        assert image.shape == (20, 30, 3) and masks.info[0].scores == {"predicted_iou": 1.0, "stability_score": 1.0}
        for mask, number in zip(masks, (1, 2, 9), strict=True):
            np.testing.assert_array_equal(mask, LABEL == number)
    with tarfile.open(output) as tar:
        photo = tar.extractfile("sa_6.jpg")
        assert photo is not None and photo.read() == (labelled / "b" / "image" / "x.jpg").read_bytes()


def test_more_labels_of_one_map() -> None:
    def areas(**choice: int) -> list[int]:
        return [int(mask.sum()) for mask in label_masks(LABEL[None], LabelChoice(**choice), "x")]

    assert areas() == [100, 150, 48]
    assert areas(pieces=True) == [100, 150, 80, 70, 48]
    assert areas(whole=True) == [100, 150, 48, 299]
    assert areas(min_area=120) == [150]
    with_unions = areas(unions=6)
    assert with_unions[:3] == [100, 150, 48] and 3 < len(with_unions) <= 9
    assert with_unions == areas(unions=6)
    for union in list(label_masks(LABEL[None], LabelChoice(unions=6), "x"))[3:]:
        ids = np.unique(LABEL[union])
        np.testing.assert_array_equal(union, np.isin(LABEL, ids))
        assert 2 <= len(ids) <= 3 and 0 not in ids
    twice = list(label_masks(np.stack([LABEL, LABEL]), LabelChoice(), "x"))
    assert len(twice) == 3  # two annotators who agree


def test_equal_input_gives_equal_bytes(labelled: Path) -> None:
    choice = LabelChoice(pieces=True, whole=True, unions=3)
    files = [labelled / name for name in ("one.tar", "two.tar")]
    assert write_tar(find_photos(labelled), files[0], choice) == write_tar(find_photos(labelled), files[1], choice)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_faults_are_named(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(LABEL[:, :8]).save(labelled / "a" / "label" / "y.png")
    output = labelled / "x.tar"
    assert main(["--input", str(labelled), "--output", str(output)]) == 1
    assert "y.png: expected (20, 30)" in capsys.readouterr().err and not output.exists()
    assert main(["--input", str(labelled / "absent"), "--output", str(output)]) == 1
    assert "found none" in capsys.readouterr().err
    assert main(["--input", str(labelled), "--output", str(labelled / "x.zip")]) == 1
    assert "NAME.tar" in capsys.readouterr().err
