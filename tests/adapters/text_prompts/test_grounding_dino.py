"""GroundingDINO behind the detector's interface: the real class, its own post-processing as oracle, planted outputs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from adapters.text_prompts.grounding_dino import GroundingDinoDetector
from zim.errors import ConfigError, ImageError, PromptError

CAPTION = "The  red cat.remote ."  # tokens: [CLS] the red cat . remote . [SEP]
THE, RED, CAT, REMOTE = 1, 2, 3, 5
CLS = 0


class Planted:
    """In place of the model: remembers its inputs and answers with given boxes and token probabilities."""

    def __init__(self, model: Any, boxes: Any, words: list[dict[int, float]]) -> None:
        self.config = model.config
        self.boxes = torch.tensor(boxes, dtype=torch.float32)
        probabilities = torch.full((len(words), 32), 0.01)
        for row, given in enumerate(words):
            for token, probability in given.items():
                probabilities[row, token] = probability
        self.logits = probabilities.logit()
        self.inputs: dict[str, torch.Tensor] = {}

    def __call__(self, **inputs: torch.Tensor) -> SimpleNamespace:
        self.inputs = inputs
        length = inputs["input_ids"].shape[1]
        logits = self.logits.clone()
        logits[:, length:] = -torch.inf  # as the model pads
        return SimpleNamespace(logits=logits[None], pred_boxes=self.boxes[None])


def planted(folder: Path, boxes: Any, words: list[dict[int, float]]) -> tuple[GroundingDinoDetector, Planted]:
    """A detector whose model is `Planted`; boxes are centre x, centre y, width, height of the whole frame."""
    detector = GroundingDinoDetector(str(folder), device="cpu")
    model = Planted(detector._loaded.model, boxes, words)
    detector._loaded = detector._loaded._replace(model=model)
    return detector, model


def test_boxes_are_those_of_the_library_s_own_processing(grounding_dino_folder: Path, portrait: np.ndarray) -> None:
    """Processor and post-processing of transformers, run by hand, are the oracle."""
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    processor = GroundingDinoProcessor.from_pretrained(grounding_dino_folder)
    model = GroundingDinoForObjectDetection.from_pretrained(grounding_dino_folder).eval()
    inputs = processor(images=portrait, text="the red cat. remote.", return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    threshold = float(outputs.logits[0].sigmoid().amax(dim=1).median())
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=threshold, target_sizes=[portrait.shape[:2]]
    )
    assert 5 < len(expected["scores"]) < 15
    order = expected["scores"].argsort(descending=True)

    detector = GroundingDinoDetector(str(grounding_dino_folder), device="cpu", nms_threshold=1)
    found = detector.detect(portrait, CAPTION, box_threshold=threshold, text_threshold=0)
    boxes = expected["boxes"][order].numpy().clip(0, [50, 120, 50, 120])
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected["scores"][order], atol=1e-6)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)


def test_known_outputs_in_a_portrait(grounding_dino_folder: Path, portrait: np.ndarray) -> None:
    """50 x 120 pixels: boxes go back by width and height of their own, duplicates and weak ones go."""
    detector, model = planted(
        grounding_dino_folder,
        [
            [0.5, 0.25, 0.4, 0.1],  # x 15..35, y 24..36
            [0.1, 0.9, 0.4, 0.4],  # x -5..15, y 84..132: leaves the frame
            [0.5, 0.5, 0.9, 0.9],
            [0.5, 0.255, 0.4, 0.1],  # the first one again, less sure
            [0.8, 0.5, 0.2, 0.1],  # no word of it is meant
        ],
        [{CAT: 0.8, REMOTE: 0.5}, {THE: 0.3, REMOTE: 0.6}, {CAT: 0.2}, {CAT: 0.7}, {CLS: 0.9, RED: 0.2}],
    )
    found = detector.detect(portrait, CAPTION)
    np.testing.assert_allclose(found.boxes, [[15, 24, 35, 36], [0, 84, 15, 120]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.8, 0.6], atol=1e-6)
    assert found.labels == ["the red cat", "remote"]
    assert model.inputs["input_ids"].tolist() == [[101, 1103, 1102, 1100, 1012, 1101, 1012, 102]]
    assert model.inputs["pixel_values"].shape == (1, 3, 96, 40)  # the long side limits, the aspect stays


def test_each_threshold_and_the_overlap_decide_for_themselves(
    grounding_dino_folder: Path, portrait: np.ndarray
) -> None:
    boxes = [[0.3, 0.3, 0.2, 0.2], [0.31, 0.3, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]
    detector, _ = planted(grounding_dino_folder, boxes, [{CAT: 0.8}, {REMOTE: 0.7}, {CLS: 0.9, RED: 0.2}])
    cases = {(0.25, 0.25): [0.8], (0.85, 0.1): [0.9], (0.25, 0.1): [0.9, 0.8], (0.95, 0.1): [], (0.25, 0.85): []}
    for (box_threshold, text_threshold), scores in cases.items():
        found = detector.detect(portrait, CAPTION, box_threshold=box_threshold, text_threshold=text_threshold)
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)
        assert found.boxes.shape == (len(scores), 4)
    detector.nms_threshold = 0.95  # the two overlap by an IoU of 0.905
    found = detector.detect(portrait, CAPTION)
    assert found.labels == ["the red cat", "remote"]


@pytest.mark.parametrize("hw", [(2, 320), (320, 2)])
def test_a_ribbon_is_padded_and_its_box_comes_back(grounding_dino_folder: Path, hw: tuple[int, int]) -> None:
    """The short side of 2 is padded to 320 / 16 = 20, so that a box over the first tenth of it is the picture's."""
    long = [0.5, 0.05, 0.25, 0.1]  # a quarter of the length, 2 of 20 pixels across
    box = long if hw[0] == 2 else [long[1], long[0], long[3], long[2]]
    detector, model = planted(grounding_dino_folder, [box], [{CAT: 0.8}])
    found = detector.detect(np.zeros((*hw, 3), np.uint8), "the red cat")
    expected = [120, 0, 200, 2] if hw[0] == 2 else [0, 120, 2, 200]
    np.testing.assert_allclose(found.boxes, [expected], atol=1e-4)
    assert max(model.inputs["pixel_values"].shape[2:]) == 96
    assert min(model.inputs["pixel_values"].shape[2:]) == 6


