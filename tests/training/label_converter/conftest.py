"""Converters with a known answer, and pairs that need no data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from training.label_converter.batches import ConverterBatch
from training.label_converter.builders import build_matting
from training.label_converter.config import TEST
from training.label_converter.matting import MaskGuidedMatting
from zim.image_io import save_png


class Echo:
    """Returns the label as the matte."""

    def __init__(self, side: int = 64, fingerprint: str = "echo") -> None:
        self.side, self.fingerprint = side, fingerprint
        self.batches: list[int] = []

    def refine(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert images.shape == (len(labels), self.side, self.side, 3) and images.dtype == np.uint8
        self.batches.append(len(labels))
        return labels.astype(np.float32)


def disc(size_hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> np.ndarray:
    """(H, W) bool."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.hypot(x - centre_xy[0], y - centre_xy[1]) <= radius


class DiscBatches:
    """Soft discs on noise with hard labels, out of the step alone."""

    def __getitem__(self, step: int) -> ConverterBatch:
        rng = np.random.default_rng(step)
        y, x = np.mgrid[:64, :64]
        distance = np.stack([np.hypot(x - a, y - b) for a, b in rng.uniform(20, 44, (2, 2))])
        alpha = np.clip((rng.uniform(8, 16, (2, 1, 1)) - distance) / 6 + 0.5, 0, 1)
        noise = rng.normal(0, 8, (2, 64, 64, 3)) + 60
        image = np.clip(noise + alpha[..., None] * 140, 0, 255).astype(np.uint8)
        return ConverterBatch(
            images=torch.from_numpy(image),
            labels=torch.from_numpy(alpha > 0.5),
            alphas=torch.from_numpy((alpha * 255 + 0.5).astype(np.uint8)),
            scale=(float(rng.uniform(0, 2)), float(rng.uniform(0, 2))),
        )


@pytest.fixture(scope="session")
def make_disc() -> Callable[..., np.ndarray]:
    """`make_disc((H, W), (x, y), radius)`."""
    return disc


@pytest.fixture(scope="session")
def make_echo() -> Callable[..., Echo]:
    """`make_echo(side=64)`: a converter that returns the label."""
    return Echo


@pytest.fixture(scope="session")
def disc_batches() -> DiscBatches:
    """An endless source of batches at 64 px."""
    return DiscBatches()


@pytest.fixture
def make_model() -> Callable[[int], MaskGuidedMatting]:
    """`make_model(seed)`: a fresh small model."""

    def make(seed: int = 0) -> MaskGuidedMatting:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build_matting(TEST)

    return make


@pytest.fixture
def labelled_folder(tmp_path: Path) -> Path:
    """Two photographs with label maps: ids 3 and 7, and 5."""
    rng = np.random.default_rng(0)
    for name, ids in (("a", {3: (20, 20, 12), 7: (70, 30, 15)}), ("b", {5: (40, 30, 20)})):
        label = np.zeros((60, 100), np.uint8)
        for number, (x, y, radius) in ids.items():
            label[disc((60, 100), (x, y), radius)] = number
        save_png(tmp_path / "in" / "image" / f"{name}.png", rng.integers(0, 255, (60, 100, 3), dtype=np.uint8))
        save_png(tmp_path / "in" / "label" / f"{name}.png", label)
    return tmp_path / "in"
