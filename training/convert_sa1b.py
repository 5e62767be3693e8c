"""Convert SA-1B's labels into mattes: `python -m training.convert_sa1b --input SHARDS --output SHARDS`.

`training.sa1b_matte` says what comes out, how a conversion goes on after it was stopped, and what it costs.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from zim.errors import ConfigError, ZimError

from .label_converter.shipped import CHOICES, SHIPPED, converter_weights
from .sa1b_matte.benchmark import benchmark
from .sa1b_matte.config import ConversionConfig, FilterRules
from .sa1b_matte.cost import Workload, cost_table
from .sa1b_matte.estimate import estimate
from .sa1b_matte.executors import Executor, InProcess, Processes, usable_cpus
from .sa1b_matte.job import make_job
from .sa1b_matte.manifest import MANIFEST, Outcome, totals
from .sa1b_matte.ray_executor import RayExecutor
from .sa1b_matte.run import Plan, convert, make_plan

_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m training.convert_sa1b", description=__doc__)
    made.add_argument("--input", type=Path, required=True, help="SA-1B: a tar file, or a folder of them or of pairs")
    made.add_argument("--output", type=Path, help="folder of the shards; a conversion that is there goes on")
    made.add_argument("--model", type=Path, default=SHIPPED, help=CHOICES)
    made.add_argument("--dry-run", action="store_true", help="print what would be done, and what it takes")
    made.add_argument(
        "--benchmark", type=int, nargs="+", metavar="N", help="convert into nowhere with N workers each, print rates"
    )
    made.add_argument("--rate", type=float, help="with --dry-run: labels/s of one GPU, for time and cost")
    made.add_argument("--price", type=float, default=0.0, help="with --rate: of a GPU for an hour")
    _add_choices(made.add_argument_group("what is converted (fixed for an output)"))
    work = made.add_argument_group("who does the work (changes nothing in the output)")
    work.add_argument(
        "--ray", default="local", metavar="ADDRESS", help="local (default): a Ray of its own; ADDRESS or auto: a "
        "running cluster; none: plain processes"
    )
    work.add_argument("--workers", type=int, default=0, help="0: one a CPU; with Ray, several a GPU where there is one")
    work.add_argument("--workers-per-gpu", type=int, default=RayExecutor.workers_per_gpu)
    work.add_argument("--object-store-mb", type=int, default=RayExecutor.object_store_mb, help="of the embedded Ray")
    work.add_argument("--device", default="auto", help="auto, cpu or cuda; shards of CPU and GPU differ in last bits")
    return made


def _add_choices(group: argparse._ArgumentGroup) -> None:
    config, rules = ConversionConfig(), FilterRules()
    group.add_argument("--fraction", type=float, default=config.fraction, help="share of the photographs, by hash")
    group.add_argument("--labels-per-image", type=int, default=config.labels_per_image, help="at most, by hash; 0: all")
    group.add_argument("--images-per-shard", type=int, default=config.images_per_shard)
    group.add_argument("--margin", type=float, default=config.margin, help="surroundings, share of a label's side")
    group.add_argument("--batch-size", type=int, default=config.batch_size)
    group.add_argument("--min-area", type=int, default=rules.min_area, help="pixels")
    group.add_argument("--max-area-share", type=float, default=rules.max_area_share, help="of the photograph")
    group.add_argument("--min-predicted-iou", type=float, default=rules.min_predicted_iou)
    group.add_argument("--min-stability", type=float, default=rules.min_stability)
    group.add_argument(
        "--min-agreement", type=float, default=rules.min_agreement, help="intersection over union of matte and label"
    )


def config_of(options: argparse.Namespace) -> ConversionConfig:
    """The configuration on the command line.

    Raises:
        ConfigError: a value is impossible.
    """
    return ConversionConfig(
        fraction=options.fraction,
        labels_per_image=options.labels_per_image,
        images_per_shard=options.images_per_shard,
        margin=options.margin,
        batch_size=options.batch_size,
        rules=FilterRules(
            min_area=options.min_area,
            max_area_share=options.max_area_share,
            min_predicted_iou=options.min_predicted_iou,
            min_stability=options.min_stability,
            min_agreement=options.min_agreement,
        ),
    )


def executor_of(options: argparse.Namespace, workers: int) -> Executor:
    """Who does the work.

    Raises:
        ConfigError: a number is impossible.
    """
    if workers < 0:
        raise ConfigError(f"--workers: expected at least 0, got {workers}")
    if options.ray != "none":
        return RayExecutor(
            address=options.ray,
            workers=workers,
            workers_per_gpu=options.workers_per_gpu,
            object_store_mb=options.object_store_mb,
        )
    count = workers or usable_cpus()
    return Processes(count) if count > 1 else InProcess()


def plan_text(plan: Plan, config: ConversionConfig, *, rate: float | None, price: float) -> str:
    """What `--dry-run` prints."""
    lines = [f"{plan.images:,} photographs, {plan.taken:,} of them taken (fraction {config.fraction:g})"]
    lines.append(f"{len(plan.units):,} shards of at most {config.images_per_shard} photographs")
    lines += [f"unreadable: {reason}" for reason in plan.unreadable.values()]
    if not plan.units:
        return "\n".join(lines)
    means = estimate(plan, config)
    labels = round(plan.taken * means.labels)
    lines.append(
        f"about {labels:,} labels: {means.labels:.1f} of {means.labels_read:.1f} a photograph, before the converter "
        f"({means.sampled} photographs read, {means.unreadable} of them unreadable)"
    )
    sizes = f"{means.jpg_bytes / 1e3:,.0f} kB a photograph, {means.matte_bytes / 1e3:,.1f} kB a matte"
    lines.append(f"about {means.disk(plan.taken) / 1e9:,.2f} GB: {sizes}")
    if rate is not None:
        load = Workload(name="this input", images=plan.taken, labels=labels)
        table = cost_table(
            rate, price=price, workloads=[load], jpg_bytes=means.jpg_bytes, matte_bytes=means.matte_bytes
        )
        lines += ["", table]
    return "\n".join(lines)


def report(outcome: Outcome, output: Path) -> str:
    """What a conversion prints when it ends."""
    sums = totals(outcome.done)
    filtered = ", ".join(f"{count} {rule}" for rule, count in sums["filtered"].items() if count) or "none"
    lines = [
        f"{len(outcome.done)} of {outcome.planned} shards, {sums['images']} photographs with {sums['labels']} mattes, "
        f"{sums['bytes'] / 1e6:.1f} MB; labels left out: {filtered}",
        f"{sums['quarantined']} photographs quarantined, listed in {output / MANIFEST}",
    ]
    lines += [f"unreadable: {reason}" for reason in outcome.unreadable.values()]
    lines += [f"{name}: no shard: {reason}" for name, reason in outcome.failed.items()]
    if not outcome.complete:
        lines.append("not complete: the same command goes on")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """0 when everything is converted, 1 when something is missing or wrong, 130 when it was interrupted."""
    options = parser().parse_args(arguments)
    try:
        with _terminations_as_interrupts():
            return _run(options)
    except KeyboardInterrupt:
        print("convert_sa1b: interrupted; the same command goes on", file=sys.stderr)
        return _INTERRUPTED
    except (ZimError, OSError) as error:
        print(f"convert_sa1b: error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    config = config_of(options)
    if options.dry_run:
        plan = make_plan(options.input, config)
        print(plan_text(plan, config, rate=options.rate, price=options.price))
        return 1 if plan.unreadable else 0
    options.model = converter_weights(options.model)
    if options.benchmark:
        executors = {workers: executor_of(options, workers) for workers in options.benchmark}
        plan = make_plan(options.input, config)
        for rate in benchmark(options.input, options.model, config, plan, executors, options.device):
            print(json.dumps(rate._asdict()))
        return 0
    if options.output is None:
        raise ConfigError("--output: expected a folder for the shards, got none")
    executor = executor_of(options, options.workers)
    job = make_job(options.input, options.output, options.model, config, options.device)
    outcome = convert(job, executor, make_plan(options.input, config))
    print(report(outcome, options.output))
    return 0 if outcome.complete else 1


@contextmanager
def _terminations_as_interrupts() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does; only the main thread can have it so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
