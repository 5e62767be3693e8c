"""Miniature copies of data sets: pictures of a few pixels, under the names of the real files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIZE = (12, 16)  # height, width


class Mini:
    """Writes files below a folder and remembers nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def photo(self, name: str, size: tuple[int, int] = SIZE, value: int = 90) -> Path:
        """A photograph of one colour."""
        return self._save(name, np.full((*size, 3), value, np.uint8))

    def gray(self, name: str, pixels: np.ndarray | None = None, size: tuple[int, int] = SIZE) -> Path:
        """A matte: a ramp over the columns, or these pixels."""
        ramp = np.tile(np.linspace(0, 255, size[1]).astype(np.uint8), (size[0], 1))
        return self._save(name, ramp if pixels is None else pixels)

    def pairs(self, images: str, alphas: str, stems: Sequence[str]) -> None:
        """Photographs (.jpg) and mattes (.png) of these names."""
        for value, stem in enumerate(stems):
            self.photo(f"{images}/{stem}.jpg", value=value * 20)
            self.gray(f"{alphas}/{stem}.png")

    def json(self, name: str, value: Any) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
        return path

    def cut(self, name: str, share: float = 0.7) -> Path:
        """Keep only the first part of a file."""
        path = self.root / name
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    def _save(self, name: str, pixels: np.ndarray) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    """Writer of a miniature data set in `mini.root`."""
    return Mini(tmp_path / "data")


def encode(mask: np.ndarray, compressed: bool = True) -> dict[str, Any]:
    """COCO's run-length encoding, bit by bit from its definition."""
    runs, current = [0], 0
    for pixel in mask.T.ravel().astype(int).tolist():
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    size = [int(side) for side in mask.shape]
    if not compressed:
        return {"size": size, "counts": runs}
    text = ""
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        while True:
            group, number = number & 31, number >> 5
            done = number == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return {"size": size, "counts": text}


@pytest.fixture
def rle_of() -> Any:
    """`rle_of(mask, compressed=True)`: an encoder of its own making."""
    return encode
