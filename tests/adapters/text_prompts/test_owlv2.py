"""OWLv2 behind the detector's interface: the padded square is where boxes go wrong when they go wrong."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adapters.text_prompts.owlv2 import PAD_VALUE, Owlv2Detector, padded_square
from zim.errors import PromptError


@pytest.fixture
def detector(owlv2_folder: Path) -> Owlv2Detector:
    return Owlv2Detector(str(owlv2_folder), device="cpu", nms_threshold=1)


def test_boxes_are_those_of_the_library_s_own_processing(
    owlv2_folder: Path, detector: Owlv2Detector, portrait: np.ndarray
) -> None:
    """Processor and post-processing of transformers, run by hand on a grey square, are the oracle."""
    from transformers import AutoTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessorPil, Owlv2Processor

    parts = (Owlv2ImageProcessorPil, AutoTokenizer)
    processor = Owlv2Processor(*(part.from_pretrained(owlv2_folder) for part in parts))
    model = Owlv2ForObjectDetection.from_pretrained(owlv2_folder).eval()
    square = np.pad(portrait, ((0, 0), (0, 70), (0, 0)), constant_values=PAD_VALUE)
    padding = {"padding": "max_length", "max_length": 16}
    inputs = processor(images=square, text=[["cat", "remote"]], return_tensors="pt", **padding)
    with torch.inference_mode():
        outputs = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, threshold=0.4, target_sizes=[(120, 120)], text_labels=[["cat", "remote"]]
    )
    boxes = expected["boxes"].numpy().clip(0, [50, 120, 50, 120])
    inside = boxes[:, 0] < 50
    order = np.argsort(-expected["scores"].numpy()[inside], kind="stable")
    labels = np.array(expected["text_labels"])[inside][order]
    assert 5 < inside.sum() < len(inside) and {"cat", "remote"} == set(labels)

    found = detector.detect(portrait, "cat. remote", box_threshold=0.4)
    np.testing.assert_allclose(found.boxes, boxes[inside][order], atol=1e-3)
    np.testing.assert_allclose(found.scores, expected["scores"].numpy()[inside][order], atol=1e-5)
    assert found.labels == list(labels)


@pytest.mark.parametrize("landscape", [False, True])
def test_the_grid_of_patches_comes_back_in_pixels(
    detector: Owlv2Detector, portrait: np.ndarray, landscape: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a box head of zeros every box is one patch about its lower right corner: 120 / 8 = 15 pixels."""
    image = portrait.transpose(1, 0, 2) if landscape else portrait
    last = detector._loaded.model.box_head.dense2
    monkeypatch.setattr(last, "forward", lambda features: features.new_zeros((*features.shape[:-1], 4)))
    found = detector.detect(image, "cat", box_threshold=0)
    edges = [(15 * index + 7.5, 15 * index + 22.5) for index in range(8)]
    expected = [
        [x1, y1, min(x2, image.shape[1]), min(y2, image.shape[0])]
        for x1, x2 in edges
        for y1, y2 in edges
        if x1 < image.shape[1] and y1 < image.shape[0]
    ]
    assert len(expected) == 24
    # The model keeps its logits finite by an epsilon of 1e-4.
    np.testing.assert_allclose(sorted(np.round(found.boxes, 1).tolist()), sorted(expected), atol=0.05)


def test_known_outputs_of_two_phrases(detector: Owlv2Detector, portrait: np.ndarray) -> None:
    """A portrait of 50 x 120: the frame of the boxes is 120 x 120, and what lies in its padding is nothing."""
    rows = {}

    def answer(**inputs: torch.Tensor) -> SimpleNamespace:
        rows.update(inputs)
        boxes = torch.tensor([[0.2, 0.5, 0.2, 0.5], [0.4, 0.1, 0.2, 0.1], [0.8, 0.5, 0.2, 0.2], [0.2, 0.5, 0.21, 0.5]])
        probabilities = torch.tensor([[0.3, 0.9], [0.5, 0.1], [0.9, 0.9], [0.2, 0.24]])
        return SimpleNamespace(logits=probabilities.logit()[None], pred_boxes=boxes[None])

    answer.config = detector._loaded.model.config  # type: ignore[attr-defined]
    detector._loaded = detector._loaded._replace(model=answer)
    found = detector.detect(portrait, "red cat. remote.", text_threshold=1)
    np.testing.assert_allclose(found.boxes, [[12, 30, 36, 90], [36, 6, 50, 18]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.5], atol=1e-6)
    assert found.labels == ["remote", "red cat"]
    assert rows["pixel_values"].shape == (1, 3, 64, 64)
    assert rows["input_ids"].shape == (2, 16)
    assert rows["attention_mask"].sum(dim=1).tolist() == [8, 8]  # six letters each, start and end
    detector.nms_threshold = 0.5
    assert len(detector.detect(portrait, "red cat. remote.", box_threshold=0.1).labels) == 2


def test_the_square_is_grey_and_never_larger_than_needed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 70, 3), dtype=np.uint8)
    square = padded_square(image, 100)
    assert square.shape == (70, 70, 3)
    np.testing.assert_array_equal(square[:30], image)
    assert (square[30:] == PAD_VALUE).all()
    halved = padded_square(image, 35)
    means = image.reshape(15, 2, 35, 2, 3).mean(axis=(1, 3))
    assert halved.shape == (35, 35, 3)
    assert np.abs(halved[:15] - means).max() <= 0.5  # INTER_AREA of a whole factor is the mean
    assert padded_square(np.zeros((1, 900, 3), np.uint8), 30).shape == (30, 30, 3)


@pytest.mark.parametrize("hw", [(1, 1), (3, 50), (50, 3), (1, 300)])
def test_odd_pictures_pass_through_the_real_model(detector: Owlv2Detector, hw: tuple[int, int]) -> None:
    found = detector.detect(np.full((*hw, 3), 90, np.uint8), "cat", box_threshold=0)
    assert (found.boxes >= 0).all() and (found.boxes[:, 2:] <= [hw[1], hw[0]]).all()
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()


def test_a_phrase_that_is_too_long_is_named(detector: Owlv2Detector, portrait: np.ndarray) -> None:
    with pytest.raises(PromptError, match="at most 16 tokens, got 25 in 'abcdefghijklmnopqrstuvw'"):
        detector.detect(portrait, "cat. abcdefghijklmnopqrstuvw")
