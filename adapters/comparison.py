"""What an adapter's benchmark answers: a table of means, and the pictures and curves that show it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError


class Metric(NamedTuple):
    """A column. key: in the measurements. title: in tables. digits: after the point. higher: whether more is better."""

    key: str
    title: str
    digits: int = 1
    higher: bool = False


class Tile(NamedTuple):
    """One picture of the figure: (H, W, 3) uint8 RGB, or (H, W) float in [0, 1]; shown as it is, without resizing."""

    caption: str
    image: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One plot. series: name -> ys, each as long as `x`."""

    title: str
    x_title: str
    y_title: str
    x: tuple[float, ...]
    series: Mapping[str, tuple[float, ...]]


class Measurement(NamedTuple):
    """The figures of one answer. case: the part of the data it belongs to ("fine", "hippocampus"). row: who answered,
    and how ("zim_tiny + pymatting"). sample: on what. values: metric key -> number."""

    case: str
    row: str
    sample: str
    values: Mapping[str, float]


class Failure(NamedTuple):
    """An answer that did not come, and why."""

    row: str
    sample: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison of predictors in one adapter.

    title: what was compared on what. measurements: in the order in which rows are to appear. tiles: lines of pictures
    for the figure. notes: sentences under the table.
    """

    title: str
    metrics: tuple[Metric, ...]
    measurements: Sequence[Measurement]
    tiles: Sequence[Sequence[Tile]] = ()
    curves: Sequence[Curve] = ()
    notes: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def cases(self) -> list[str]:
        """The cases, in the order of their first measurement."""
        return list(dict.fromkeys(m.case for m in self.measurements))

    def rows(self, case: str) -> list[str]:
        """The rows of a case, in the order of their first measurement."""
        return list(dict.fromkeys(m.row for m in self.measurements if m.case == case))

    def values(self, case: str, row: str, key: str) -> list[float]:
        """All finite figures of one cell."""
        found = [m.values.get(key, math.nan) for m in self.measurements if (m.case, m.row) == (case, row)]
        return [float(value) for value in found if math.isfinite(value)]

    def mean(self, case: str, row: str, key: str) -> float:
        """Mean of one cell over its samples.

        Raises:
            ConfigError: there is no such figure.
        """
        found = self.values(case, row, key)
        if not found:
            raise ConfigError(f"comparison: expected figures of {key!r} for row {row!r} of case {case!r}, got none")
        return float(np.mean(found))

    def count(self, case: str, row: str) -> int:
        """Samples behind a row."""
        return sum((m.case, m.row) == (case, row) for m in self.measurements)


def text_table(comparison: Comparison) -> str:
    """The tables of all cases as plain text; the best figure of a column carries a star."""
    parts = [comparison.title]
    for case in comparison.cases():
        table = _table(comparison, case)
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in table
        ]
        parts.append("\n".join([case, *(line.rstrip() for line in lines)]))
    return "\n\n".join([*parts, *_remarks(comparison)]) + "\n"


def markdown_table(comparison: Comparison) -> str:
    """The same as Markdown, with the standard deviation behind each mean of several samples."""
    parts = [f"**{comparison.title}**"]
    for case in comparison.cases():
        head, *body = _table(comparison, case, spread=True)
        rule = "|".join(["---"] + ["---:"] * (len(head) - 1))
        lines = [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in body)]
        parts.append("\n".join([f"*{case}*", "", *lines]))
    return "\n\n".join([*parts, *_remarks(comparison)]) + "\n"


def json_table(comparison: Comparison) -> dict[str, Any]:
    """Everything but the pictures, ready for `json.dumps`; figures that are not finite become null."""
    means = {
        case: {
            row: {
                m.key: {"mean": float(np.mean(found)), "std": float(np.std(found)), "count": len(found)}
                for m in comparison.metrics
                if (found := comparison.values(case, row, m.key))
            }
            for row in comparison.rows(case)
        }
        for case in comparison.cases()
    }
    return {
        "title": comparison.title,
        "settings": dict(comparison.settings),
        "means": means,
        "measurements": [
            {"case": m.case, "row": m.row, "sample": m.sample, "values": {k: _finite(v) for k, v in m.values.items()}}
            for m in comparison.measurements
        ],
        "curves": [
            {
                "title": c.title,
                "x": list(c.x),
                "series": {name: [_finite(y) for y in ys] for name, ys in c.series.items()},
            }
            for c in comparison.curves
        ],
        "notes": list(comparison.notes),
        "failures": [f._asdict() for f in comparison.failures],
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _table(comparison: Comparison, case: str, *, spread: bool = False) -> list[list[str]]:
    used = [m for m in comparison.metrics if any(comparison.values(case, r, m.key) for r in comparison.rows(case))]
    best = {m.key: _best(comparison, case, m) for m in used}
    arrows = {True: "↑", False: "↓"}
    table = [["", "n", *(f"{m.title} {arrows[m.higher]}" for m in used)]]
    for row in comparison.rows(case):
        cells = [row, str(comparison.count(case, row))]
        for m in used:
            found = comparison.values(case, row, m.key)
            text = f"{np.mean(found):.{m.digits}f}" if found else "-"
            star = "*" if found and text == best[m.key] else ""
            around = f" ± {np.std(found):.{m.digits}f}" if spread and len(found) > 1 else ""
            cells.append(f"{text}{around}{star}")
        table.append(cells)
    return table


def _best(comparison: Comparison, case: str, metric: Metric) -> str:
    means = [np.mean(v) for row in comparison.rows(case) if (v := comparison.values(case, row, metric.key))]
    return f"{max(means) if metric.higher else min(means):.{metric.digits}f}"


def _remarks(comparison: Comparison) -> list[str]:
    remarks = list(comparison.notes)
    if comparison.failures:
        listed = [f"- {f.row} on {f.sample}: {f.message}" for f in comparison.failures[:20]]
        remarks.append("\n".join([f"{len(comparison.failures)} failures:", *listed]))
    return remarks
