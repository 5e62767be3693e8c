"""sam-hq's demo: `hq_token_only` everywhere, boxes with a row axis, several boxes as a tensor; MobileSAM's notebook."""

from typing import Any

import numpy as np
import pytest
import torch

from zim.predictor import ZimPredictor

BOX = np.array([[20, 10, 110, 70]])
POINTS = np.array([[40, 30], [120, 60]])


def build(package: str, key: str, checkpoint: str) -> Any:
    """The package's own names; `sam` goes to the GPU and into evaluation mode."""
    library = __import__(package, fromlist=["sam_model_registry", "SamPredictor"])
    sam = library.sam_model_registry[key](checkpoint=checkpoint)
    sam.to(device="cuda")
    sam.eval()
    return library.SamPredictor(sam)


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("hq_token_only", [False, True])
@pytest.mark.parametrize(
    ("package", "key", "checkpoint"),
    [
        ("segment_anything_hq", "vit_l", "./pretrained_checkpoint/sam_hq_vit_l.pth"),
        ("segment_anything", "vit_tiny", "./pretrained_checkpoint/sam_hq_vit_tiny.pth"),
    ],
)
def test_one_prompt_after_the_other(
    package: str, key: str, checkpoint: str, hq_token_only: bool, photo: np.ndarray, direct: ZimPredictor
) -> None:
    predictor = build(package, key, checkpoint)
    predictor.set_image(photo)
    for box, points in ((BOX, None), (None, POINTS)):
        labels = None if points is None else np.ones(points.shape[0])
        masks, scores, logits = predictor.predict(
            point_coords=points,
            point_labels=labels,
            box=box,
            multimask_output=False,
            hq_token_only=hq_token_only,
        )
        assert masks.dtype == np.bool_ and masks.shape == (1, 90, 160) and logits.shape == (1, 32, 32)
        assert [f"{score:.3f}" for score in scores]
        assert np.array_equal(masks, direct.predict(points, labels, box, multimask_output=False)[0])


@pytest.mark.usefixtures("program")
def test_several_boxes_as_a_tensor(photo: np.ndarray, direct: ZimPredictor) -> None:
    predictor = build("segment_anything_hq", "vit_l", "sam_hq_vit_l.pth")
    predictor.set_image(photo)
    boxes = torch.tensor([[45, 20, 115, 70], [10, 28, 84, 66]], device=predictor.device)
    transformed = predictor.transform.apply_boxes_torch(boxes, photo.shape[:2])
    masks, scores, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed, multimask_output=False, hq_token_only=False
    )
    masks, scores = masks.squeeze(1).cpu().numpy(), scores.squeeze(1).cpu().numpy()
    assert masks.shape == (2, 90, 160) and masks.dtype == np.bool_ and scores.shape == (2,)
    for mask, box in zip(masks, boxes.cpu().numpy(), strict=True):
        logits = direct.predict(box=box, multimask_output=False, return_logits=True)[0][0]
        assert (mask != (logits > 0))[np.abs(logits) > 1e-3].sum() == 0


@pytest.mark.usefixtures("program")
def test_the_seventh_position_is_hq_token_only(photo: np.ndarray, direct: ZimPredictor) -> None:
    predictor = build("segment_anything_hq", "vit_b", "sam_hq_vit_b.pth")
    predictor.set_image(photo)
    logits = predictor.predict(None, None, BOX, None, True, True, True)[0]
    assert logits.dtype == np.float32
    assert np.array_equal(logits, direct.predict(None, None, BOX, None, True, True)[0])


@pytest.mark.usefixtures("program")
def test_the_baseline_registry_of_sam_hq(photo: np.ndarray, direct: ZimPredictor) -> None:
    from segment_anything import SamPredictor, sam_model_registry_baseline

    predictor = SamPredictor(sam_model_registry_baseline["vit_l"](checkpoint="sam_vit_l_0b3195.pth"))
    predictor.set_image(photo)
    assert np.array_equal(predictor.predict(box=BOX)[0], direct.predict(box=BOX)[0])


@pytest.mark.usefixtures("program")
def test_mobile_sams_own_key(photo: np.ndarray, direct: ZimPredictor) -> None:
    predictor = build("mobile_sam", "vit_t", "./weights/mobile_sam.pt")
    predictor.set_image(photo)
    masks = predictor.predict(POINTS, np.array([1, 0]))[0]
    assert np.array_equal(masks, direct.predict(POINTS, np.array([1, 0]))[0])
