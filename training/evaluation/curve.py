"""Learning curves from checkpoints: a score against the training step in their metadata."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from zim.checkpoints import read_checkpoint
from zim.errors import CheckpointError, DataError
from zim.evaluation.results import SAM_SUFFIXES, BenchmarkResult
from zim.evaluation.scoring import HIGHER_IS_BETTER, SCORE_NAMES
from zim.files import atomic_write

__all__ = ["SCORE_NAMES", "Training", "curves", "draw", "trainings_of"]


class Training(NamedTuple):
    """What a checkpoint says of itself: the model that was trained, and how many steps."""

    model: str
    step: int


def trainings_of(names: Iterable[str]) -> dict[str, Training]:
    """The checkpoints among model names that state their step; others are left out."""
    found = {}
    for name in names:
        path = Path(name)
        if path.suffix != ".safetensors" or not path.is_file():
            continue
        try:
            checkpoint = read_checkpoint(path)
            step = int(checkpoint.metadata["step"])
        except (CheckpointError, KeyError, ValueError):
            continue
        model = checkpoint.metadata.get("model") or str(checkpoint.config.get("architecture", "model"))
        found[name] = Training(model, step)
    return found


Curves = dict[str, tuple[list[int], list[float]]]


def curves(result: BenchmarkResult, trainings: dict[str, Training], score: str, split: str = "all") -> Curves:
    """Model (and, of a SAM, its row) -> steps in order, and the mean score at each; unanswered ones are left out.

    Raises:
        DataError: no checkpoint states its step, or none was answered for.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for name, training in trainings.items():
        for suffix in ("", *SAM_SUFFIXES):
            value = result.aggregate(name + suffix, split).get(score)
            if value is not None:
                points.setdefault(training.model + suffix, []).append((training.step, value))
    if not points:
        raise DataError("--curve: expected checkpoints with a step in their metadata among --models, found none")
    return {
        line: ([step for step, _ in sorted(found)], [value for _, value in sorted(found)])
        for line, found in points.items()
    }


def draw(
    lines: Curves, score: str, out: str | Path, *, title: str = "", others: Sequence[tuple[str, float]] = ()
) -> None:
    """Write the picture, atomically; `others`, rows without a step, are dotted lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (name, (steps, values)) in enumerate(lines.items()):
        axes.plot(steps, values, marker="o", label=name, color=f"C{number}")
    for number, (name, value) in enumerate(others):
        axes.axhline(value, linestyle=":", color="grey", alpha=0.9 - 0.2 * (number % 4), label=name)
    axes.set_xlabel("training step")
    axes.set_ylabel(f"{score}, {'higher' if score in HIGHER_IS_BETTER else 'lower'} is better")
    axes.set_title(title, fontsize="small")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with atomic_write(out) as temporary:
        figure.savefig(temporary, dpi=120)
