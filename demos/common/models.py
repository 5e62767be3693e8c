"""The models of an app: loaded once, asked by everyone in turn, with the embeddings of the last photos kept."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from zim import load_predictor, predict_alpha
from zim.loading import another_predictor
from zim.prompts import Prompt
from zim.protocol import Predictor

from .errors import BusyError
from .limits import WAIT_SECONDS

KEPT_EMBEDDINGS = 4
"""Photos whose embeddings stay in memory, about 30 MB each; older ones are embedded again when they are asked for."""

Load = Callable[[str], Predictor]


class ModelPool:
    """Predictors by name. One request at a time is at the models; the others wait, and are told when it is too long.

    Args:
        load: name -> predictor.
        predictors: those that are there already, by name.
        wait: seconds that a request waits for its turn.
    """

    def __init__(
        self,
        load: Load = load_predictor,
        *,
        predictors: Mapping[str, Predictor] | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self._load = load
        self._wait = wait
        self._turn = threading.RLock()
        self._loaded: dict[str, Predictor] = dict(predictors or {})
        self._embedded: OrderedDict[tuple[str, str], Predictor] = OrderedDict()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be alone at the models.

        Raises:
            BusyError: others were there for longer than `wait`.
        """
        if not self._turn.acquire(timeout=self._wait):
            raise BusyError(f"the models have been busy for {self._wait:g} s; please try again in a moment")
        try:
            yield
        finally:
            self._turn.release()

    def warm(self, *names: str) -> None:
        """Load models now, and let them answer once, so that nobody's first click pays for it."""
        picture = np.zeros((64, 64, 3), np.uint8)
        for name in names:
            self.alpha(name, "warm", picture, Prompt(box=np.array([8, 8, 56, 56], np.float32)))

    def predictor(self, name: str) -> Predictor:
        """A predictor without an image around the model of that name; to be used within `turn`.

        Raises:
            ZimError: as `zim.load_predictor`.
        """
        with self.turn():
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return another_predictor(self._loaded[name])

    def embedded(self, name: str, key: str, image: NDArray[np.uint8]) -> Predictor:
        """A predictor that has been shown the picture of that key; to be used within `turn`."""
        with self.turn():
            found = self._embedded.pop((name, key), None)
            if found is None:
                found = self.predictor(name)
                found.set_image(image)
            self._embedded[name, key] = found
            while len(self._embedded) > KEPT_EMBEDDINGS:
                self._embedded.popitem(last=False)
            return found

    def alpha(self, name: str, key: str, image: NDArray[np.uint8], prompt: Prompt) -> NDArray[np.float32]:
        """(H, W) float32: what a model answers for a picture (H, W, 3) uint8 of that key.

        Raises:
            ZimError: as `zim.load_predictor` and `predict_alpha`.
        """
        given = {field: value for field, value in prompt.as_kwargs().items() if value is not None}
        with self.turn():
            return predict_alpha(self.embedded(name, key, image), **given)


class Clock:
    """How long a job has run; `check` ends it after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds

    def check(self) -> None:
        """To be called between the steps of a long job.

        Raises:
            BusyError: the time is over.
        """
        if time.monotonic() > self._end:
            raise BusyError(f"this took longer than the {self._seconds:g} s that one request may take; ask for less")
