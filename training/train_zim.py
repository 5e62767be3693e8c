"""Train ZIM on mattes: `python -m training.train_zim --out runs/zim --segments DIR --photos DIR --cache DIR`."""

import sys

import torch

from zim.modeling.config import ZIM_TINY

from .command import parser, run_training
from .losses import MatteLossConfig
from .tasks import ZimTask


def main(argv: list[str] | None = None) -> int:
    """Train ZIM (zim_tiny) on procedural mattes and labelled photographs."""
    arguments = parser("python -m training.train_zim", main.__doc__)
    arguments.add_argument(
        "--labels",
        choices=("matte", "segmentation"),
        default="matte",
        help="segmentation: learn the coarse labels first, the common start of a pair",
    )
    arguments.add_argument(
        "--aux",
        type=float,
        nargs=2,
        metavar=("START", "END"),
        default=(MatteLossConfig.start_aux, MatteLossConfig.end_aux),
        help="weight of cross-entropy and dice beside the paper's loss, at the start and at the end",
    )
    options = arguments.parse_args(argv)
    torch.manual_seed(0)
    loss = MatteLossConfig(start_aux=options.aux[0], end_aux=options.aux[1])
    return run_training(ZimTask(ZIM_TINY, loss, labels=options.labels), options)


if __name__ == "__main__":
    sys.exit(main())
