"""What SGA and STL bring: `python -m training.label_converter.ablation --out DIR --folder SCENES [training options]`.

Trains a converter with both, without each and without either, all on the same budget, seed and data, and measures them
on exported scenes. Interrupted runs go on with the same command.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zim.errors import ZimError
from zim.files import atomic_write, write_json_atomic, write_text_atomic

from .converter import load_converter
from .measure import CaseFigures, CaseName, as_json, measure, table
from .train import mix_config, parser, train

VARIANTS: dict[str, tuple[str, ...]] = {
    "SGA and STL": (),
    "without SGA": ("no_sga",),
    "without STL": ("no_stl",),
    "without either": ("no_sga", "no_stl"),
}

Results = dict[str, dict[CaseName, CaseFigures]]


def run_ablation(options: argparse.Namespace) -> Results:
    """Train and measure every variant; writes `ablation.json`, `ablation.md` and `ablation.png` into `--out`.

    Raises:
        ZimError: whatever is wrong with arguments or data.
    """
    results: Results = {}
    for name in options.variants or VARIANTS:
        folder = options.out / name.replace(" ", "_")
        switches = {switch: True for switch in VARIANTS[name]}
        variant = argparse.Namespace(**{**vars(options), "out": folder, **switches})
        print(f"--- {name}", flush=True)
        weights = train(variant, mix_config(variant))
        results[name] = measure(load_converter(weights, options.device), options.folder, limit=options.limit)
    write_json_atomic(options.out / "ablation.json", {name: as_json(figures) for name, figures in results.items()})
    write_text_atomic(options.out / "ablation.md", table(results) + "\n")
    draw(results, options.out / "ablation.png")
    return results


def draw(results: Results, path: Path) -> None:
    """Bars: mean squared error of each variant by case, and of the labels; how much of a cut it grows back."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases: list[tuple[CaseName, str]] = [
        ("fine", "fine objects: MSE"),
        ("hard", "hard objects: MSE"),
        ("unchanged", "exact labels: MSE"),
        ("incomplete", "incomplete labels: MSE"),
    ]
    figure = Figure(figsize=(15, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(cases) + 1)
    for panel, (case, title) in zip(panels[:-1], cases, strict=True):
        found = {name: figures[case] for name, figures in results.items() if case in figures}
        bars = {"label itself": next(iter(found.values())).label_mse} if found else {}
        _bars(panel, title, {**bars, **{name: figures.converted_mse for name, figures in found.items()}})
    cut = {name: figures["incomplete"] for name, figures in results.items() if "incomplete" in figures}
    regrown = {name: case.regrown or 0.0 for name, case in cut.items()}
    _bars(panels[-1], "incomplete labels: regrown alpha", regrown)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _bars(axes: Any, title: str, values: dict[str, float]) -> None:
    axes.bar(range(len(values)), list(values.values()), color=[f"C{number}" for number in range(len(values))])
    axes.set_xticks(range(len(values)), list(values), rotation=40, ha="right", fontsize="small")
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="y", alpha=0.3)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m training.label_converter.ablation", __doc__)
    options.add_argument("--folder", type=Path, required=True, metavar="DIR", help="exported scenes to measure on")
    options.add_argument("--limit", type=int, metavar="N", help="pairs of each kind (default: all)")
    options.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="only these (default: all)")
    chosen = options.parse_args(argv)
    try:
        results = run_ablation(chosen)
    except (ZimError, OSError, ValueError) as error:
        print(f"{chosen.out}: error: {error}", file=sys.stderr)
        return 1
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
