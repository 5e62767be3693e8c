"""Records become samples whose truth is the record's."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluation.most_confident import MostConfident
from training.evaluation.samples import ObjectRule, samples_of
from training.readers.masks import LabelMasks, MaskSet
from training.readers.registry import open_dataset
from zim.alpha import predict_alpha
from zim.errors import DataError


def test_every_mask_is_a_sample_of_zeros_and_ones(labels: tuple[Path, Path]) -> None:
    record = open_dataset("label_folder", labels[0])[0]
    image, masks = record.load()
    samples = list(samples_of(record, (image, masks), ObjectRule(), "one/"))
    assert [sample.id for sample in samples] == ["one/p#0:1", "one/p#1:2", "one/p#2:3"]
    for index, sample in enumerate(samples):
        picture, alpha = sample.load()
        assert picture is image and alpha.dtype == np.float32
        assert np.array_equal(alpha > 0, masks[index]) and set(np.unique(alpha)) <= {0.0, 1.0}


def test_small_masks_and_those_beyond_the_limit_are_left_out() -> None:
    label = np.zeros((1, 10, 10), np.uint8)
    for number in range(1, 6):
        label[0, number, :number] = number  # id n has n pixels
    masks = LabelMasks(label)
    assert ObjectRule().chosen(masks) == [0, 1, 2, 3, 4]
    assert ObjectRule(min_area=3).chosen(masks) == [2, 3, 4]
    assert ObjectRule(min_area=2, most=2).chosen(masks) == [1, 3]


def test_a_mask_that_cannot_be_made_is_a_fault_of_the_data(labels: tuple[Path, Path]) -> None:
    class Broken(MaskSet):
        size_hw, info = (40, 50), LabelMasks(np.ones((1, 40, 50), np.uint8)).info

        def _mask(self, index: int) -> np.ndarray:
            raise IndexError("run past the end")

    record = open_dataset("label_folder", labels[0])[0]
    (sample,) = samples_of(record, (record.load_image(), Broken()), ObjectRule())
    with pytest.raises(DataError, match=r"p\.png: mask 0: IndexError\('run past the end'\)"):
        sample.load()


def test_the_most_confident_of_three_is_taken() -> None:
    class Three:
        reports_binary = True

        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
            self.hw = image.shape[:2]

        def predict(self, multimask_output: bool = True, **_: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            assert multimask_output
            values = np.array([-2.0, 1.0, 3.0], np.float32)
            logits = np.broadcast_to(values[:, None, None], (3, *self.hw))
            return logits, np.array([0.1, 0.9, 0.5]), np.broadcast_to(values[:, None, None], (3, 256, 256))

    best = MostConfident(Three())
    best.set_image(np.zeros((4, 6, 3), np.uint8))
    alpha = predict_alpha(best, box=np.array([0, 0, 3, 3]))
    assert best.reports_binary and alpha == pytest.approx(1 / (1 + np.exp(-1)))
    masks, scores, low_res = best.predict(multimask_output=False)
    assert masks.shape == (1, 4, 6) and scores.tolist() == [0.9] and (low_res == 1).all()
    assert len(best.predict()[1]) == 3
