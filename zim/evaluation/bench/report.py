"""A benchmark's figures as a table, as JSON and as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zim.errors import MissingDependencyError
from zim.evaluation.bench.interleaved import CaseTimes
from zim.evaluation.bench.roofline import Roofline
from zim.files import atomic_write


class CaseResult(NamedTuple):
    """times of a case; extra memory in bytes and operations of each contestant, where they could be told."""

    times: CaseTimes
    memory: Mapping[str, int | None]
    rooflines: Mapping[str, Roofline]


def text_table(results: Sequence[CaseResult]) -> str:
    """One line for each contestant of each case."""
    head = ["", "seconds", "spread", "ratio", "extra MiB", "GFLOP", "of peak", "GB"]
    table = [head]
    for result in results:
        table.append([result.times.name, *[""] * (len(head) - 1)])
        for name, timing in result.times.timings.items():
            memory, roofline = result.memory.get(name), result.rooflines.get(name)
            table.append(
                [
                    f"  {name}",
                    f"{timing.median:.3f}",
                    f"{timing.spread:.0%}",
                    f"{result.times.ratios[name]:.2f}",
                    "-" if memory is None else f"{memory / 2**20:.0f}",
                    "-" if roofline is None else f"{roofline.flops / 1e9:.1f}",
                    "-" if roofline is None else f"{roofline.share(timing.median):.0%}",
                    "-" if roofline is None or roofline.bytes is None else f"{roofline.bytes / 1e9:.1f}",
                ]
            )
    widths = [max(len(line[column]) for line in table) for column in range(len(head))]
    lines = []
    for line in table:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def json_table(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Every run of every contestant, ready for `json.dumps`."""
    return [
        {
            "case": result.times.name,
            "contestants": {
                name: {
                    "median_seconds": timing.median,
                    "seconds": list(timing.seconds),
                    "ratio_to_first": result.times.ratios[name],
                    "extra_bytes": result.memory.get(name),
                    "flops": result.rooflines[name].flops if name in result.rooflines else None,
                    "bytes": result.rooflines[name].bytes if name in result.rooflines else None,
                    "peak_flops_per_second": result.rooflines[name].peak if name in result.rooflines else None,
                }
                for name, timing in result.times.timings.items()
            },
        }
        for result in results
    ]


def save_plot(results: Sequence[CaseResult], path: Path) -> None:
    """Bars of the times, one panel for each case, with a whisker from the fastest to the slowest run.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "--figure needs matplotlib; install it with: pip install 'zim-matting[train]'"
        ) from error
    figure = Figure(figsize=(7, 1.1 + 0.95 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, result in zip(figure.subplots(len(results), 1, squeeze=False)[:, 0], results, strict=True):
        names = list(result.times.timings)
        timings = list(result.times.timings.values())
        middles = [timing.median for timing in timings]
        whiskers = [
            [middle - min(t.seconds) for middle, t in zip(middles, timings, strict=True)],
            [max(t.seconds) - middle for middle, t in zip(middles, timings, strict=True)],
        ]
        axes.barh(names, middles, xerr=whiskers, color=[f"C{k}" for k in range(len(names))], height=0.6, capsize=2)
        axes.invert_yaxis()
        axes.set_title(f"{result.times.name} (seconds)", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)
