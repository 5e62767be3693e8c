"""Work by Ray Data: actors on this machine (an embedded Ray) or on a cluster."""

import json
import logging
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zim.errors import ConfigError, MissingDependencyError

from .executors import usable_cpus
from .job import Job
from .sources import Source, Unit
from .worker import UnitResult, Worker

LOCAL = "local"
START_TRIES = 3
"""Attempts at starting an embedded Ray."""

_MEGABYTE = 2**20
_FOLDER_PREFIX = "zim_ray_"


@dataclass(frozen=True, kw_only=True)
class RayExecutor:
    """Ray Data over the units: each actor reads its photographs, converts them and writes its shard.

    The units are all that passes through Ray (a few hundred bytes each), so its object store can be small. An actor
    that dies is restarted by Ray, and its unit tried again. While an actor works on a unit, it is given its next
    one: Ray takes a tenth of a second to do so, in which the actor would have nothing to do.

    address: "local" starts a Ray of its own without a dashboard, whose files live in a temporary folder and go with
    it; anything else is a cluster's address ("auto": the one of this machine). All machines of a cluster need this
    package, and input, output and weights under the same paths.
    workers: actors; 0: one a CPU, or `workers_per_gpu` a GPU where there are GPUs.
    workers_per_gpu: actors that share a GPU; one alone cannot feed it, since decoding takes longer than the model.
    object_store_mb: memory of the embedded Ray's object store, at least 80.
    """

    address: str = LOCAL
    workers: int = 0
    workers_per_gpu: int = 4
    object_store_mb: int = 80

    def __post_init__(self) -> None:
        if self.workers < 0 or self.workers_per_gpu < 1:
            given = f"{self.workers} and {self.workers_per_gpu}"
            raise ConfigError(f"workers, workers_per_gpu: expected at least 0 and 1, got {given}")
        if self.object_store_mb < 80:
            raise ConfigError(f"object_store_mb: expected at least 80, got {self.object_store_mb}")

    def run(self, job: Job, units: Sequence[Unit]) -> Generator[UnitResult, None, None]:
        """As `Executor`."""
        ray = _import_ray()
        with self._connected(ray, job.work / "ray_folder"):
            gpus = int(ray.cluster_resources().get("GPU", 0)) if job.device in ("auto", "cuda") else 0
            cpus = int(ray.cluster_resources().get("CPU", 1))
            actors = self.workers or (gpus * self.workers_per_gpu if gpus else cpus)
            _configure_data(ray)
            rows = [{"unit": _packed(unit)} for unit in units]
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                RayWorker,
                fn_constructor_args=(job,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(actors, len(units)), max_tasks_in_flight_per_actor=2),
                num_cpus=1,
                num_gpus=_gpu_share(gpus, actors) if gpus else 0,
            )
            for row in results.iter_rows():
                yield UnitResult(**json.loads(row["result"]))

    @contextmanager
    def _connected(self, ray: Any, note: Path) -> Iterator[None]:
        """Ray while it is needed; `note` tells the next run what to remove if this one is killed.

        A Ray that the caller has started is used, and left running.
        """
        if ray.is_initialized():
            yield
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        folder = ""
        if self.address == LOCAL:
            _remove_noted(note)
            folder = tempfile.mkdtemp(prefix=_FOLDER_PREFIX)  # a short path: Ray has sockets in it
            note.write_text(folder, encoding="utf-8")
            options |= {
                "num_cpus": self.workers or usable_cpus(),
                "include_dashboard": False,
                "object_store_memory": self.object_store_mb * _MEGABYTE,
                "_temp_dir": folder,
                "_plasma_directory": folder,  # /dev/shm may be tiny, and little goes through it
            }
        try:
            with _own_signals():
                _start(ray, self.address, options)
            yield
        finally:
            ray.shutdown()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
                if not Path(folder).exists():  # else a process that ends with this one still writes
                    note.unlink(missing_ok=True)


class RayWorker:
    """An actor of Ray Data: batches of one packed unit in, batches of one packed result out."""

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Convert the units of a batch."""
        results = [self._worker(_unpacked(str(text))) for text in batch["unit"]]
        return {"result": [json.dumps(result._asdict()) for result in results]}


def _start(ray: Any, address: str, options: dict[str, Any]) -> None:
    """`ray.init`. Ray gives its processes 30 s to start, which is little on a busy machine, so it is tried again.

    Raises:
        ConfigError: it cannot be started, or there is no cluster at the address.
    """
    for left in reversed(range(START_TRIES if address == LOCAL else 1)):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:  # ray raises bare Exception when it is late
            ray.shutdown()
            if left:
                print(f"--ray {address}: did not start in time, trying again", file=sys.stderr)
                continue
            what = "local (or none, for plain processes)" if address == LOCAL else "the address of a running cluster"
            raise ConfigError(f"--ray: expected {what}, could not start or reach {address!r}: {error}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the handlers that Ray replaces: its own end the process without any cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _remove_noted(note: Path) -> None:
    """Remove the folder of an embedded Ray that was killed together with its run."""
    if note.is_file():
        folder = Path(note.read_text(encoding="utf-8"))
        if folder.name.startswith(_FOLDER_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_worker_niceness", "0")  # as the plain processes; Ray's own default is 15
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # a process that is not needed starts no faster
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # actors without a GPU see none
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            'ray: expected for --ray local or an address, found nothing; install it with: pip install '
            '"zim-matting[scale]", or take --ray none'
        ) from error
    return ray


def _configure_data(ray: Any) -> None:
    """No progress bars beside ours, and no holding back: rows are tiny, whatever Ray expects of unknown ones."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _MEGABYTE
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _gpu_share(gpus: int, actors: int) -> float:
    """GPUs an actor, so that all find room: Ray takes fractions below one, or whole numbers."""
    per_gpu = math.ceil(actors / gpus)
    return 1.0 if per_gpu <= 1 else math.floor(1e4 / per_gpu) / 1e4


def _packed(unit: Unit) -> str:
    return json.dumps([unit.name, unit.source.name, str(unit.source.path), unit.start, unit.stop, unit.digest])


def _unpacked(text: str) -> Unit:
    name, source, path, start, stop, digest = json.loads(text)
    return Unit(name, Source(source, Path(path)), start, stop, digest)
