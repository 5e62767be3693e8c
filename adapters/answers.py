"""How a comparison asks predictors: soft answers, and SAM's binary ones beside them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim import predict_alpha
from zim.protocol import Predictor

BINARY, SIGMOID = " (binary)", " (sigmoid)"


class Answer(NamedTuple):
    """row: predictor's name, with " (binary)" or " (sigmoid)" for the SAM family. alpha: (H, W) float32 in [0, 1]."""

    row: str
    alpha: NDArray[np.float32]


def answers_of(name: str, predictor: Predictor, **prompts: Any) -> Iterator[Answer]:
    """The answers of a predictor that has an image to one prompt.

    One for ZIM; two of one forward pass for predictors that answer with binary masks by design (their attribute
    `reports_binary` is true): logits above 0, and the sigmoid of the logits.
    """
    yield from answers_from(predict_alpha(predictor, **prompts), rows_of(name, predictor))


def answers_from(alpha: NDArray[np.float32], rows: Iterable[str]) -> Iterator[Answer]:
    """An alpha (H, W) in [0, 1] that is there already as the answers of the rows that `rows_of` names."""
    for row in rows:
        yield Answer(row, (alpha > 0.5).astype(np.float32) if row.endswith(BINARY) else alpha)


def rows_of(name: str, predictor: Predictor) -> list[str]:
    """The rows of a predictor in a table."""
    return [name + BINARY, name + SIGMOID] if getattr(predictor, "reports_binary", False) else [name]
