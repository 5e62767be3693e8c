"""`python -m adapters.multiview_3d SCENE --view K --box X1 Y1 X2 Y2 -o DIR`"""

import sys
from collections.abc import Sequence

from zim import ZimAutomaticMaskGenerator, load_predictor
from zim.protocol import Predictor

from . import command
from .automatic import MaskGenerator


def _predictor(name: str, device: str) -> Predictor:
    return load_predictor(name, device=device)


def _generator(name: str, device: str) -> MaskGenerator:
    return ZimAutomaticMaskGenerator(load_predictor(name, device=device), points_per_side=16)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line with the models of this package. Returns the exit code."""
    return command.main(arguments, command.Loaders(predictor=_predictor, generator=_generator))


if __name__ == "__main__":
    sys.exit(main())
