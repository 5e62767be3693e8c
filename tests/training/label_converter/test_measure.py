"""Figures of a converter, with converters whose figures are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.label_converter.measure import as_json, cases_of, measure, table
from zim.errors import DataError
from zim.image_io import read_image, save_png


@pytest.fixture
def scenes(tmp_path: Path, make_disc: Callable) -> Path:
    """Two fine and two hard discs; the red channel of the image is the alpha.

    A converter of 192 px sees each whole at twice its size: a hard label comes through that unchanged.
    """
    for tag, soft in (("fine", 12), ("coarse", 0)):
        for number in range(2):
            y, x = np.mgrid[:96, :96]
            distance = np.hypot(x - 44 - 6 * number, y - 50)
            alpha = np.clip((25 - distance) / soft + 0.5, 0, 1) if soft else (distance < 25).astype(float)
            grey = (alpha * 255).astype(np.uint8)
            save_png(tmp_path / tag / "image" / f"{number}.png", np.stack([grey, grey // 2, grey // 3], 2))
            save_png(tmp_path / tag / "alpha" / f"{number}.png", grey)
    return tmp_path


def test_a_converter_that_changes_nothing_has_ratio_one(make_echo: Callable, scenes: Path, tmp_path: Path) -> None:
    figures = measure(make_echo(192), scenes, picture=tmp_path / "p.png", progress=False)
    assert {name: case.count for name, case in figures.items()} == {
        "fine": 2, "hard": 2, "unchanged": 2, "incomplete": 4
    }  # fmt: skip
    assert figures["fine"].ratio == figures["hard"].ratio == figures["incomplete"].ratio == 1
    assert figures["unchanged"].label_mse == figures["unchanged"].converted_mse == 0
    assert figures["incomplete"].regrown == 0 and figures["fine"].regrown is None
    assert read_image(tmp_path / "p.png").shape[0] == 12 * 160
    assert "| labels and truth with the same part cut out (SGA) | echo | 4 |" in table({"echo": figures})
    assert as_json(figures)["hard"]["ratio"] == 1


def test_one_that_reads_the_truth_off_the_image_grows_cuts_back(make_echo: Callable, scenes: Path) -> None:
    oracle = make_echo(192)
    oracle.refine = lambda images, labels: images[..., 0].astype(np.float32) / 255
    figures = measure(oracle, scenes, progress=False)
    assert figures["fine"].ratio < 0.02 and figures["fine"].label_mse > 1
    assert figures["hard"].ratio < 0.1
    assert figures["incomplete"].ratio > 1  # it does not stay with what is labelled
    regrown = figures["incomplete"].regrown
    assert regrown is not None and regrown > 0.8


def test_cases_are_the_same_each_time_and_differ_between_names(make_disc: Callable) -> None:
    alpha = make_disc((80, 80), (40, 40), 20).astype(np.float32)
    first, again, other = (cases_of(name, alpha, fine=False) for name in ("a", "a", "b"))
    assert [case.name for case in first] == ["hard", "incomplete", "unchanged"]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.label, two.label)
    assert not np.array_equal(first[1].label, other[1].label)
    incomplete = first[1]
    assert incomplete.regrown_from is not None
    assert not (incomplete.label & incomplete.regrown_from).any()
    assert incomplete.truth[incomplete.regrown_from].max() == 0


def test_folders_without_tagged_pairs_are_refused(make_echo: Callable, tmp_path: Path) -> None:
    save_png(tmp_path / "image" / "a.png", np.zeros((20, 20, 3), np.uint8))
    save_png(tmp_path / "alpha" / "a.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="expected fine/ and coarse/"):
        measure(make_echo(), tmp_path, progress=False)
