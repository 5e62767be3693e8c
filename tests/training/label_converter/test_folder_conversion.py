"""A folder of labels into a folder of mattes: every object once, interrupted or not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.label_converter.folder_conversion import JOURNAL, ConversionConfig, convert_folder
from zim.errors import DataError
from zim.evaluation.datasets import FolderDataset
from zim.image_io import read_gray, read_image


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


OBJECTS = [f"{kind}/{name}.png" for kind in ("alpha", "image") for name in ("a_3", "a_7", "b_5")]


def test_each_id_becomes_a_pair(make_echo: Callable, labelled_folder: Path, tmp_path: Path) -> None:
    result = convert_folder(make_echo(), labelled_folder, tmp_path / "out", progress=False)
    assert result == (2, 0, 3, 0) and _files(tmp_path / "out") == OBJECTS
    label = read_gray(labelled_folder / "label" / "a.png")
    alpha = read_gray(tmp_path / "out" / "alpha" / "a_7.png")
    assert ((alpha > 127) == (label == 7)).mean() > 0.99
    np.testing.assert_array_equal(
        read_image(tmp_path / "out" / "image" / "a_7.png"), read_image(labelled_folder / "image" / "a.png")
    )
    assert len(FolderDataset(tmp_path / "out")) == 3


def test_whole_photographs_and_pieces(make_echo: Callable, labelled_folder: Path, tmp_path: Path) -> None:
    whole = convert_folder(
        make_echo(), labelled_folder, tmp_path / "whole", ConversionConfig(whole=True), progress=False
    )
    assert whole.mattes == 2 and _files(tmp_path / "whole" / "alpha") == ["a.png", "b.png"]
    small = ConversionConfig(min_area=500)
    assert convert_folder(make_echo(), labelled_folder, tmp_path / "big", small, progress=False).mattes == 2


def test_an_interrupted_run_goes_on(make_echo: Callable, labelled_folder: Path, tmp_path: Path) -> None:
    echo, out = make_echo(), tmp_path / "out"
    refine, calls = echo.refine, [0]

    def die_at_the_second(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return refine(images, labels)

    echo.refine = die_at_the_second
    with pytest.raises(KeyboardInterrupt):
        convert_folder(echo, labelled_folder, out, progress=False)
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"key": "b')  # a crash in the middle of a line
    assert convert_folder(make_echo(), labelled_folder, out, progress=False) == (1, 1, 1, 0)
    assert convert_folder(make_echo(), labelled_folder, out, progress=False) == (0, 2, 0, 0)
    assert _files(out) == OBJECTS and not list(out.rglob(".*"))
    lines = (out / JOURNAL).read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines if line.endswith("}")] == ["a", "b"]


def test_what_is_broken_is_listed_and_passed_over(make_echo: Callable, labelled_folder: Path, tmp_path: Path) -> None:
    (labelled_folder / "image" / "a.png").write_bytes(b"no picture")
    result = convert_folder(make_echo(), labelled_folder, tmp_path / "out", progress=False)
    assert result.mattes == 1 and "a.png" in (tmp_path / "out" / "quarantine.jsonl").read_text()


def test_empty_mattes_are_counted(make_echo: Callable, labelled_folder: Path, tmp_path: Path) -> None:
    echo = make_echo()
    echo.refine = lambda images, labels: np.zeros(labels.shape, np.float32)
    assert convert_folder(echo, labelled_folder, tmp_path / "out", progress=False) == (2, 0, 0, 3)


def test_another_conversion_s_folder_is_refused(make_echo: Callable, labelled_folder: Path, tmp_path: Path) -> None:
    convert_folder(make_echo(), labelled_folder, tmp_path / "out", progress=False)
    with pytest.raises(DataError, match="holds another conversion"):
        convert_folder(make_echo(fingerprint="new"), labelled_folder, tmp_path / "out", progress=False)
    with pytest.raises(DataError, match="min_area 100, now 7"):
        convert_folder(make_echo(), labelled_folder, tmp_path / "out", ConversionConfig(min_area=7), progress=False)
