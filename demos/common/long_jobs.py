"""Jobs that take longer than a click: they let others at the models in between, and leave the picture usable."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from .photo_desk import Desk, DeskEvents
from .turns import PredictorInTurns

Result = TypeVar("Result")
MANY_POINTS = ("predict_torch", "predict_promising")


class PointsInTurns(PredictorInTurns):
    """As `PredictorInTurns`, for `ZimAutomaticMaskGenerator`: with what else the predictor has (`model`, `transform`);
    many points at once are a call like any other."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._predictor, name)
        return partial(self._in_turn, found) if name in MANY_POINTS else found

    def _in_turn(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self._pool.turn():
            return method(*arguments, **named)


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
