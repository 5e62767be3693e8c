"""Tables of an evaluation in the shape of the paper's: each a list of rows of text, the first one the heading."""

from collections.abc import Sequence
from statistics import fmean

from zim.evaluation.results import SAM_SUFFIXES, BenchmarkResult

Table = list[list[str]]

PAPER_SCORES = {"SAD": "sad", "MSE": "mse", "MAE": "mae", "Grad": "grad", "Conn": "conn"}
"""Heading -> score, in the order of the paper's table."""
SIZE_SCORES = {"SAD": "sad", "MSE": "mse", "Grad": "grad"}
SIZE_NAMES = {"S": "small (< 1%)", "M": "medium (< 10%)", "L": "large"}
RATIO_SCORES = {**PAPER_SCORES, "band MSE": "band_mse", "band Grad": "band_grad"}
STRETCH = {"MSE": 0.17, "Grad": 0.33}
"""What the paper's ZIM has of its binary SAM's error on fine objects with a box: the stretch of this project."""
SET_SCORES = {"mIoU": ("iou", 4), "boundary IoU": ("boundary_iou", 4), "MSE": ("mse", 1), "SAD": ("sad", 1)}
"""Heading -> score and digits of the tables by data set."""


def markdown(table: Table) -> str:
    """A Markdown table, first column to the left, the others to the right, padded so that plain text reads well."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [f":{'-' * widths[0]}-", *(f"-{'-' * width}:" for width in widths[1:])]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def tags_of(result: BenchmarkResult) -> list[str]:
    """fine and coarse, as far as there are such objects; else all."""
    found = [tag for tag in ("fine", "coarse") if any(row.tag == tag for row in result.rows)]
    return found or ["all"]


def paper_table(result: BenchmarkResult) -> Table:
    """Every row's SAD, MSE, MAE, Grad and Conn on fine and on coarse objects."""
    return _split_table(result, tags_of(result), PAPER_SCORES, {})


def size_table(result: BenchmarkResult) -> Table:
    """Every row's errors by the size of the object, as far as there are such objects."""
    sizes = [size for size in SIZE_NAMES if any(row.size == size for row in result.rows)]
    return _split_table(result, sizes, SIZE_SCORES, SIZE_NAMES)


def _split_table(
    result: BenchmarkResult, splits: Sequence[str], scores: dict[str, str], names: dict[str, str]
) -> Table:
    counts = {split: len({row.sample for row in result.rows if row.belongs_to(split)}) for split in splits}
    heading = [
        f"{names.get(split, split)}, n = {counts[split]}: {title}" if i == 0 else title
        for split in splits
        for i, title in enumerate(scores)
    ]
    table = [["", *heading]]
    for name in result.row_names:
        numbers = {split: result.aggregate(name, split) for split in splits}
        table.append([name, *(_cell(numbers[split].get(score), 3) for split in splits for score in scores.values())])
    return table


def relative_error(result: BenchmarkResult, row: str, reference: str, score: str, split: str = "all") -> float | None:
    """Mean error of a row divided by that of another, over the objects that both answered; None without any."""
    own, other = (
        {r.sample: r.scores[score] for r in result.rows_of(name, split) if score in r.scores}
        for name in (row, reference)
    )
    common = [sample for sample in own if sample in other]
    below = fmean(other[sample] for sample in common) if common else 0.0
    return fmean(own[sample] for sample in common) / below if below > 0 else None


def stretch_table(result: BenchmarkResult) -> Table | None:
    """Errors relative to binary SAM, beside what the paper's ZIM reaches; None when no SAM took part.

    On fine objects where there are some, else on all.
    """
    split = "fine" if "fine" in tags_of(result) else "all"
    table = [[f"{split} objects, prompt {result.prompt_rule}", *RATIO_SCORES]]
    models = [row for row in result.row_names if row not in result.trivial_names]
    for sam in result.sam_names():
        binary = sam + SAM_SUFFIXES[0]
        for row in models:
            if row != binary:
                ratios = (relative_error(result, row, binary, score, split) for score in RATIO_SCORES.values())
                table.append([f"{row} / {binary}", *(_cell(ratio, 3) for ratio in ratios)])
    if len(table) == 1:
        return None
    goal = [f"{STRETCH[title]:.2f}" if title in STRETCH else "-" for title in RATIO_SCORES]
    return [*table, ["stretch: the paper's ZIM / SAM, fine, box", *goal]]


def set_means(result: BenchmarkResult, sets: dict[str, BenchmarkResult], row: str, score: str) -> dict[str, float]:
    """Means of one score of one row: by data set, over "all objects", and over the "mean of data sets".

    The last one is there when the row has answers in every data set.
    """
    means = {
        name: fmean(values)
        for name, found in {**sets, "all objects": result}.items()
        if (values := [r.scores[score] for r in found.rows_of(row) if score in r.scores])
    }
    if all(name in means for name in sets):
        means["mean of data sets"] = fmean(means[name] for name in sets)
    return means


def set_table(result: BenchmarkResult, sets: dict[str, BenchmarkResult], title: str) -> Table:
    """One score of `SET_SCORES`: a column a data set, then all objects, then the mean of the data sets."""
    score, digits = SET_SCORES[title]
    columns = [*(sets if len(sets) > 1 else ()), "all objects", *(["mean of data sets"] if len(sets) > 1 else ())]
    table = [[title, *columns], ["objects", *(str(_objects(result, sets, column)) for column in columns)]]
    for row in result.row_names:
        means = set_means(result, sets, row, score)
        table.append([row, *(_cell(means.get(column), digits) for column in columns)])
    return table


def _objects(result: BenchmarkResult, sets: dict[str, BenchmarkResult], column: str) -> int | str:
    if column == "mean of data sets":
        return "-"
    return len({row.sample for row in sets.get(column, result).rows})


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
