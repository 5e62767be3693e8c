"""Timing by turns: what a busy machine does to one contestant, it does to the others too."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

from tqdm import tqdm

from zim.evaluation.machine import timed


class Timing(NamedTuple):
    """Seconds of one contestant: every run, warm-up excluded."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest minus smallest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median if self.median else 0.0


class Case(NamedTuple):
    """The same work, done by several.

    calls: contestant -> its call; the first is what the others are compared to. long: minutes, beside which what a
    first call does more does not count.
    """

    name: str
    calls: Mapping[str, Callable[[], object]]
    long: bool = False


class CaseTimes(NamedTuple):
    """timings: contestant -> seconds. ratios: contestant -> median over the turns of its time by the reference's."""

    name: str
    timings: dict[str, Timing]
    ratios: dict[str, float]


def time_case(case: Case, *, repeats: int, progress: bool = False) -> CaseTimes:
    """Run all contestants once to warm up (not those of long cases), then `repeats` turns of all of them.

    The ratio is taken turn by turn, of runs that followed each other, and its median over the turns is reported.

    Raises:
        ValueError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected a number >= 1, got {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in case.calls}
    warm_ups = 0 if case.long else 1
    turns = warm_ups + repeats
    with tqdm(total=turns * len(seconds), desc=case.name, disable=not progress, leave=False) as bar:
        for turn in range(turns):
            for name, call in case.calls.items():
                _, took = timed(call)
                bar.update()
                if turn >= warm_ups:
                    seconds[name].append(took)
    reference = seconds[next(iter(case.calls))]
    return CaseTimes(
        name=case.name,
        timings={name: Timing(tuple(runs)) for name, runs in seconds.items()},
        ratios={
            name: median(one / other for one, other in zip(runs, reference, strict=True))
            for name, runs in seconds.items()
        },
    )
