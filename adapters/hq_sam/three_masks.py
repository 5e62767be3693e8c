"""All that a predictor answers to one prompt, with the qualities by which one chooses."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.protocol import Predictor

from .segmentation import knows


class Answers(NamedTuple):
    """alphas: (C, H, W) float32 in [0, 1]. qualities: (C,), the predictor's own estimate of each."""

    alphas: NDArray[np.float32]
    qualities: tuple[float, ...]

    @property
    def best(self) -> int:
        """Which one the predictor thinks best."""
        return int(np.argmax(self.qualities))


def answers_to(
    predictor: Predictor, *, multimask_output: bool = True, hq_token_only: bool = False, **prompts: Any
) -> Answers:
    """Every answer to a prompt, as `zim.predict_alpha` gives one of them.

    Args:
        predictor: one that has an image.
        multimask_output: three answers of growing size where the prompt is ambiguous; otherwise one.
        hq_token_only: the HQ token's answer alone, for predictors with an HQ head.
        prompts: `point_coords`, `point_labels`, `box`, `mask_input`.

    Raises:
        ConfigError: `hq_token_only` of a predictor without a head.
        ZimError: as the predictor.
    """
    if hq_token_only and not knows(predictor, "hq_token_only"):
        raise ConfigError(f"hq_token_only: expected a predictor with an HQ head, got {type(predictor).__name__}")
    arguments = {**prompts, "hq_token_only": True} if hq_token_only else prompts
    logits, qualities, _ = predictor.predict(**arguments, multimask_output=multimask_output, return_logits=True)
    alphas = torch.sigmoid(torch.from_numpy(np.array(logits, dtype=np.float32))).numpy()
    return Answers(alphas, tuple(float(one) for one in qualities))
