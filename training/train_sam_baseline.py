"""Train the baseline: segment_anything's own classes on the coarse labels of the same images."""

import sys

import torch

from zim.modeling.config import SAM_TINY

from .command import parser, run_training
from .tasks import SamTask


def main(argv: list[str] | None = None) -> int:
    """Train SAM's classes (sam_tiny) on coarse labels of procedural scenes and labelled photographs."""
    options = parser("python -m training.train_sam_baseline", main.__doc__).parse_args(argv)
    torch.manual_seed(0)
    return run_training(SamTask(SAM_TINY), options)


if __name__ == "__main__":
    sys.exit(main())
