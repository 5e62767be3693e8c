"""Learning curves: `python -m training.plot_log RUN [RUN...] --out curves.png` (a run is a training's --out folder)."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zim.errors import DataError, ZimError
from zim.files import atomic_write

CURVES = {"loss": "loss", "mae": "mean absolute error", "lr": "learning rate", "seconds": "seconds a step"}

Series = dict[str, tuple[list[float], list[float]]]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a `log.jsonl` in the order of their steps.

    Lines that a crash has cut off are left out; where a run went back to its last checkpoint, the rows that it then
    wrote again replace the earlier ones.

    Raises:
        DataError: there is no such file, or no row in it.
    """
    if not path.is_file():
        raise DataError(f"log: expected a file, found nothing at {path}")
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            while rows and rows[-1]["step"] >= row["step"]:
                rows.pop()
            rows.append(row)
    if not rows:
        raise DataError(f"log: expected rows with a step, found none in {path}")
    return rows


def series_of(rows: Sequence[dict[str, Any]]) -> Series:
    """For each name of `CURVES`: the steps at which it was logged, and its values."""
    return {
        name: ([row["step"] for row in rows if name in row], [row[name] for row in rows if name in row])
        for name in CURVES
    }


def stage_starts(rows: Sequence[dict[str, Any]]) -> list[tuple[float, int]]:
    """(step, side) of the last row before each change of the image side, with the side that follows."""
    pairs = zip(rows[:-1], rows[1:], strict=True)
    return [(before["step"], row["side"]) for before, row in pairs if before.get("side") != row.get("side")]


def draw(runs: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Write a figure with one panel a curve and one line a run, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for panel, (name, title) in zip(panels, CURVES.items(), strict=True):
        for number, (run, rows) in enumerate(runs.items()):
            panel.plot(*series_of(rows)[name], label=run, color=f"C{number}", linewidth=1.2)
            for step, side in stage_starts(rows):
                panel.axvline(step, color=f"C{number}", linestyle=":", linewidth=1)
                panel.annotate(
                    f" {side} px", (step, 1), xycoords=("data", "axes fraction"), va="top", fontsize="small"
                )
        panel.set_title(title)
        panel.grid(alpha=0.3)
    panels[0].legend()
    for panel in panels[2:]:
        panel.set_xlabel("step")
    with atomic_write(out) as temporary:
        figure.savefig(temporary, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Draw loss, error, learning rate and time of one run or several; dotted lines mark changes of image size."""
    parser = argparse.ArgumentParser(prog="python -m training.plot_log", description=main.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, or its log.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args(argv)
    try:
        runs = {str(run): read_log(run / "log.jsonl" if run.is_dir() else run) for run in options.runs}
        draw(runs, options.out)
    except (ZimError, OSError, ValueError) as error:
        print(f"plot_log: error: {error}", file=sys.stderr)
        return 1
    print(f"{len(runs)} runs: curves in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
