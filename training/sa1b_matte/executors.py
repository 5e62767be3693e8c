"""Who does the work: this process, some processes of this machine, or Ray (in `ray_executor`)."""

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Protocol

import torch

from zim.errors import ConfigError

from .job import Job
from .sources import Unit
from .worker import MAX_ATTEMPTS, UnitResult, Worker


class Executor(Protocol):
    """Converts units, in any order and on any machine that sees the files."""

    def run(self, job: Job, units: Sequence[Unit]) -> Generator[UnitResult, None, None]:
        """One result a unit, as they come. Closing the iterator early ends the workers."""
        ...


class InProcess:
    """One unit after the other, here."""

    def run(self, job: Job, units: Sequence[Unit]) -> Generator[UnitResult, None, None]:
        """As `Executor`."""
        worker = Worker(job)
        for unit in units:
            yield worker(unit)


class Processes:
    """Processes of this machine. One that dies is replaced, and its unit is tried again.

    workers: how many. With CUDA they share the devices in turn.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"workers: expected at least 1, got {workers}")
        self._workers = workers

    def run(self, job: Job, units: Sequence[Unit]) -> Generator[UnitResult, None, None]:
        """As `Executor`."""
        context = multiprocessing.get_context("spawn")
        waiting, deaths = deque(units), Counter[str]()
        running: dict[Connection, _Child] = {}
        try:
            for number in range(min(self._workers, len(units))):
                child = _Child(context, _on_device(job, number), waiting.popleft())
                running[child.connection] = child
            while running:
                for connection in wait(list(running)):
                    if not isinstance(connection, Connection):
                        continue
                    child = running.pop(connection)
                    result = child.result()
                    if result is None:  # dead: a new process gets its unit
                        child.end()
                        unit = child.unit
                        deaths[unit.name] += 1
                        if deaths[unit.name] > MAX_ATTEMPTS:  # before the worker could count
                            raise ConfigError(f"workers: expected processes that start, each dies at {unit.name}")
                        child = _Child(context, child.job, unit)
                    elif waiting:
                        child.send(waiting.popleft())
                    else:
                        child.end()
                        yield result
                        continue
                    running[child.connection] = child
                    if result is not None:
                        yield result
        finally:
            for child in running.values():
                child.end()


class _Child:
    """A process with the unit it works at."""

    def __init__(self, context: SpawnContext, job: Job, unit: Unit) -> None:
        self.job = job
        self.connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()
        self.send(unit)

    def send(self, unit: Unit) -> None:
        """Give it a unit; when it is dead, `result` will say so."""
        self.unit = unit
        try:
            self.connection.send(unit)
        except OSError:
            pass

    def result(self) -> UnitResult | None:
        """What it has sent; None when it is dead."""
        try:
            received = self.connection.recv()
        except (EOFError, OSError):
            return None
        return received if isinstance(received, UnitResult) else None

    def end(self) -> None:
        """Stop it, in the middle of a unit if need be: shards are whole or absent."""
        self.connection.close()
        self._process.terminate()
        self._process.join()


def usable_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_device(job: Job, number: int) -> Job:
    """The job of worker `number`, which takes its turn among several CUDA devices."""
    devices = torch.cuda.device_count() if job.device in ("auto", "cuda") else 0
    return dataclasses.replace(job, device=f"cuda:{number % devices}") if devices > 1 else job


def _end_with_parent() -> None:
    """A parent that was killed cannot tell; do not go on without it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _serve(connection: Connection, job: Job) -> None:
    """The process: units in, results out, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker = Worker(job)
    while True:
        try:
            connection.send(worker(connection.recv()))
        except (EOFError, OSError):
            return
