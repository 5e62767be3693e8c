"""An evaluation as Markdown, which is also what the terminal shows, and as JSON."""

from typing import Any

from zim.evaluation.machine import machine_line
from zim.evaluation.report import LEGEND, json_report, markdown_report
from zim.evaluation.results import BenchmarkResult

from .run import Evaluation
from .tables import (
    RATIO_SCORES,
    SET_SCORES,
    STRETCH,
    markdown,
    paper_table,
    relative_error,
    set_means,
    set_table,
    size_table,
    stretch_table,
    tags_of,
)

NO_SAM = "Error relative to binary SAM: no SAM among the models (sam_tiny is one), so no ratio."
MAX_LISTED = 20


def summary(evaluation: Evaluation) -> str:
    """The tables of the paper, by size and by data set, the ratio to binary SAM, and what was left out."""
    whole = evaluation.whole
    size = f"long side {whole.long_side}" if whole.long_side else "original size"
    parts = [
        f"{whole.dataset}: {evaluation.items} items, {whole.sample_count} objects, prompt {whole.prompt_rule}, {size}; "
        f"{whole.date}, {machine_line(whole.machine)}",
        f"### {' and '.join(tags_of(whole))} objects\n\n{markdown(paper_table(whole))}",
        f"### By size of the object\n\n{markdown(size_table(whole))}",
        *(f"### {title}\n\n{markdown(set_table(whole, evaluation.sets, title))}" for title in _titles(evaluation)),
    ]
    ratios = stretch_table(whole)
    title = "### Error relative to binary SAM (below 1 is better)"
    parts.append(NO_SAM if ratios is None else f"{title}\n\n{markdown(ratios)}")
    return "\n\n".join([*parts, *_left_out(evaluation), LEGEND]) + "\n"


def _titles(evaluation: Evaluation) -> list[str]:
    """Overlap always; errors by data set only where there are several, since the first table has them otherwise."""
    return list(SET_SCORES) if len(evaluation.sets) > 1 else ["mIoU", "boundary IoU"]


def _left_out(evaluation: Evaluation) -> list[str]:
    """Quarantined and excluded items, and failures: how many, and the first ones by name."""
    quarantined = [f"{item.key}: {item.file}: {item.reason}" for item in evaluation.quarantined]
    excluded = [f"{data_set}: {key} ({why})" for data_set, key, why in evaluation.excluded]
    failures = [f"{failure.row} on {failure.sample}: {failure.message}" for failure in evaluation.whole.failures]
    groups = {
        "items quarantined, because they cannot be read": quarantined,
        "items excluded": excluded,
        "failures of a model, or of an object without a prompt (row dataset)": failures,
    }
    parts = []
    for title, lines in groups.items():
        shown = [f"- {line}" for line in lines[:MAX_LISTED]]
        more = [f"- and {len(lines) - len(shown)} more, see the JSON"] if len(lines) > len(shown) else []
        parts.append("\n".join([f"{len(lines)} {title}{':' if lines else '.'}", *shown, *more]))
    return parts


def markdown_text(evaluation: Evaluation) -> str:
    """The summary, then the benchmark's own tables of every split."""
    details = markdown_report(evaluation.whole)
    return f"Command: `{evaluation.whole.command}`\n\n{summary(evaluation)}\n## All numbers\n\n{details}"


def json_value(evaluation: Evaluation, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything but the pictures, ready for `json.dumps`."""
    whole = evaluation.whole
    split = "fine" if "fine" in tags_of(whole) else "all"
    return {
        **json_report(whole),
        "settings": settings,
        "item_count": evaluation.items,
        "data_sets": {name: result.aggregates() for name, result in evaluation.sets.items()},
        "means": {
            title: {row: set_means(whole, evaluation.sets, row, score) for row in whole.row_names}
            for title, (score, _) in SET_SCORES.items()
        },
        "relative_to_binary_sam": {
            "split": split,
            "stretch": STRETCH,
            "ratios": {sam: _ratios(whole, f"{sam} (binary)", split) for sam in whole.sam_names()},
        },
        "quarantined": [item._asdict() for item in evaluation.quarantined],
        "excluded": [{"data_set": name, "item": key, "why": why} for name, key, why in evaluation.excluded],
    }


def _ratios(whole: BenchmarkResult, reference: str, split: str) -> dict[str, dict[str, float | None]]:
    """row -> score -> error relative to the reference row."""
    models = [row for row in whole.row_names if row not in whole.trivial_names]
    scores = RATIO_SCORES.values()
    return {row: {score: relative_error(whole, row, reference, score, split) for score in scores} for row in models}
