"""Labels of a folder into mattes: `python -m training.label_converter.convert --input DIR --output DIR`.

The input holds image/NAME.jpg + label/NAME.png (one id a pixel, 0 unlabelled), the output image/ + alpha/ with one
pair an object. An interrupted run goes on with the same command.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from zim.errors import ConfigError, ZimError

from ..readers import Quarantine
from .converter import load_converter
from .folder_conversion import ConversionConfig, convert_folder
from .shipped import CHOICES, SHIPPED, converter_weights


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.label_converter.convert", description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help=CHOICES)
    parser.add_argument("--input", type=Path, required=True, metavar="DIR", help="image/ + label/, at any depth")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="image/ + alpha/ are written here")
    parser.add_argument("--whole", action="store_true", help="everything labelled is one object")
    parser.add_argument("--pieces", action="store_true", help="each connected piece of an id is an object")
    parser.add_argument("--min-area", type=int, default=100, metavar="PX", help="leave out smaller labels (100)")
    parser.add_argument("--margin", type=float, default=0.15, help="surroundings, of the label's longer side (0.15)")
    parser.add_argument("--batch", type=int, default=16, help="crops at a time (16)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int, default=0, help="torch threads, 0: torch's default")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.threads < 0 or options.batch < 1 or options.min_area < 1:
            raise ConfigError("--threads, --batch, --min-area: expected at least 0, 1 and 1")
        if options.threads:
            torch.set_num_threads(options.threads)
        cv2.setNumThreads(1)
        config = ConversionConfig(
            whole=options.whole,
            pieces=options.pieces,
            min_area=options.min_area,
            margin=options.margin,
            batch_size=options.batch,
        )
        converter = load_converter(converter_weights(options.model), options.device)
        result = convert_folder(converter, options.input, options.output, config)
    except (ZimError, OSError) as error:
        print(f"convert: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("convert: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(
        f"{options.output}: {result.mattes} mattes of {result.photos} photographs, {result.skipped} done before, "
        f"{result.empty} labels came out empty; {Quarantine(options.output / 'quarantine.jsonl').summary()}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
