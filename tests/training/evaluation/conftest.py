"""Small data sets with known answers, and predictors that read them off the picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

HW = (40, 50)
RADII = {"fine/a": 15.0, "fine/b": 6.0, "coarse/c": 14.0, "coarse/d": 1.5}


@pytest.fixture(autouse=True)
def thread_counts() -> Any:
    """Commands under test set the number of threads of this process."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def soft_disc(radius: float) -> np.ndarray:
    y, x = np.mgrid[: HW[0], : HW[1]]
    return np.clip((radius - np.hypot(x - 25, y - 20)) / 3 + 0.5, 0, 1)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def mattes(tmp_path: Path) -> Path:
    """Four photographs whose red channel is their own alpha."""
    for name, radius in RADII.items():
        tag, stem = name.split("/")
        alpha = np.round(soft_disc(radius) * 255).astype(np.uint8)
        save(tmp_path / f"set/{tag}/image/{stem}.png", np.stack([alpha, 0 * alpha, 0 * alpha], -1))
        save(tmp_path / f"set/{tag}/alpha/{stem}.png", alpha)
    return tmp_path / "set"


@pytest.fixture
def labels(tmp_path: Path) -> tuple[Path, Path]:
    """Two label sets: `one` with a photograph of three masks, `two` with two photographs of one mask each."""
    first = np.zeros(HW, np.uint8)
    first[2:12, 3:33], first[20:38, 5:20], first[16:18, 40:42] = 1, 2, 3
    save(tmp_path / "one/label/p.png", first)
    save(tmp_path / "one/image/p.png", np.full((*HW, 3), 90, np.uint8))
    for stem, width in (("q", 10), ("r", 25)):
        label = np.zeros(HW, np.uint8)
        label[:, :width] = 1
        save(tmp_path / f"two/label/{stem}.png", label)
        save(tmp_path / f"two/image/{stem}.png", np.full((*HW, 3), 90, np.uint8))
    return tmp_path / "one", tmp_path / "two"


class Reader:
    """Answers `factor` times the red channel; calls `at(number of the prompt)` before each answer."""

    def __init__(
        self, factor: float = 1.0, *, binary: bool = False, at: Callable[[int], None] = lambda number: None
    ) -> None:
        self.factor, self.at, self.images = factor, at, 0
        self.prompts: list[dict[str, Any]] = []
        if binary:
            self.reports_binary = True

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.truth, self.images = image[..., 0] / 255, self.images + 1

    def predict(self, **prompt: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.prompts.append(prompt)
        self.at(len(self.prompts))
        alpha = np.clip(self.factor * self.truth, 1e-7, 1 - 1e-7)
        count = 3 if prompt.get("multimask_output") else 1
        logits = np.repeat(np.log(alpha / (1 - alpha)).astype(np.float32)[None], count, axis=0)
        return logits, np.ones(count, np.float32), np.zeros((count, 256, 256), np.float32)


@pytest.fixture(scope="session")
def reader_type() -> type[Reader]:
    """The predictor that reads the truth off the picture."""
    return Reader


class Everything:
    """Answers that the whole photograph is the object."""

    def __init__(self) -> None:
        self.clicks: list[tuple[float, ...]] = []

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]

    def predict(self, point_coords: Any = None, **_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.clicks += [tuple(point) for point in point_coords.tolist()]
        return np.full((1, *self.hw), 9.0, np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def everything() -> Everything:
    """The predictor for which all is foreground."""
    return Everything()
