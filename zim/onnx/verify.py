"""Whether an exported folder answers as the torch model does, asked through the whole predictor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.modeling.zim import Zim
from zim.onnx.model import load_onnx_folder

PROMPTS, POINTS = 5, 3


def max_alpha_difference(model: Zim, folder: Path) -> float:
    """Largest difference of an alpha between torch and the folder's graphs, over prompts of every kind.

    The picture is a pattern with edges at all scales; the prompts are boxes, points of both signs, both
    together, and, where the folder has decoder_mask.onnx, an earlier answer with a box and alone.
    """
    from zim.predictor import ZimPredictor

    exported = load_onnx_folder(folder, device="cpu")
    ours, theirs = ZimPredictor(model), ZimPredictor(exported)
    side = model.image_encoder.img_size
    picture = _picture(side * 3 // 4, side)
    ours.set_image(picture)
    theirs.set_image(picture)
    worst = 0.0
    for prompts in _prompts(side, exported.takes_mask_input):
        here = {name: value.to(model.device) for name, value in prompts.items()}
        expected = ours.predict_torch(**_all_arguments(here))[0].cpu()
        worst = max(worst, float((theirs.predict_torch(**_all_arguments(prompts))[0] - expected).abs().max()))
    return worst


def _picture(height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of rings that grow finer outwards."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    radius = np.hypot(y - height / 2, x - width / 2) / width
    rings = np.stack([np.sin(60 * radius * radius + phase) for phase in (0.0, 1.0, 2.5)], axis=-1)
    return (127.5 + 127.5 * rings).astype(np.uint8)


def _prompts(side: int, with_mask: bool) -> list[dict[str, Tensor]]:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 0.6 * side, (PROMPTS, 2, 2)).cumsum(axis=1)
    boxes = torch.from_numpy(corners.reshape(PROMPTS, 4)).float()
    coords = torch.from_numpy(random.uniform(0, 0.7 * side, (PROMPTS, POINTS, 2))).float()
    labels = torch.ones(PROMPTS, POINTS)
    labels[1:, 0] = 0
    labels[-1] = 0  # one prompt with negative points only
    points = {"point_coords": coords, "point_labels": labels}
    kinds = [points, {"boxes": boxes}, {"point_coords": coords[:1, :1], "point_labels": labels[:1, :1]}]
    kinds.append({**points, "boxes": boxes})
    if with_mask:
        mask = {"mask_input": torch.from_numpy(random.normal(0, 5, (PROMPTS, 1, side // 4, side // 4))).float()}
        kinds += [mask, {**mask, "boxes": boxes}]
    return kinds


def _all_arguments(prompts: dict[str, Tensor]) -> dict[str, Any]:
    return {"point_coords": None, "point_labels": None, **prompts}
