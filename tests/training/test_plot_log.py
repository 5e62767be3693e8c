"""Learning curves: the numbers drawn are the numbers logged."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from training.plot_log import main, read_log, series_of, stage_starts
from zim.errors import DataError


def row(step: int, side: int = 256, **figures: float) -> dict[str, Any]:
    return {"step": step, "side": side, "lr": step / 1000, "seconds": 0.5, **figures}


def write(path: Path, rows: list[dict[str, Any]], tail: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + tail)
    return path


def test_points_equal_the_log(tmp_path: Path) -> None:
    rows = [row(20, loss=3.0, mae=0.3), row(40), row(60, loss=1.0, mae=0.1)]  # 40: every step was skipped
    series = series_of(read_log(write(tmp_path / "log.jsonl", rows)))
    assert series["loss"] == ([20, 60], [3.0, 1.0])
    assert series["mae"] == ([20, 60], [0.3, 0.1])
    assert series["lr"] == ([20, 40, 60], [0.02, 0.04, 0.06])
    assert series["seconds"] == ([20, 40, 60], [0.5] * 3)


def test_half_written_lines_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [row(20)], tail='{"step": 40, "si')
    assert [r["step"] for r in read_log(path)] == [20]
    path.write_text(path.read_text() + json.dumps(row(40)) + "\n" + json.dumps(row(60)) + "\n")  # resumed after it
    assert [r["step"] for r in read_log(path)] == [20, 60]


def test_rows_written_again_after_a_crash_replace_the_first(tmp_path: Path) -> None:
    rows = [row(20, loss=1.0), row(40, loss=2.0), row(60, loss=3.0), row(50, loss=4.0), row(70, loss=5.0)]
    found = read_log(write(tmp_path / "log.jsonl", rows))
    assert series_of(found)["loss"] == ([20, 40, 50, 70], [1.0, 2.0, 4.0, 5.0])


def test_stages_are_where_the_side_changes() -> None:
    rows = [row(20), row(40), row(60, side=512), row(65, side=1024)]
    assert stage_starts(rows) == [(40, 512), (60, 1024)]


def test_figure_of_two_runs_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / name for name in ("a", "b")]
    for run in runs:
        write(run / "log.jsonl", [row(20, loss=1.0, mae=0.2), row(40, 512, loss=0.5, mae=0.1)])
    out = tmp_path / "figures" / "curves.png"
    assert main([*map(str, runs), "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (1210, 770)
    assert list(out.parent.iterdir()) == [out]
    capsys.readouterr()


@pytest.mark.parametrize("content", [None, "", "[1, 2]\nrubbish\n"])
def test_missing_and_empty_logs_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=str(path)):
        read_log(path)
    assert main([str(tmp_path), "--out", str(tmp_path / "a.png")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("plot_log: error: log: expected") and str(path) in line
    assert not (tmp_path / "a.png").exists()
