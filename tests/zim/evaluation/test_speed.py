"""The timing command with a predictor that takes known times."""

import json
import time

import numpy as np
import pytest

from zim.evaluation.speed import main, measure_speed, synthetic_photo


class Sleeper:
    """Takes 30 ms for an image, 10 ms for a prompt; its very first calls take longer."""

    def __init__(self) -> None:
        self.calls = {"set_image": 0, "predict": 0}

    def _sleep(self, what: str, seconds: float) -> None:
        self.calls[what] += 1
        time.sleep(seconds if self.calls[what] > 1 else 0.1)

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]
        self._sleep("set_image", 0.03)

    def predict(self, box=None, multimask_output=True, return_logits=False, **_):
        self._sleep("predict", 0.01)
        self.box = box
        return np.zeros((1, *self.hw), np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


def test_medians_leave_out_the_warm_up() -> None:
    sleeper = Sleeper()
    measured = measure_speed(sleeper, np.zeros((60, 80, 3), np.uint8), repeats=3)
    assert sleeper.calls == {"set_image": 4, "predict": 4}
    assert 0.03 <= measured["set_image_seconds"] < 0.09
    assert 0.01 <= measured["prompt_seconds"] < 0.09
    assert measured["image_hw"] == [60, 80] and sleeper.box.tolist() == [20, 15, 60, 45]
    with pytest.raises(ValueError, match="repeats: expected a number >= 1, got 0"):
        measure_speed(sleeper, np.zeros((60, 80, 3), np.uint8), repeats=0)


def test_command_prints_json_with_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "sleeper", "--repeats", "1", "--threads", "1", "--json"]
    assert main(arguments, load=lambda name, device: Sleeper()) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == "sleeper" and printed["machine"]["threads"] == 1
    assert max(printed["image_hw"]) == 1024 and printed["set_image_seconds"] >= 0.03


def test_the_synthetic_photo_is_fixed_and_no_plain_surface() -> None:
    photo = synthetic_photo(96, 128)
    assert photo.dtype == np.uint8 and np.array_equal(photo, synthetic_photo(96, 128))
    assert photo.std(axis=(0, 1)).min() > 10
