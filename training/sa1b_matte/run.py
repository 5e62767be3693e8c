"""A conversion from its plan to its manifest; an interrupted one goes on where it was."""

import fcntl
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from zim.errors import ConfigError, DataError, ZimError

from .config import ConversionConfig
from .executors import Executor
from .job import Job, claim_output
from .manifest import Outcome, existing_shard, write_manifest
from .progress import ProgressBar
from .sources import Source, SourcePlan, Unit, find_sources, plan_source

MAX_FAILURES = 20
"""After this many failed shards a conversion stops: something is wrong with the machine, not with the data."""

_INDEX_THREADS = 8


class Plan(NamedTuple):
    """units: the shards to be, in order. images: photographs in the input. unreadable: source -> why it was refused."""

    units: tuple[Unit, ...]
    images: int
    unreadable: dict[str, str]

    @property
    def taken(self) -> int:
        """Photographs to be converted."""
        return sum(unit.images for unit in self.units)


def make_plan(root: Path, config: ConversionConfig) -> Plan:
    """What there is to convert; only names and tar headers are read.

    A source that cannot be opened is no reason to leave the others; it is in `unreadable`.

    Raises:
        DataError: there is no source at all, or a photograph is in two of them.
    """
    sources = find_sources(root)
    plans: dict[Source, SourcePlan] = {}
    unreadable: dict[str, str] = {}
    with ThreadPoolExecutor(_INDEX_THREADS) as pool:
        results = pool.map(partial(_plan_or_reason, config=config), sources)
        for source, planned in tqdm(zip(sources, results, strict=True), "reading indices", len(sources), disable=None):
            if isinstance(planned, str):
                unreadable[source.name] = planned
            else:
                plans[source] = planned
    _refuse_doubles(plans)
    units = tuple(unit for planned in plans.values() for unit in planned.units)
    return Plan(units, sum(planned.images for planned in plans.values()), unreadable)


def _plan_or_reason(source: Source, config: ConversionConfig) -> SourcePlan | str:
    try:
        return plan_source(source, config)
    except (ZimError, OSError) as error:
        return str(error)


def _refuse_doubles(plans: dict[Source, SourcePlan]) -> None:
    """A photograph in two sources would be trained on twice."""
    if not plans:
        return
    numbers = np.concatenate([planned.numbers for planned in plans.values()])
    found, counts = np.unique(numbers, return_counts=True)
    if len(found) == len(numbers):
        return
    double = int(found[counts > 1][0])
    places = [str(source.path) for source, planned in plans.items() if double in planned.numbers]
    raise DataError(f"--input: expected each photograph once, sa_{double} is in {' and '.join(places)}")


def convert(job: Job, executor: Executor, plan: Plan) -> Outcome:
    """Convert what is not there yet, with a progress bar; writes the manifest, also when it is interrupted.

    Raises:
        ConfigError: the output belongs to another converter or configuration, or another run is at work in it.
        DataError: a shard there does not fit its source.
        KeyboardInterrupt: as it came, after the manifest was written.
    """
    with _locked(job):
        prepare_output(job)
        done = [record for unit in plan.units if (record := existing_shard(job, unit)) is not None]
        there = {record.path.stem for record in done}
        left = [unit for unit in plan.units if unit.name not in there]
        failed: dict[str, str] = {}
        try:
            if left:
                failed = _run_units(job, executor, left, earlier=plan.taken - sum(unit.images for unit in left))
        finally:
            _clear_leftovers(job)
            fresh = (existing_shard(job, unit) for unit in left)
            done += [record for record in fresh if record is not None]
            outcome = Outcome(done=done, planned=len(plan.units), failed=failed, unreadable=plan.unreadable)
            write_manifest(job, outcome)
        return outcome


def _run_units(job: Job, executor: Executor, units: Sequence[Unit], *, earlier: int) -> dict[str, str]:
    """Run the executor; unit -> why it failed."""
    failed: dict[str, str] = {}
    images = earlier + sum(unit.images for unit in units)
    with ProgressBar(images=images, done=earlier, live=job.work / "live") as progress:
        with closing(executor.run(job, units)) as results:
            for result in results:
                progress.finished(result)
                if result.error:
                    failed[result.name] = result.error
                    tqdm.write(f"{result.name}: error: {result.error}", file=sys.stderr)
                    if len(failed) >= MAX_FAILURES:
                        tqdm.write(f"stopped after {MAX_FAILURES} failed shards", file=sys.stderr)
                        break
    print(f"this run: {progress.rates()}")
    return failed


@contextmanager
def _locked(job: Job) -> Iterator[None]:
    """One run at a time in an output; the lock goes with its process, however that ends."""
    job.work.mkdir(parents=True, exist_ok=True)
    with (job.work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{job.output}: another conversion is at work in it ({error})") from error
        yield


def prepare_output(job: Job) -> None:
    """Claim the output, and clean it of what a killed run has left.

    Raises:
        ConfigError: it was begun with another converter or configuration.
        DataError: it holds shards of unknown origin.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    claim_output(job)
    _clear_leftovers(job)


def _clear_leftovers(job: Job) -> None:
    """Remove half-written files and notes; the workers are gone."""
    for path in (*job.output.glob(".*.tar"), *job.output.glob(".*.json"), *(job.work / "records").glob(".*.json")):
        path.unlink(missing_ok=True)
    for name in ("live", "attempts"):
        shutil.rmtree(job.work / name, ignore_errors=True)
