"""Tables against numbers worked out by hand."""

import pytest

from training.evaluation.tables import (
    markdown,
    paper_table,
    relative_error,
    set_means,
    set_table,
    size_table,
    stretch_table,
)
from zim.evaluation.results import BenchmarkResult, ImageRow


def result(*rows: tuple[str, str, str, str, float]) -> BenchmarkResult:
    """(row, sample, tag, size, value): the value is its MSE, and a tenth of it everything else."""
    made = BenchmarkResult(
        dataset="d", prompt_rule="box", long_side=None, date="", command="", machine={}, sample_count=len(rows)
    )
    made.row_names = list(dict.fromkeys(name for name, *_ in rows))
    for name, sample, tag, size, value in rows:
        scores = {key: value / 10 for key in ("sad", "mae", "grad", "conn", "band_mse", "iou", "boundary_iou")}
        scores["mse"] = value
        made.rows.append(ImageRow(row=name, sample=sample, tag=tag or None, size=size, scores=scores))  # type: ignore[arg-type]
    return made


ROWS = (
    ("sam (binary)", "a", "fine", "S", 20.0),
    ("sam (binary)", "b", "fine", "L", 40.0),
    ("sam (binary)", "c", "coarse", "L", 10.0),
    ("sam (sigmoid)", "a", "fine", "S", 10.0),
    ("sam (sigmoid)", "b", "fine", "L", 20.0),
    ("sam (sigmoid)", "c", "coarse", "L", 9.0),
    ("zim", "a", "fine", "S", 4.0),
    ("zim", "c", "coarse", "L", 1.0),
)


def test_paper_table_has_fine_and_coarse_side_by_side() -> None:
    heading, *rows = paper_table(result(*ROWS))
    assert heading[1:] == [
        *("fine, n = 2: SAD", "MSE", "MAE", "Grad", "Conn"),
        *("coarse, n = 1: SAD", "MSE", "MAE", "Grad", "Conn"),
    ]
    assert rows[0] == ["sam (binary)", "3.000", "30.000", *["3.000"] * 3, "1.000", "10.000", *["1.000"] * 3]
    assert rows[2][:3] == ["zim", "0.400", "4.000"]


def test_without_tags_all_objects_are_one_column() -> None:
    heading, row = paper_table(result(("m", "a", "", "M", 8.0), ("m", "b", "", "M", 4.0)))
    assert heading[1] == "all, n = 2: SAD" and row[:3] == ["m", "0.600", "6.000"]


def test_sizes_that_are_not_there_have_no_column() -> None:
    heading, *rows = size_table(result(*ROWS))
    assert heading[1::3] == ["small (< 1%), n = 1: SAD", "large, n = 2: SAD"]
    assert rows[0] == ["sam (binary)", "2.000", "20.000", "2.000", "2.500", "25.000", "2.500"]


def test_ratio_is_over_the_objects_that_both_answered() -> None:
    made = result(*ROWS)
    assert relative_error(made, "zim", "sam (binary)", "mse", "fine") == pytest.approx(4 / 20)
    assert relative_error(made, "zim", "sam (binary)", "mse") == pytest.approx(2.5 / 15)
    assert relative_error(made, "zim", "sam (binary)", "band_grad") is None
    table = stretch_table(made)
    assert table is not None
    assert [row[0] for row in table[1:]] == [
        "sam (sigmoid) / sam (binary)",
        "zim / sam (binary)",
        "stretch: the paper's ZIM / SAM, fine, box",
    ]
    assert table[0][0] == "fine objects, prompt box" and table[0][2] == "MSE"
    assert table[1][2] == "0.500" and table[2][2] == "0.200" and table[3][1:5] == ["-", "0.17", "-", "0.33"]
    assert stretch_table(result(("zim", "a", "fine", "S", 1.0))) is None


def test_means_over_objects_and_over_data_sets_differ() -> None:
    """Three objects of 3 and one of 7: 4 over objects, 5 over sets."""
    rows = [("m", sample, "", "M", 3.0) for sample in "abc"] + [("m", "d", "", "M", 7.0)]
    sets = {"one": result(*rows[:3]), "two": result(*rows[3:])}
    whole = result(*rows)
    means = set_means(whole, sets, "m", "mse")
    assert means == pytest.approx({"one": 3.0, "two": 7.0, "all objects": 4.0, "mean of data sets": 5.0})
    table = set_table(whole, sets, "MSE")
    assert table == [
        ["MSE", "one", "two", "all objects", "mean of data sets"],
        ["objects", "3", "1", "4", "-"],
        ["m", "3.0", "7.0", "4.0", "5.0"],
    ]
    sets["empty"] = result()
    assert "mean of data sets" not in set_means(whole, sets, "m", "mse")


def test_markdown_is_one_table() -> None:
    assert markdown([["", "MSE"], ["zim", "1.5"]]) == "|     | MSE |\n|:----|----:|\n| zim | 1.5 |"
