"""Jobs that take longer than a click: they let others at the models in between, and leave the picture usable."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .models import ModelPool
from .photo_desk import Desk, DeskEvents

Result = TypeVar("Result")
IN_TURN = ("predict_torch", "predict_promising")


class TurnTaking:
    """A predictor of the pool with a picture of its own, which takes its turn for each call and then lets others in.

    What else the predictor has (`model`, `transform`, ...) is there too.
    """

    def __init__(self, pool: ModelPool, name: str) -> None:
        self._pool = pool
        self._predictor = pool.predictor(name)

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """See `zim.protocol.Predictor`."""
        self._in_turn(self._predictor.set_image, image, image_format)

    def predict(self, *args: Any, **kwargs: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """See `zim.protocol.Predictor`."""
        answer: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] = self._in_turn(
            self._predictor.predict, *args, **kwargs
        )
        return answer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._predictor, name)
        return partial(self._in_turn, found) if name in IN_TURN else found

    def _in_turn(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._pool.turn():
            return method(*args, **kwargs)


def long_steps(
    events: DeskEvents,
    desk: Desk | None,
    work: Callable[[Desk], Result],
    take: Callable[[Desk, Result], str],
    *,
    waiting: str,
    show: str,
) -> Iterator[tuple[Any, ...]]:
    """`DeskEvents.steps` for something long: the session is locked only while the result is taken.

    Args:
        events, desk: of this person.
        work: makes the result; what it raises is told.
        take: puts the result into the session, and answers the line below the picture.
        waiting: the line meanwhile.
        show: the view to go to.
    """
    own = events.desk(desk)
    failure: Exception | None = None
    result: Result | None = None
    try:
        yield own.session.value(colours=False, message=waiting, busy=True).as_dict(), own, events.radio(own.session)
        result = work(own)
    except Exception as error:
        failure = error

    def act(of: Desk) -> str:
        if failure is not None:
            raise failure
        return take(of, result)  # type: ignore[arg-type]  # it is there, because nothing failed

    yield from events.steps(own, act, show)
