"""Train ZIM on mattes: `python -m training.train_zim --out runs/zim --segments DIR --photos DIR --cache DIR`."""

import sys

import torch

from zim.modeling.config import ZIM_TINY

from .command import parser, run_training
from .tasks import ZimTask


def main(argv: list[str] | None = None) -> int:
    """Train ZIM (zim_tiny) on procedural mattes and labelled photographs."""
    options = parser("python -m training.train_zim", main.__doc__).parse_args(argv)
    torch.manual_seed(0)
    return run_training(ZimTask(ZIM_TINY), options)


if __name__ == "__main__":
    sys.exit(main())
