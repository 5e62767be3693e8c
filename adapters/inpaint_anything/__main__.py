"""`python -m adapters.inpaint_anything remove|fill|replace IMAGE ...`"""

import sys
from collections.abc import Sequence

from zim import load_predictor
from zim.protocol import Predictor
from zim.text_detection import load_text_detector

from . import command


def _predictor(name: str, device: str) -> Predictor:
    return load_predictor(name, device=device)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line with the models of this package. Returns the exit code."""
    return command.main(arguments, command.Loaders(predictor=_predictor, detector=load_text_detector))


if __name__ == "__main__":
    sys.exit(main())
