"""Prompts of many photos in one JSON or CSV file."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zim.errors import DataError
from zim.matte_files import PromptOptions

COLUMNS = ("file", "x1", "y1", "x2", "y2", "x", "y", "label", "text")
_BOX, _POINT = COLUMNS[1:5], COLUMNS[5:8]


@dataclass(frozen=True, kw_only=True)
class PhotoPrompts:
    """What to matte in one photo: `drawn` prompts, and objects that `text` names; `whole_frame` is a box like any."""

    drawn: PromptOptions = PromptOptions()
    text: str | None = None
    whole_frame: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to matte."""
        return not (self.drawn.boxes or self.drawn.points or self.text or self.whole_frame)

    def within(self, hw: tuple[int, int]) -> PromptOptions:
        """The drawn prompts in a photo of that height and width, the box of the whole frame among them."""
        if not self.whole_frame:
            return self.drawn
        frame = (0.0, 0.0, float(hw[1]), float(hw[0]))
        return PromptOptions(boxes=(*self.drawn.boxes, frame), points=self.drawn.points)

    def as_json(self) -> dict[str, Any]:
        """For comparison with an earlier run."""
        return {
            "boxes": [list(box) for box in self.drawn.boxes],
            "points": [list(point) for point in self.drawn.points],
            "text": self.text,
            "whole_frame": self.whole_frame,
        }


def read_prompts(path: Path) -> dict[str, PhotoPrompts]:
    """File name of a photo -> its prompts.

    JSON: `{"cat.jpg": {"boxes": [[x1, y1, x2, y2]], "points": [[x, y, label]], "text": "cat"}}`, each key optional.
    CSV: a header with `file` and some of x1, y1, x2, y2, x, y, label, text; a line holds a box, a point, a text or
    several of them, and the lines of a photo add up.

    Raises:
        DataError: the file cannot be read, or an entry is something else; names the photo.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            return {name: _from_lines(name, lines) for name, lines in _lines_of(text, path).items()}
        stored = json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise DataError(f"prompts: expected a JSON or CSV file, cannot read {path} ({error})") from error
    if not isinstance(stored, dict):
        raise DataError(f"prompts: expected a JSON object of file names in {path}, got {type(stored).__name__}")
    return {str(name): _from_entry(str(name), entry) for name, entry in stored.items()}


def _lines_of(text: str, path: Path) -> dict[str, list[Mapping[str, str]]]:
    reader = csv.DictReader(text.splitlines())
    names = reader.fieldnames or []
    if "file" not in names or not set(names) <= set(COLUMNS):
        raise DataError(
            f"prompts: expected file and some of {', '.join(COLUMNS[1:])} as columns of {path}, got {names}"
        )
    grouped: dict[str, list[Mapping[str, str]]] = {}
    for line in reader:
        if None in line or not line["file"]:
            raise DataError(f"prompts: expected a file and {len(names)} fields in line {reader.line_num} of {path}")
        grouped.setdefault(line["file"], []).append({k: (v or "").strip() for k, v in line.items()})
    return grouped


def _from_lines(name: str, lines: list[Mapping[str, str]]) -> PhotoPrompts:
    boxes = list(_complete(name, lines, _BOX))
    points = list(_complete(name, lines, _POINT))
    texts = [line["text"] for line in lines if line.get("text")]
    return _from_entry(name, {"boxes": boxes, "points": points, "text": ". ".join(texts) or None})


def _complete(name: str, lines: list[Mapping[str, str]], columns: tuple[str, ...]) -> Iterator[list[float]]:
    """The lines that fill these columns; one that fills some of them only is an error."""
    for line in lines:
        values = [line.get(column, "") for column in columns]
        if not any(values):
            continue
        try:
            yield [float(value) for value in values]
        except ValueError as error:
            raise DataError(f"prompts of {name}: expected numbers for {', '.join(columns)}, got {values}") from error


def _from_entry(name: str, entry: Any) -> PhotoPrompts:
    if not isinstance(entry, dict) or not set(entry) <= {"boxes", "points", "text"}:
        raise DataError(f"prompts of {name}: expected an object with boxes, points or text, got {entry!r:.80}")
    boxes, points = (_rows(name, key, entry.get(key) or [], width) for key, width in (("boxes", 4), ("points", 3)))
    text = entry.get("text")
    if text is not None and not isinstance(text, str):
        raise DataError(f"prompts of {name}: expected a text in quotes, got {text!r:.80}")
    prompts = PhotoPrompts(
        drawn=PromptOptions(
            boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes),
            points=tuple((x, y, label) for x, y, label in points),
        ),
        text=text or None,
    )
    if prompts.is_empty:
        raise DataError(f"prompts of {name}: expected a box, a point or a text, got none")
    return prompts


def _rows(name: str, key: str, rows: Any, width: int) -> list[list[float]]:
    try:
        array = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"prompts of {name}: expected numbers in {key}, got {rows!r:.80}") from error
    if array.size and (array.ndim != 2 or array.shape[1] != width):
        raise DataError(f"prompts of {name}: expected {key} of {width} numbers each, got {rows!r:.80}")
    if not np.isfinite(array).all():
        raise DataError(f"prompts of {name}: expected finite {key}, got {rows!r:.80}")
    return [[float(value) for value in row] for row in array.reshape(-1, width)]
