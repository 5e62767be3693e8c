"""Inpaint-Anything: masks of a click, dilated and written; its app, which keeps features between the clicks."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from zim.predictor import ZimPredictor

CLICK = np.array([[70.0, 40.0]])


def build_predictor() -> Any:
    """As its `build_sam_model`: by hard-coded name, on the GPU."""
    from segment_anything import SamPredictor, sam_model_registry

    sam = sam_model_registry["vit_h"](checkpoint="./pretrained_models/sam_vit_h_4b8939.pth")
    sam.to(device="cuda")
    return SamPredictor(sam)


@pytest.mark.usefixtures("program")
def test_masks_of_a_click_become_pictures(photo: np.ndarray, direct: ZimPredictor) -> None:
    predictor = build_predictor()
    predictor.set_image(photo)
    masks, scores, low_res = predictor.predict(
        point_coords=np.array([CLICK[0].tolist()]), point_labels=np.array([1]), multimask_output=True
    )
    wanted = direct.predict(CLICK, np.array([1]))
    assert masks.dtype == np.bool_ and masks.shape == (3, 90, 160)
    for got, expected in zip((masks, scores, low_res), wanted, strict=True):
        assert np.array_equal(got, expected)
    pictures = masks.astype(np.uint8) * 255
    assert set(np.unique(pictures)) == {0, 255}
    for mask, picture in zip(masks, pictures, strict=True):
        wider = cv2.dilate(picture, np.ones((5, 5), np.uint8))
        assert (wider[mask] == 255).all() and (wider > 0).sum() >= mask.sum()


@pytest.mark.usefixtures("program")
def test_the_app_stores_features_of_two_users_and_restores_them(
    photo: np.ndarray, other_photo: np.ndarray, direct: ZimPredictor
) -> None:
    """Set, read features and four sides, reset; later set the flag, features and sides, and predict."""
    predictor = build_predictor()
    names = ("features", "orig_h", "orig_w", "input_h", "input_w")

    def store(image: np.ndarray) -> dict[str, Any]:
        predictor.set_image(image)
        stored = {name: getattr(predictor, name) for name in names}
        predictor.reset_image()
        return stored

    first, second = store(photo), store(other_photo)
    assert not predictor.is_image_set
    for stored in (second, first):
        predictor.is_image_set = True
        for name, value in stored.items():
            setattr(predictor, name, value)
        masks = predictor.predict(point_coords=CLICK / 2, point_labels=np.ones(1), multimask_output=False)[0]
        predictor.reset_image()
        assert masks.dtype == np.bool_
        assert masks.shape == (1, *((90, 160) if stored is first else (120, 70)))
    assert np.array_equal(masks, direct.predict(CLICK / 2, np.ones(1), multimask_output=False)[0])


@pytest.mark.usefixtures("program")
def test_the_video_program_passes_mask_input_none(photo: np.ndarray, direct: ZimPredictor) -> None:
    predictor = build_predictor()
    predictor.set_image(photo)
    arguments = {"point_coords": CLICK, "point_labels": np.array([1]), "mask_input": None, "box": None}
    assert np.array_equal(predictor.predict(**arguments)[0], direct.predict(CLICK, np.array([1]))[0])
    assert not torch.cuda.is_available() or predictor.device.type == "cuda"
