"""A benchmark's result as a table for people, as Markdown and as JSON."""

from typing import Any

from zim.evaluation.machine import machine_line
from zim.evaluation.results import BenchmarkResult

COLUMNS = (
    ("MSE", "mse", 1),
    ("SAD", "sad", 1),
    ("MAE", "mae", 1),
    ("Grad", "grad", 1),
    ("Conn", "conn", 1),
    ("band MSE", "band_mse", 1),
    ("band SAD", "band_sad", 1),
    ("band MAE", "band_mae", 1),
    ("band Grad", "band_grad", 1),
    ("band Conn", "band_conn", 1),
    ("band classic Grad", "band_classic_grad", 2),
    ("IoU", "iou", 3),
    ("BIoU", "boundary_iou", 3),
    ("image s", "median_set_image_seconds", 3),
    ("prompt s", "median_prompt_seconds", 3),
)
RATIO_SCORES = (
    ("MSE", "mse"),
    ("SAD", "sad"),
    ("Grad", "grad"),
    ("band MSE", "band_mse"),
    ("band Grad", "band_grad"),
)
LEGEND = (
    "Means per instance. SAD, Conn: sums / 1000; MSE, MAE, Grad: means x 1000 (MicroMat protocol); band: "
    "where 0.02 < alpha < 0.98, dilated by 10 px; IoU and boundary IoU of alpha > 0.5. Seconds are medians. "
    "The rows empty, box and "
    "thresholded truth are trivial answers that make the others readable."
)
MAX_LISTED_FAILURES = 20

Table = list[list[str]]


def text_report(result: BenchmarkResult) -> str:
    """Plain-text tables of all splits, ratios and failures."""
    parts = [_headline(result)]
    for title, table in _tables(result):
        parts.append(f"{title}\n{_plain(table)}")
    return "\n\n".join([*parts, *_failure_paragraph(result), LEGEND]) + "\n"


def markdown_report(result: BenchmarkResult) -> str:
    """The same as Markdown."""
    parts = [_headline(result), f"Command: `{result.command}`"]
    for title, table in _tables(result):
        parts.append(f"### {title}\n\n{_markdown(table)}")
    return "\n\n".join([*parts, *_failure_paragraph(result), LEGEND]) + "\n"


def json_report(result: BenchmarkResult) -> dict[str, Any]:
    """Everything but the pictures, ready for `json.dumps`."""
    return {
        "date": result.date,
        "command": result.command,
        "machine": result.machine,
        "dataset": result.dataset,
        "prompt": result.prompt_rule,
        "long_side": result.long_side,
        "sample_count": result.sample_count,
        "rows": result.row_names,
        "trivial_rows": result.trivial_names,
        "aggregates": result.aggregates(),
        "ratios": result.ratios(),
        "failures": [vars(failure) for failure in result.failures],
        "images": [vars(row) for row in result.rows],
    }


def _headline(result: BenchmarkResult) -> str:
    size = f"long side {result.long_side}" if result.long_side else "original size"
    return (
        f"{result.dataset}: {result.sample_count} samples, prompt {result.prompt_rule}, {size}; "
        f"{result.date}, {machine_line(result.machine)}"
    )


def _tables(result: BenchmarkResult) -> list[tuple[str, Table]]:
    tables = []
    for split, rows in result.aggregates().items():
        counts = {row: numbers["count"] for row, numbers in rows.items()}
        if split != "all" and counts == {row: len(result.rows_of(row)) for row in counts}:
            continue  # the split is the whole set; once is enough
        tables.append((f"{split} ({max(n['count'] for n in rows.values())} samples)", _split_table(rows)))
    for reference, rows in result.ratios().items():
        if rows:
            tables.append(
                (f"Error relative to {reference}, all samples (below 1 is better)", _ratio_table(rows))
            )
    return tables


def _split_table(rows: dict[str, dict[str, Any]]) -> Table:
    used = [column for column in COLUMNS if any(column[1] in numbers for numbers in rows.values())]
    table = [["", "n", *(title for title, _, _ in used)]]
    for row, numbers in rows.items():
        failed = f" ({numbers['failures']} failed)" if numbers.get("failures") else ""
        cells = [_cell(numbers.get(key), digits) for _, key, digits in used]
        table.append([row, f"{numbers['count']}{failed}", *cells])
    return table


def _ratio_table(rows: dict[str, dict[str, dict[str, float]]]) -> Table:
    table = [["", *(title for title, _ in RATIO_SCORES)]]
    for row, splits in rows.items():
        table.append([row, *(_cell(splits["all"].get(key), 3) for _, key in RATIO_SCORES)])
    return table


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(table: Table) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown(table: Table) -> str:
    head, *body = table
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['---:'] * (len(head) - 1))}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in body])


def _failure_paragraph(result: BenchmarkResult) -> list[str]:
    if not result.failures:
        return []
    lines = [f"- {f.row} on {f.sample}: {f.message}" for f in result.failures[:MAX_LISTED_FAILURES]]
    more = len(result.failures) - len(lines)
    return [
        "\n".join(
            [
                f"{len(result.failures)} failures:",
                *lines,
                *([f"- and {more} more, see the JSON"] if more else []),
            ]
        )
    ]
