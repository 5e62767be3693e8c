"""The rate of a conversion with several numbers of workers, into a folder that is thrown away."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from zim.errors import DataError

from .config import ConversionConfig
from .executors import Executor
from .job import make_job
from .run import Plan, prepare_output


class Rate(NamedTuple):
    """seconds: from the beginning of the first unit to the end of the last; starting the workers is not in it.

    speedup: labels/s against the first number of workers.
    """

    workers: int
    shards: int
    images: int
    labels: int
    seconds: float
    images_per_s: float
    labels_per_s: float
    speedup: float


def benchmark(
    root: Path,
    model: Path,
    config: ConversionConfig,
    plan: Plan,
    executors: Mapping[int, Executor],
    device: str,
) -> Iterator[Rate]:
    """Convert the whole plan once with each executor.

    Args:
        root: the input. model: weights. device: as for `load_converter`.
        config: as for a conversion; `images_per_shard` should give each worker several shards.
        plan: what to convert.
        executors: number of workers -> who does the work.

    Raises:
        DataError: there is nothing to convert, or a shard fails.
    """
    if not plan.units:
        raise DataError(f"--input: expected photographs to convert, found none in {root}")
    first = 0.0
    for workers, executor in executors.items():
        with tempfile.TemporaryDirectory(prefix="zim_benchmark_") as folder:
            job = make_job(root, Path(folder) / "shards", model, config, device)
            prepare_output(job)
            running = executor.run(job, plan.units)
            results = list(tqdm(running, f"{workers} workers", len(plan.units), unit="shard", disable=None))
        failed = [f"{result.name}: {result.error}" for result in results if result.error]
        if failed:
            raise DataError(failed[0])
        seconds = max(result.ended for result in results) - min(result.began for result in results)
        images, labels = sum(result.images for result in results), sum(result.labels for result in results)
        rate = labels / seconds
        first = first or rate
        yield Rate(
            workers=workers,
            shards=len(results),
            images=images,
            labels=labels,
            seconds=round(seconds, 2),
            images_per_s=round(images / seconds, 3),
            labels_per_s=round(rate, 2),
            speedup=round(rate / first, 3) if first else 0.0,
        )
