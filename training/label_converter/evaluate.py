"""Figures of converters on exported scenes: `python -m training.label_converter.evaluate --model W --folder DIR`.

The folder is what `python -m training.data.scenes --export DIR` writes, of seeds that no training uses (below
1,000,000) and, better, of other photographs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from zim.errors import ConfigError, ZimError
from zim.files import write_json_atomic

from .converter import MattingConverter, load_converter
from .hiera_backbone import HieraBackbone
from .measure import as_json, measure, table
from .shipped import CHOICES, SHIPPED, converter_weights


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.label_converter.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, nargs="+", default=[Path(SHIPPED)], help=CHOICES)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="fine/ and coarse/ pairs")
    parser.add_argument("--limit", type=int, metavar="N", help="pairs of each kind (default: all)")
    parser.add_argument("--side", type=int, metavar="PX", help="of the crops, where the backbone takes any (tiny, zim)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write samples of the first model here (PNG)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.threads < 0:
            raise ConfigError(f"--threads: expected at least 0, got {options.threads}")
        if options.threads:
            torch.set_num_threads(options.threads)
        cv2.setNumThreads(1)
        runs = {}
        for number, path in enumerate(options.model):
            converter = load_converter(converter_weights(path), options.device)
            if options.side is not None:
                converter = at_side(converter, options.side)
            picture = options.picture if number == 0 else None
            runs[str(path)] = measure(converter, options.folder, limit=options.limit, picture=picture)
        if options.json is not None:
            write_json_atomic(options.json, {name: as_json(figures) for name, figures in runs.items()})
    except (ZimError, OSError, ValueError) as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        return 1
    print(table(runs))
    return 0


def at_side(converter: object, side: int) -> MattingConverter:
    """The same weights at another side of the crops.

    Raises:
        ConfigError: the side is no multiple of 32, or the backbone is bound to one.
    """
    if side < 32 or side % 32:
        raise ConfigError(f"side: expected a positive multiple of 32, got {side}")
    if not isinstance(converter, MattingConverter) or isinstance(converter.model.backbone, HieraBackbone):
        raise ConfigError("side: expected a converter with a backbone that takes any side, tiny or zim")
    return MattingConverter(converter.model, side=side, fingerprint=converter.fingerprint, device=converter.device)


if __name__ == "__main__":
    sys.exit(main())
