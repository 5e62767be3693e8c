"""Train ZIM on mattes: `python -m training.train_zim --out runs/zim --segments DIR --photos DIR --cache DIR`."""

import sys

import torch

from zim.errors import ConfigError
from zim.modeling.config import ZIM_TINY
from zim.registry import DEFAULT_MODEL, MODEL_CONFIGS

from .command import parser, run_training
from .losses import MatteLossConfig
from .tasks import ZimTask


def main(argv: list[str] | None = None) -> int:
    """Train ZIM on mattes: procedural, of one's own, converted from labels, or labelled photographs."""
    arguments = parser("python -m training.train_zim", main.__doc__)
    arguments.add_argument("--model", choices=sorted(MODEL_CONFIGS), default=DEFAULT_MODEL)
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
    arguments.add_argument(
        "--volume",
        type=float,
        metavar="WEIGHT",
        default=MatteLossConfig.volume,
        help="weight of the error of a matte's sum, for thin things and volumes (default: %(default)s)",
    )
    options = arguments.parse_args(argv)
    if options.volume and options.labels != "matte":
        arguments.error(f"--volume: expected with --labels matte, whose loss it belongs to, got {options.labels}")
    torch.manual_seed(0)
    try:
        loss = MatteLossConfig(start_aux=options.aux[0], end_aux=options.aux[1], volume=options.volume)
    except ConfigError as error:
        arguments.error(f"--{error}")
    config = ZIM_TINY if options.model == DEFAULT_MODEL else MODEL_CONFIGS[options.model]
    task = ZimTask(config, loss, labels=options.labels)
    details: dict[str, object] = {"labels": options.labels, "aux": list(options.aux)}
    if options.volume:  # left out where it is not used: runs from before there was such an option go on
        details["volume"] = options.volume
    return run_training(task, options, details=details)


if __name__ == "__main__":
    sys.exit(main())
