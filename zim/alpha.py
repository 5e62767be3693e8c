"""The one way in which adapters and benchmarks get an alpha out of any predictor."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zim.errors import PromptError
from zim.protocol import Predictor


def predict_alpha(predictor: Predictor, *, multimask_output: bool = False, **prompts: Any) -> NDArray[np.float32]:
    """The alpha that a predictor answers to a prompt: the sigmoid of its logits.

    Args:
        predictor: one that has an image.
        multimask_output: ask for several answers and return the one of highest quality.
        prompts: keyword arguments of `predictor.predict`: `point_coords`, `point_labels`, `box`,
            `mask_input`, or what that predictor takes beyond SAM.

    Returns:
        (H, W) float32 in [0, 1], the size of the original frame.

    Raises:
        PromptError: `return_logits` among the prompts: it is always on here.
        TypeError: the predictor does not answer `return_logits=True` with float (C, H, W) logits.
    """
    if "return_logits" in prompts:
        raise PromptError("return_logits: predict_alpha always asks for logits; leave the argument out")
    logits, scores, _ = predictor.predict(**prompts, multimask_output=multimask_output, return_logits=True)
    logits = np.asarray(logits)
    if logits.ndim != 3 or not np.issubdtype(logits.dtype, np.floating):
        raise TypeError(
            "predictor: expected float logits (C, H, W) from predict(return_logits=True), "
            f"got {logits.dtype} of shape {logits.shape} from {type(predictor).__name__}"
        )
    best = int(np.argmax(scores)) if len(logits) > 1 else 0
    return torch.sigmoid(torch.from_numpy(np.array(logits[best], dtype=np.float32))).numpy()
