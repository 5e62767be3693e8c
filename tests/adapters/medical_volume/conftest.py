"""Volumes and headers for the tests of the medical adapter."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")


@pytest.fixture
def nifti_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a NIfTI file of any array and affine and returns its path."""

    def write(array: np.ndarray, affine: np.ndarray | None = None, name: str = "volume.nii.gz", **forms: Any) -> Path:
        image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
        for form, code in forms.items():
            getattr(image, f"set_{form}")(image.affine, code)
        image.to_filename(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def real_data() -> Path:
    """The folder of real files."""
    folder = os.environ.get("ZIM_DATA")
    if not folder:
        pytest.skip("ZIM_DATA is not set: real volumes are not here")
    return Path(folder)


class GreyPredictor:
    """Answers with bright pixels inside the box, or connected to a point: no model, no truth."""

    def __init__(self) -> None:
        self.shown = self.asked = 0
        self.fail_after: int | None = None

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.grey = image[..., 0].astype(np.float32)
        self.shown += 1

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.fail_after is not None and self.asked >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += 1
        logits = (self.grey - 127) / 12
        if box is not None:
            rows, columns = np.mgrid[: logits.shape[0], : logits.shape[1]]
            x1, y1, x2, y2 = np.ravel(box)
            inside = (columns + 0.5 >= x1) & (columns + 0.5 <= x2) & (rows + 0.5 >= y1) & (rows + 0.5 <= y2)
            logits = np.where(inside, logits, -10)
        return logits[None], np.ones(1), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def grey_predictor() -> GreyPredictor:
    return GreyPredictor()


def _turned(degrees: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def _affine_of(spacing: tuple[float, float, float], degrees: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = _turned(degrees) @ np.diag(spacing)
    affine[:3, 3] = (-30, 12.5, 7)
    return affine


def _stored_ways(array: np.ndarray, affine: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The 48 arrays and affines that mean the same volume."""
    ways = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((4, 4))
            matrix[3, 3] = 1
            for new, old in enumerate(axes):
                matrix[old, new] = signs[new]
                matrix[old, 3] = array.shape[old] - 1 if signs[new] < 0 else 0
            flips = tuple(slice(None, None, sign) for sign in signs)
            ways.append((np.transpose(array, axes)[flips], affine @ matrix))
    return ways


@pytest.fixture
def affine_of() -> Callable[..., np.ndarray]:
    """An affine of a spacing and of turns about the three axes, in degrees."""
    return _affine_of


@pytest.fixture
def stored_ways() -> Callable[..., list[tuple[np.ndarray, np.ndarray]]]:
    """The 48 arrays and affines that mean the same volume."""
    return _stored_ways
