"""An ablation's runs as a table with mean and spread over seeds, as a picture with error bars, and as JSON."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from zim.evaluation.machine import describe_machine, machine_line, now
from zim.files import atomic_write

from ..evaluation.tables import Table, markdown
from .runs import PROMPTS, Measured
from .variants import AXES, PAPER, TITLES

SCORES = {"SAD": "sad", "MSE": "mse", "Grad": "grad"}
"""Heading -> score, as in the paper's ablation."""
SPLITS = ("fine", "coarse")

Runs = dict[str, dict[int, Measured]]
"""Variant -> seed -> what was measured."""


class Spread(NamedTuple):
    """mean: over seeds. spread: sample standard deviation, None of a single seed. values: one a seed."""

    mean: float
    spread: float | None
    values: list[float]

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.spread is None else f"{self.mean:.2f} ± {self.spread:.2f}"


def spread_of(measured: dict[int, Measured], prompt: str, split: str, score: str) -> Spread | None:
    """One score over the seeds; None when no seed has it."""
    values = [
        float(found[prompt][split][score])
        for _, found in sorted(measured.items())
        if score in found[prompt].get(split, {})
    ]
    if not values:
        return None
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, values)


def table_of(axis: str, runs: Runs, split: str) -> Table:
    """A row a variant, SAD, MSE and Grad of each prompt; the paper's figures beside them where it gives some."""
    paper = PAPER.get(axis, {}) if split == "fine" else {}
    heading = [f"{prompt}: {title}" for prompt in PROMPTS for title in SCORES]
    table = [[f"{split} objects", "seeds", *heading, *(["paper, box: SAD / MSE / Grad"] if paper else [])]]
    for variant in AXES[axis]:
        measured = runs.get(variant.name, {})
        cells = [spread_of(measured, prompt, split, score) for prompt in PROMPTS for score in SCORES.values()]
        figures = [" / ".join(f"{value:g}" for value in paper[variant.name])] if paper else []
        table.append(
            [variant.name, str(len(measured)), *("-" if cell is None else str(cell) for cell in cells), *figures]
        )
    return table


def markdown_text(axis: str, runs: Runs, about: dict[str, Any]) -> str:
    """The report; `about` is what `json_value` was given."""
    budget = about["budget"]
    parts = [
        f"## {TITLES[axis]}",
        f"{about['budget_name']} budget, the same for all: {budget['steps']} steps of {budget['images']} images x "
        f"{budget['prompts']} prompts at {budget['side']} px; start: {about['init'] or 'random weights'}; measured on "
        f"{about['heldout']} at {budget['side']} px input; {about['date']}, {machine_line(about['machine'])}.",
        *(markdown(table_of(axis, runs, split)) for split in SPLITS),
        "Lower is better. Mean ± sample standard deviation over seeds: differences below the spread mean nothing. "
        "MSE and Grad are x 1000, SAD / 1000 (MicroMat protocol, whole image). The paper's figures are of another test "
        "set, model and budget: only the order can be compared.",
        f"Command: `{about['command']}`",
    ]
    return "\n\n".join(parts) + "\n"


def about_run(*, budget_name: str, budget: dict[str, Any], init: str, heldout: str, command: str) -> dict[str, Any]:
    """What the report says of an ablation besides its figures."""
    return {
        "date": now(),
        "machine": describe_machine(),
        "command": command,
        "budget_name": budget_name,
        "budget": budget,
        "init": init,
        "heldout": heldout,
    }


def json_value(axis: str, runs: Runs, about: dict[str, Any]) -> dict[str, Any]:
    """Summary and every run, ready for `json.dumps`."""
    summary = {
        variant: {
            prompt: {
                split: {
                    score: spread._asdict()
                    for score in SCORES.values()
                    if (spread := spread_of(measured, prompt, split, score)) is not None
                }
                for split in SPLITS
            }
            for prompt in PROMPTS
        }
        for variant, measured in runs.items()
        if measured
    }
    return {
        "axis": axis,
        **about,
        "summary": summary,
        "runs": [
            {"variant": variant, "seed": seed, "measured": found}
            for variant, measured in runs.items()
            for seed, found in sorted(measured.items())
        ],
    }


def draw(axis: str, runs: Runs, out: Path, split: str = "fine") -> None:
    """A panel a prompt and score: a bar a variant with its spread as error bar, a dot a seed; written atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [variant.name for variant in AXES[axis] if runs.get(variant.name)]
    figure = Figure(figsize=(3.6 * len(SCORES), 1.6 + 0.5 * len(names) * len(PROMPTS)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(PROMPTS), len(SCORES), squeeze=False)
    for line, prompt in zip(panels, PROMPTS, strict=True):
        for axes, (title, score) in zip(line, SCORES.items(), strict=True):
            for place, name in enumerate(names):
                spread = spread_of(runs[name], prompt, split, score)
                if spread is None:
                    continue
                axes.barh(place, spread.mean, xerr=spread.spread, color=f"C{place}", alpha=0.75, capsize=4)
                axes.plot(spread.values, [place] * len(spread.values), "k.", markersize=4)
            axes.set_title(f"{prompt}: {title}", fontsize="small")
            axes.set_yticks(range(len(names)), names if axes is line[0] else [""] * len(names), fontsize="small")
            axes.invert_yaxis()
            axes.grid(axis="x", alpha=0.3)
    figure.suptitle(f"{TITLES[axis]} ({split} objects, lower is better)", fontsize="medium")
    with atomic_write(out) as temporary:
        figure.savefig(temporary, dpi=120)
