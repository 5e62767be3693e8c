"""What the readers of camera files share: text, numbers, and pictures by stem."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".JPG", ".PNG", ".webp", ".bmp", ".tif", ".tiff")


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        DataError: it is missing or no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a readable text file ({error})") from error


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        DataError: it is missing or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: expected JSON ({error})") from error


def read_matrix(path: Path) -> NDArray[np.float64]:
    """A (4, 4) matrix as text, rows on lines.

    Raises:
        DataError: other numbers than sixteen.
    """
    try:
        values = np.array(read_text(path).split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: expected 16 numbers ({error})") from error
    if values.size != 16:
        raise DataError(f"{path}: expected 16 numbers, got {values.size}")
    return values.reshape(4, 4)


def matrix_text(matrix: NDArray[np.floating]) -> str:
    """Rows on lines, every digit kept."""
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in matrix)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name; numbers count as numbers, so that 10 follows 9."""
    found = [path for path in folder.iterdir() if path.suffix in PICTURES] if folder.is_dir() else []
    return sorted(found, key=lambda path: (path.stem.zfill(20), path.name))


def picture_for(stem: Path) -> Path:
    """The picture of that path without its suffix; where there is none, `stem` with .png, for the message."""
    if stem.suffix in PICTURES and stem.is_file():
        return stem
    for suffix in PICTURES:
        candidate = stem.with_name(stem.name + suffix)
        if candidate.is_file():
            return candidate
    return stem if stem.suffix in PICTURES else stem.with_name(stem.name + ".png")
