"""What a conversion costs, from a measured rate: `python -m training.sa1b_matte.cost --rate LABELS_PER_SECOND`.

Measure the rate with `python -m training.convert_sa1b --benchmark 1 --input SHARDS --model CONVERTER` on the machine
in question. The table takes 8 GPUs for 8 times as fast as one: shards are independent, and nothing but names passes
between the workers. Sizes a photograph and a label are those of `--dry-run`, or the defaults below.

Memory of a worker, besides the model (a 2250 x 1500 photograph, as SA-1B has them, batches of 16, side 512):

    photograph, file and decoded       11 MB     3 bytes a pixel
    labels of a batch                  54 MB     1 byte a pixel and label
    crops and mattes of a batch        50 MB     side x side x (3 + 1 + 8 bytes) a label
    label cut as float32               14 MB     4 bytes a pixel of the largest label

so about 130 MB, and 64 bytes a photograph of the tar file that it reads. The driver keeps 8 bytes a photograph that is
taken and about 1 KB a shard.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from zim.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Workload:
    """name: for the table. images, labels: photographs and labels to be converted."""

    name: str
    images: int
    labels: int


DESIGN_POINT = Workload(name="1% of SA-1B", images=110_000, labels=2_200_000)
HORIZON = Workload(name="all of SA-1B, 20 labels each", images=11_000_000, labels=220_000_000)
ALL_LABELS = Workload(name="all of SA-1B, all labels", images=11_000_000, labels=1_100_000_000)

JPG_BYTES = 900_000
"""A photograph of SA-1B, at most: a published shard is about 10.5 GB, labels included, for 11,186 photographs."""

MATTE_BYTES = 8_000
"""A matte with its header in the tar file; measure yours with --dry-run."""


def cost_table(
    rate: float,
    *,
    price: float = 0.0,
    gpus: Sequence[int] = (1, 8),
    workloads: Sequence[Workload] = (DESIGN_POINT, HORIZON, ALL_LABELS),
    jpg_bytes: float = JPG_BYTES,
    matte_bytes: float = MATTE_BYTES,
) -> str:
    """A Markdown table of time, money and disk.

    Args:
        rate: labels a second of one GPU with its workers.
        price: of a GPU for an hour; 0 leaves money out.
        gpus: numbers of GPUs.
        workloads: what to convert.
        jpg_bytes, matte_bytes: size of a photograph and of a matte.

    Raises:
        ConfigError: the rate is not positive, or the price negative.
    """
    if rate <= 0 or price < 0 or min(gpus) < 1:
        given = f"{rate}, {price}, {list(gpus)}"
        raise ConfigError(f"rate, price, gpus: expected above 0, at least 0 and at least 1, got {given}")
    heads = [f"{count} GPU{'s' if count > 1 else ''}" for count in gpus]
    lines = [f"| at {rate:g} labels/s a GPU | images | labels | disk | {' | '.join(heads)} |"]
    lines.append("|---" * (4 + len(gpus)) + "|")
    for load in workloads:
        disk = load.images * jpg_bytes + load.labels * matte_bytes
        cells = [_time_and_money(load.labels / rate / 3600, count, price) for count in gpus]
        row = [load.name, f"{load.images:,}", f"{load.labels:,}", f"{disk / 1e9:,.0f} GB", *cells]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _time_and_money(hours: float, gpus: int, price: float) -> str:
    """Hours on several GPUs; the money is that of one for all the hours."""
    time = f"{hours / gpus:,.1f} h" if hours / gpus < 72 else f"{hours / gpus / 24:,.1f} days"
    return f"{time}, {hours * price:,.0f}" if price else time


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m training.sa1b_matte.cost", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=float, required=True, help="labels/s of one GPU, measured")
    parser.add_argument("--price", type=float, default=0.0, help="of a GPU for an hour")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--jpg-bytes", type=float, default=JPG_BYTES, help="bytes of a photograph")
    parser.add_argument("--matte-bytes", type=float, default=MATTE_BYTES, help="bytes of a matte")
    options = parser.parse_args(arguments)
    sizes = {"jpg_bytes": options.jpg_bytes, "matte_bytes": options.matte_bytes}
    try:
        print(cost_table(options.rate, price=options.price, gpus=options.gpus, **sizes))
    except ConfigError as error:
        print(f"cost: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
