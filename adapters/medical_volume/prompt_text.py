"""Prompts as people write them: on a command line, or in the rows of a CSV file."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zim.errors import PromptError

from .geometry import Geometry
from .prompts import BoxPrompt, Coordinates, PointPrompt, VolumePrompt

COLUMNS = ("volume", "label", "kind", "values", "slice", "coordinates")
"""Of a CSV file; `slice` and `coordinates` may be missing or empty."""

KINDS = {"box": (4,), "box3d": (6,), "point": (3, 4)}
"""Numbers of each kind: box X1 Y1 X2 Y2, box3d X1 Y1 Z1 X2 Y2 Z2, point X Y LABEL or X Y Z LABEL."""

DEFAULT_LABEL = "object"


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """One prompt, not yet tied to a volume.

    values: as in `KINDS`; X and Y of `box` and of a point with three numbers are the file's two other axes, in order.
    slice: number along the slice axis, for those; None for kinds that say it themselves.
    """

    label: str
    kind: str
    values: tuple[float, ...]
    slice: int | None = None
    coordinates: Coordinates = "voxel"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or len(self.values) not in KINDS[self.kind]:
            kinds = ", ".join(f"{kind} with {' or '.join(map(str, n))} numbers" for kind, n in KINDS.items())
            raise PromptError(f"prompt: expected {kinds}, got {self.kind} with {len(self.values)}")
        if not re.fullmatch(r"[\w.+-][\w.+ -]{0,63}", self.label):
            raise PromptError(f"label: expected letters, digits, dots, dashes and spaces, got {self.label!r}")
        flat = self.kind == "box" or len(self.values) == 3
        if flat and self.coordinates == "world":
            raise PromptError(
                f"{self.kind}: world coordinates need x, y and z: use box3d (a flat one is fine) or point X Y Z LABEL"
            )
        if flat and self.slice is None:
            raise PromptError(f"{self.kind}: expected --slice K with it, got none")
        if not flat and self.slice is not None:
            raise PromptError(f"{self.kind}: it says its slice itself; expected no --slice, got {self.slice}")


def volume_prompt(text: PromptText, geometry: Geometry, axis: int) -> VolumePrompt:
    """Tie a prompt to a volume whose slices follow along canonical axis `axis`.

    Raises:
        PromptError: a point's label is not 0 or 1, or the slice is not in the volume.
    """
    numbers = list(text.values)
    if text.kind == "point":
        label = numbers.pop()
        if label not in (0, 1):
            raise PromptError(f"point: expected label 1 (object) or 0 (background), got {label:g}")
        at = numbers if len(numbers) == 3 else _with_slice(numbers, text, geometry, axis)
        return PointPrompt(at=(at[0], at[1], at[2]), label=int(label), coordinates=text.coordinates)
    half = len(numbers) // 2
    one, other = numbers[:half], numbers[half:]
    if text.kind == "box":
        one, other = (_with_slice(corner, text, geometry, axis) for corner in (one, other))
    return BoxPrompt(
        corner=(one[0], one[1], one[2]), opposite=(other[0], other[1], other[2]), coordinates=text.coordinates
    )


def _with_slice(numbers: Sequence[float], text: PromptText, geometry: Geometry, axis: int) -> list[float]:
    stored_axis = geometry.reorientation.axes[axis]
    count = geometry.shape[stored_axis]
    if text.slice is None or not 0 <= text.slice < count:
        raise PromptError(f"slice: expected 0 to {count - 1} along {'ijk'[stored_axis]}, got {text.slice}")
    full = list(numbers)
    full.insert(stored_axis, float(text.slice))
    return full


def read_prompt_table(path: Path) -> dict[str, list[PromptText]]:
    """The prompts of a CSV file by volume, both in the order of the file.

    Raises:
        PromptError: no such file, columns that are missing, or a row that makes no sense; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS[:4] if name not in (reader.fieldnames or [])]
            if missing:
                raise PromptError(f"{path}: expected columns {', '.join(COLUMNS)}, {missing[0]} is missing")
            found: dict[str, list[PromptText]] = {}
            for row in reader:
                try:
                    found.setdefault((row["volume"] or "").strip(), []).append(_row(row))
                except (PromptError, ValueError, AttributeError, TypeError) as error:
                    raise PromptError(f"{path}, line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PromptError(f"{path}: cannot be read as a CSV file ({error})") from error
    if not found:
        raise PromptError(f"{path}: expected at least one prompt, got none")
    return found


def _row(row: dict[str, str]) -> PromptText:
    coordinates = (row.get("coordinates") or "voxel").strip() or "voxel"
    if coordinates not in ("voxel", "world"):
        raise PromptError(f"coordinates: expected voxel or world, got {coordinates!r}")
    number = (row.get("slice") or "").strip()
    return PromptText(
        label=(row["label"] or DEFAULT_LABEL).strip() or DEFAULT_LABEL,
        kind=row["kind"].strip(),
        values=tuple(float(part) for part in row["values"].replace(",", " ").split()),
        slice=int(number) if number else None,
        coordinates="world" if coordinates == "world" else "voxel",
    )


def by_label(texts: Sequence[PromptText]) -> dict[str, list[PromptText]]:
    """Prompts of each object, objects in the order of their first prompt."""
    groups: dict[str, list[PromptText]] = {}
    for text in texts:
        groups.setdefault(text.label, []).append(text)
    return groups
