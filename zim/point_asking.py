"""Asking a model about points of its image: whatever model it is, in the scale of its own numbers."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.errors import ConfigError
from zim.logit_windows import Promising
from zim.modeling.config import ZimConfig
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.protocol import Predictor


class Calibration(NamedTuple):
    """How a model's numbers compare with those of the SAM that the default thresholds were chosen for.

    A quality of `quality_scale` counts as 1, and a change of `stability_scale` in the logits as a change of 1.
    """

    quality_scale: float = 1.0
    stability_scale: float = 1.0


def predictor_of(model: Any) -> Predictor:
    """A predictor as it is, or one around a `Zim` or a `Sam`.

    Raises:
        ConfigError: neither.
        MissingDependencyError: a `Sam`, and segment_anything is not installed.
    """
    if isinstance(model, Zim):
        return ZimPredictor(model)
    if isinstance(model, Predictor) and not isinstance(model, type):
        return model
    if all(hasattr(model, part) for part in ("image_encoder", "prompt_encoder", "mask_decoder")):
        from zim.compat.segment_anything import import_segment_anything

        predictor: Predictor = import_segment_anything().SamPredictor(model)
        return predictor
    raise ConfigError(f"model: expected a Zim, a Sam or a predictor, got {type(model).__name__}")


def calibration_of(predictor: Predictor) -> Calibration:
    """The scales in the configuration of a predictor's model; 1 and 1 for models that have none."""
    config = getattr(getattr(predictor, "model", None), "config", None)
    if not isinstance(config, ZimConfig):
        return Calibration()
    return Calibration(quality_scale=config.quality_scale_in_use, stability_scale=config.stability_scale_in_use)


def ask_points(
    predictor: Predictor,
    points: NDArray[np.float64],
    hw: tuple[int, int],
    *,
    multimask_output: bool,
    least_quality: float = -math.inf,
) -> Promising:
    """Ask about each point by itself, all at once where the predictor has `predict_torch`.

    Args:
        predictor: one that has an image.
        points: (B, 2) xy in pixels of that image.
        hw: size of that image.
        multimask_output: three answers a point, or one.
        least_quality: only answers of a higher predicted quality.
    """
    if not (hasattr(predictor, "predict_torch") and hasattr(predictor, "transform")):
        return _above(*_ask_one_by_one(predictor, points, multimask_output), least_quality)
    device = torch.device(getattr(predictor, "device", "cpu"))
    coords = torch.as_tensor(predictor.transform.apply_coords(points, hw))
    coords = coords.to(device, torch.float32 if device.type == "mps" else torch.float64)[:, None, :]
    labels = torch.ones(len(points), 1, dtype=torch.int, device=device)
    if hasattr(predictor, "predict_promising"):
        promising: Promising = predictor.predict_promising(
            coords, labels, multimask_output=multimask_output, least_quality=least_quality
        )
        return promising
    logits, qualities, _ = predictor.predict_torch(
        coords, labels, multimask_output=multimask_output, return_logits=True
    )
    return _above(logits, qualities, least_quality)


def _ask_one_by_one(predictor: Predictor, points: NDArray[np.float64], multimask_output: bool) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) logits and (B, C) qualities of a predictor that knows arrays only."""
    answers = [
        predictor.predict(
            point_coords=point[None],
            point_labels=np.ones(1, dtype=np.int64),
            multimask_output=multimask_output,
            return_logits=True,
        )
        for point in points
    ]
    return (
        torch.from_numpy(np.stack([np.asarray(answer[0]) for answer in answers])),
        torch.from_numpy(np.stack([np.asarray(answer[1]) for answer in answers])),
    )


def _above(logits: Tensor, qualities: Tensor, least_quality: float) -> Promising:
    """Of (B, C, H, W) logits those of a higher quality."""
    places = torch.nonzero(qualities > least_quality)
    return Promising(places, qualities, logits[places[:, 0], places[:, 1]])


def stability_score(logits: Tensor, threshold: float, offset: float) -> float:
    """IoU of the masks of (H, W) logits above `threshold` + `offset` and above `threshold` - `offset`.

    0 where nothing is above either.
    """
    inner = torch.count_nonzero(logits > threshold + offset)
    outer = torch.count_nonzero(logits > threshold - offset)
    return float(inner / outer) if outer else 0.0
