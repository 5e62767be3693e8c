"""Long jobs beside quick clicks: predictors that take their turn call by call, and few jobs at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.text_detection import Detections, TextDetector

from .errors import BusyError
from .limits import WAIT_SECONDS
from .models import ModelPool


class PredictorInTurns:
    """A predictor of the pool for one job: each call waits for its turn, and others may be at the models in between.

    Raises:
        ZimError: as `ModelPool.predictor`.
    """

    def __init__(self, pool: ModelPool, name: str) -> None:
        self._pool = pool
        self._predictor = pool.predictor(name)

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """As `zim.protocol.Predictor.set_image`."""
        with self._pool.turn():
            self._predictor.set_image(image, image_format)

    def predict(self, *arguments: Any, **named: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """As `zim.protocol.Predictor.predict`."""
        with self._pool.turn():
            return self._predictor.predict(*arguments, **named)


class DetectorInTurns:
    """A text detector whose calls wait for their turn at the models."""

    def __init__(self, pool: ModelPool, detector: TextDetector) -> None:
        self._pool = pool
        self._detector = detector

    def detect(self, image: np.ndarray, phrases: str, **thresholds: float) -> Detections:
        """As `TextDetector.detect`."""
        with self._pool.turn():
            return self._detector.detect(image, phrases, **thresholds)


class Seats:
    """So many jobs of a kind at once; the others wait, and are told when it is too long.

    Args:
        count: jobs at once.
        what: is at work, for the message.
        wait: seconds.
    """

    def __init__(self, count: int, what: str, wait: float = WAIT_SECONDS) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._what = what
        self._wait = wait

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have a seat.

        Raises:
            BusyError: none was free for longer than `wait`.
        """
        if not self._free.acquire(timeout=self._wait):
            raise BusyError(f"{self._what} has been busy for {self._wait:g} s; please try again in a few minutes")
        try:
            yield
        finally:
            self._free.release()