@pytest.mark.parametrize("hw", [(1, 1), (3, 50), (50, 3), (1, 300)])
def test_odd_pictures_pass_through_the_real_model(grounding_dino_folder: Path, hw: tuple[int, int]) -> None:
    detector = GroundingDinoDetector(str(grounding_dino_folder), device="cpu")
    found = detector.detect(np.full((*hw, 3), 90, np.uint8), "cat", box_threshold=0, text_threshold=0)
    assert (found.boxes >= 0).all() and (found.boxes[:, 2:] <= [hw[1], hw[0]]).all()
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
    assert (np.diff(found.scores) <= 0).all()


def test_words_that_the_tokenizer_does_not_know_are_words(grounding_dino_folder: Path, portrait: np.ndarray) -> None:
    detector, model = planted(grounding_dino_folder, [[0.5, 0.5, 0.2, 0.2]], [{3: 0.8}])
    found = detector.detect(portrait, "cat. zyx")  # [CLS] cat . [UNK] . [SEP]
    assert (model.inputs["input_ids"].tolist(), found.labels) == ([[101, 1100, 1012, 100, 1012, 102]], ["zyx"])


def test_bad_input_is_refused(grounding_dino_folder: Path, portrait: np.ndarray) -> None:
    detector = GroundingDinoDetector(str(grounding_dino_folder), device="cpu")
    with pytest.raises(PromptError, match="at most 32 tokens for GroundingDinoDetector, got 43"):
        detector.detect(portrait, "cat " * 40)
    with pytest.raises(PromptError, match="expected a phrase"):
        detector.detect(portrait, " . ")
    with pytest.raises(ImageError, match="float64 array"):
        detector.detect(portrait / 255, "cat")
    with pytest.raises(ConfigError, match="box_threshold: expected a number in .*, got 25"):
        detector.detect(portrait, "cat", box_threshold=25)
    with pytest.raises(ConfigError, match="nms_threshold"):
        GroundingDinoDetector(str(grounding_dino_folder), nms_threshold=1.5)
