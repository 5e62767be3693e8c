"""The MicroMat-3K reader on tiny copies of its documented layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zim.errors import DataError
from zim.evaluation.datasets import MicroMat3kDataset

PROMPT = {"point": [[3, 4, 1], [0, 1, 0]], "bbox": [1, 2, 6, 7]}


def write_set(root: Path, *, prompt_name: str = "prompt/{}.json", seg_name: str = "seg/{}.png") -> list[str]:
    """Two instances of one photo, with prompt and segmentation files as told; returns their labels."""
    labels = ["coarse/0002_7", "fine/0002_21"]
    (root / "img").mkdir()
    Image.new("RGB", (10, 8)).save(root / "img/0002.png")
    for text in labels:
        matte, prompt, seg = (root / name.format(text) for name in ("matte/{}.png", prompt_name, seg_name))
        for path in (matte, prompt, seg):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (10, 8), 128).save(matte)
        with seg.open("wb") as file:
            Image.new("L", (10, 8), 255).save(file, format="PNG")
        prompt.write_text(json.dumps(PROMPT))
    return labels


def write_list(root: Path, labels: list[str], line: str) -> None:
    (root / "data_list.txt").write_text("".join(line.format(text) + "\n" for text in labels))


USUAL = "img/0002.png matte/{0}.png prompt/{0}.json seg/{0}.png"


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, USUAL),
        ({}, None),  # no list: the folders are searched
        ({}, "img/0002.png matte/{0}.png prompt/{0}.png seg/{0}.json"),  # extensions swapped in the list only
        ({}, "img/0002.png matte/{0}.png seg/{0}.png prompt/{0}.json"),  # columns swapped
        ({"prompt_name": "seg/{}.json", "seg_name": "prompt/{}.png"}, USUAL),  # contents in the other folder
        ({"prompt_name": "prompt/{}.png", "seg_name": "seg/{}.json"}, USUAL),  # extensions swapped on disk
        (
            {},
            "img/0002.jpg matte/{0}.png prompt/{0}.json seg/{0}.png",
        ),  # a photo of another suffix than listed
    ],
)
def test_every_layout_gives_the_same_samples(tmp_path: Path, files: dict[str, str], line: str | None) -> None:
    labels = write_set(tmp_path, **files)
    if line is not None:
        write_list(tmp_path, labels, line)
    samples = sorted(MicroMat3kDataset(tmp_path), key=lambda s: s.id)
    assert [(s.id, s.tag) for s in samples] == [("coarse/0002_7", "coarse"), ("fine/0002_21", "fine")]
    for sample in samples:
        assert sample.prompt is not None
        assert np.array_equal(sample.prompt.point_coords, [[3, 4], [0, 1]])
        assert np.array_equal(sample.prompt.point_labels, [1, 0])
        assert np.array_equal(sample.prompt.box, [1, 2, 6, 7])
        image, alpha = sample.load()
        assert image.shape == (8, 10, 3) and alpha == pytest.approx(128 / 255)
        assert sample.seg_path is not None and sample.seg_path.read_bytes().startswith(b"\x89PNG")


def test_tag_and_limit(tmp_path: Path) -> None:
    labels = write_set(tmp_path)
    write_list(tmp_path, labels, USUAL)
    assert [s.id for s in MicroMat3kDataset(tmp_path, tag="fine")] == ["fine/0002_21"]
    assert [s.id for s in MicroMat3kDataset(tmp_path, limit=1)] == ["coarse/0002_7"]


def test_missing_files_and_bad_lines_are_named(tmp_path: Path) -> None:
    labels = write_set(tmp_path)
    write_list(tmp_path, labels, USUAL)
    (tmp_path / "prompt/fine/0002_21.json").unlink()
    with pytest.raises(DataError, match=r"prompt/fine/0002_21\.json: expected a JSON prompt"):
        MicroMat3kDataset(tmp_path)
    (tmp_path / "matte/coarse/0002_7.png").unlink()
    with pytest.raises(DataError, match=r"matte/coarse/0002_7\.png: listed in the data set, but missing"):
        MicroMat3kDataset(tmp_path)
    (tmp_path / "data_list.txt").write_text("img/0002.png matte/fine/0002_21.png\n")
    with pytest.raises(DataError, match=r"data_list\.txt, line 1: expected 4 paths .* got 2"):
        MicroMat3kDataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"point": [[1, 2]]}', "expected 'point' as a list of 3 numbers each"),
        ('{"point": [[1, 2, 5]]}', "expected point labels 0 or 1"),
        ('{"bbox": [1, 2, 3]}', "expected 'bbox' as"),
        ('{"bbox": [1, 2, "x", 4]}', "expected numbers under 'bbox'"),
        ('{"other": 1}', "expected 'point' or 'bbox'"),
        ("{broken", "expected a JSON prompt"),
    ],
)
def test_bad_prompts_are_named(tmp_path: Path, content: str, message: str) -> None:
    write_set(tmp_path)
    (tmp_path / "prompt/fine/0002_21.json").write_text(content)
    with pytest.raises(DataError, match=message):
        MicroMat3kDataset(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected data_list\.txt or mattes"):
        MicroMat3kDataset(tmp_path)
