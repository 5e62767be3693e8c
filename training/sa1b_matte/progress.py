"""A progress bar over photographs, with rates, fed by finished units and by what workers note meanwhile."""

import json
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from .worker import UnitResult

REFRESH_SECONDS = 1.0
LOG_SECONDS = 30.0
"""Between two lines in a log file, where a bar cannot be drawn over."""


class ProgressBar:
    """Photographs done, photographs/s, labels/s and time left; use it in a `with` statement.

    images: of the whole conversion. done: of earlier runs. live: folder of the workers' notes.
    """

    def __init__(self, *, images: int, done: int, live: Path) -> None:
        self._live, self._earlier = live, done
        self._images = self._labels = 0
        self._began: float | None = None
        self._bar = tqdm(total=images, initial=done, unit="image", desc="converting", smoothing=0.05)
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ProgressBar":
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._watcher.join()
        self._refresh(0, 0)
        self._bar.close()

    def finished(self, result: UnitResult) -> None:
        """Count a unit."""
        self._began = min(result.began, self._began or result.began)
        self._images += result.images
        self._labels += result.labels

    def rates(self) -> str:
        """Labels and photographs a second since the first unit began."""
        return self._rates(self._images, self._labels)

    def _watch(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS if sys.stderr.isatty() else LOG_SECONDS):
            counts = [_note(path) for path in sorted(self._live.glob("*"))]
            self._refresh(sum(images for images, _ in counts), sum(labels for _, labels in counts))

    def _refresh(self, live_images: int, live_labels: int) -> None:
        images, labels = self._images + live_images, self._labels + live_labels
        if images and self._began is None:
            self._began = time.time()
        self._bar.set_postfix_str(self._rates(images, labels), refresh=False)
        self._bar.n = self._earlier + images
        self._bar.refresh()

    def _rates(self, images: int, labels: int) -> str:
        seconds = time.time() - self._began if self._began is not None else 0.0
        if seconds <= 0:
            return "starting"
        return f"{labels / seconds:.1f} labels/s, {images / seconds:.2f} images/s"


def _note(path: Path) -> tuple[int, int]:
    try:
        images, labels = json.loads(path.read_text(encoding="utf-8"))
        return int(images), int(labels)
    except (OSError, ValueError, TypeError):
        return 0, 0  # being written, or just gone
