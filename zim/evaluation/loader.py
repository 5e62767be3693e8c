"""Where the commands of this package get their predictors from, unless a caller brings a loader."""

from collections.abc import Callable

from zim.protocol import Predictor

LoadPredictor = Callable[..., Predictor]
"""`load(name, device=...)` -> a predictor."""


def default_loader() -> LoadPredictor:
    """`zim.load_predictor`, imported late: the metrics must not drag the models in."""
    from zim.loading import load_predictor

    return load_predictor
