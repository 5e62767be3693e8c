"""How much memory a call needs beyond what is held before it."""

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zim.alpha import predict_alpha
from zim.evaluation.speed import synthetic_photo
from zim.protocol import Predictor

WARM_UP = 10
"""Images that fill the caches before growth is looked at."""

QUARTERS = 4

_EVERY_SECONDS = 0.003
_STATUS = Path("/proc/self/status")


def extra_memory(call: Callable[[], object]) -> int | None:
    """Bytes at the peak of a call, less those before it; None where the system does not tell.

    On CUDA what the allocator reports, else the resident size of the process, looked at every few milliseconds (Linux
    only): spikes shorter than that are missed.
    """
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not _STATUS.is_file():
        return None
    watch = _Watch()
    watch.start()
    try:
        call()
    finally:
        peak = watch.stop()
    return peak


class _Watch(threading.Thread):
    """Looks at the resident size until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._before = self._peak = resident_bytes()

    def run(self) -> None:
        while not self._ended.is_set():
            self._peak = max(self._peak, resident_bytes())
            time.sleep(_EVERY_SECONDS)

    def stop(self) -> int:
        self._peak = max(self._peak, resident_bytes())
        self._ended.set()
        self.join()
        return self._peak - self._before


def resident_bytes() -> int:
    """Resident size of this process (Linux)."""
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS}: expected a line VmRSS")


class Growth(NamedTuple):
    """Resident bytes (medians) among the first and among the last quarter of the images."""

    early: int
    late: int

    @property
    def share(self) -> float:
        """How much of the early size was added."""
        return self.late / self.early - 1


def photos_of_all_sizes(count: int) -> Iterator[NDArray[np.uint8]]:
    """`count` synthetic photos, (H, W, 3) uint8, of 300 to 1600 pixels a side; the same in every run, and in every
    quarter of it."""
    sizes = np.random.default_rng(0).integers(300, 1600, (max(1, count // QUARTERS), 2))
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        yield synthetic_photo(int(height), int(width), seed=number % len(sizes))


def growth_over_images(predictor: Predictor, images: Iterable[NDArray[np.uint8]], *, warm_up: int = WARM_UP) -> Growth:
    """Resident size while many (H, W, 3) uint8 images get one box prompt each.

    What is resident goes up and down with the size of the images and with what the system takes back, so the medians of
    the first and of the last quarter are compared, each without its first `warm_up` images.

    Raises:
        ValueError: a quarter of the images is no more than `warm_up`.
    """
    resident = []
    for image in images:
        predictor.set_image(image)
        height, width = image.shape[:2]
        predict_alpha(predictor, box=np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32))
        resident.append(resident_bytes())
    quarter = len(resident) // QUARTERS
    if quarter <= warm_up:
        raise ValueError(f"images: expected at least {QUARTERS * (warm_up + 1)}, got {len(resident)}")
    last = (QUARTERS - 1) * quarter
    return Growth(int(median(resident[warm_up:quarter])), int(median(resident[last + warm_up : last + quarter])))
