"""Matte-Anything's prediction step: `predict_torch` with clicks or detected boxes, then a trimap from the mask."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from zim.predictor import ZimPredictor


@pytest.fixture
def predictor(program: None, photo: np.ndarray) -> Any:
    from segment_anything import SamPredictor, sam_model_registry

    made = SamPredictor(sam_model_registry["vit_h"](checkpoint="./pretrained/sam_vit_h_4b8939.pth").to("cuda"))
    made.set_image(photo)
    return made


def test_clicks_with_float_labels(predictor: Any, photo: np.ndarray, direct: ZimPredictor) -> None:
    """Points (N, 1, 2) and labels (N, 1), both float, moved to the input frame and then given one batch axis."""
    clicks = [((70, 40), 1), ((5, 5), 0), ((90, 50), 1)]
    points = torch.Tensor([place for place, _ in clicks]).to("cuda").unsqueeze(1)
    labels = torch.Tensor([int(label) for _, label in clicks]).to("cuda").unsqueeze(1)
    points = predictor.transform.apply_coords_torch(points, photo.shape[:2])
    masks, scores, logits = predictor.predict_torch(
        point_coords=points.permute(1, 0, 2), point_labels=labels.permute(1, 0), boxes=None, multimask_output=False
    )
    assert masks.dtype == torch.bool and masks.shape == (1, 1, 90, 160)
    assert scores.shape == (1, 1) and logits.shape == (1, 1, 32, 32)
    expected = direct.predict(
        np.array([place for place, _ in clicks]), np.array([1, 0, 1]), multimask_output=False, return_logits=True
    )[0]
    disputed = np.abs(expected) < 1e-3
    assert np.array_equal(masks[0].cpu().numpy() | disputed, (expected > 0) | disputed)


def test_boxes_of_a_detector(predictor: Any, photo: np.ndarray, direct: ZimPredictor) -> None:
    """Relative centre boxes become corners, one mask each; the first becomes a trimap."""
    relative = torch.tensor([[0.4, 0.5, 0.5, 0.6], [0.7, 0.4, 0.3, 0.3]])
    centre, size = relative[:, :2], relative[:, 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], dim=1) * torch.Tensor([160, 90, 160, 90])
    boxes = predictor.transform.apply_boxes_torch(corners.to("cuda"), photo.shape[:2])
    masks, _, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=boxes, multimask_output=False
    )
    masks = masks.cpu().detach().numpy()
    assert masks.shape == (2, 1, 90, 160)
    for mask, box in zip(masks, corners.numpy(), strict=True):
        logits = direct.predict(box=box, multimask_output=False, return_logits=True)[0]
        assert (mask != (logits > 0))[np.abs(logits) > 1e-3].sum() == 0
    shown = np.ones((90, 160, 3))
    shown[masks[0][0] == True, 0] = 0.5  # noqa: E712  (as the program writes it)
    assert (shown[..., 0] == 0.5).sum() == masks[0][0].sum()
    mask = masks[0][0].astype(np.uint8) * 255
    kernel = np.ones((3, 3), np.uint8)
    trimap = np.zeros_like(mask)
    trimap[cv2.dilate(mask, kernel) == 255] = 128
    trimap[cv2.erode(mask, kernel) == 255] = 255
    assert (trimap[masks[0][0]] >= 128).all() and (masks[0][0][trimap == 255]).all()
