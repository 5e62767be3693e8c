"""The timing command with a predictor that takes known times."""

import json

import numpy as np
import pytest

from zim.evaluation.speed import main, measure_speed, synthetic_photo


class Clock:
    """Stands in for `time` and moves only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


class Sleeper:
    """Takes 30, 31, ... ms for an image and 10, 11, ... ms for a prompt; its very first calls take 1 s."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls = {"set_image": 0, "predict": 0}

    def _take(self, what: str, seconds: float) -> None:
        calls = self.calls[what]
        self.clock.seconds += seconds + (calls - 1) / 1000 if calls else 1.0
        self.calls[what] += 1

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]
        self._take("set_image", 0.03)

    def predict(self, box=None, multimask_output=True, return_logits=False, **_):
        self._take("predict", 0.01)
        self.box = box
        return np.zeros((1, *self.hw), np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("zim.evaluation.machine.time", clock)
    return clock


def test_medians_leave_out_the_warm_up(clock: Clock) -> None:
    sleeper = Sleeper(clock)
    measured = measure_speed(sleeper, np.zeros((60, 80, 3), np.uint8), repeats=3)
    assert sleeper.calls == {"set_image": 4, "predict": 4}
    assert measured["set_image_seconds"] == pytest.approx(0.031)
    assert measured["prompt_seconds"] == pytest.approx(0.011)
    assert measured["image_hw"] == [60, 80] and sleeper.box.tolist() == [20, 15, 60, 45]
    with pytest.raises(ValueError, match="repeats: expected a number >= 1, got 0"):
        measure_speed(sleeper, np.zeros((60, 80, 3), np.uint8), repeats=0)


def test_command_prints_json_with_the_machine(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "sleeper", "--repeats", "1", "--threads", "1", "--json"]
    assert main(arguments, load=lambda name, device: Sleeper(clock)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == "sleeper" and printed["machine"]["threads"] == 1
    assert max(printed["image_hw"]) == 1024 and printed["set_image_seconds"] == pytest.approx(0.03)


def test_the_synthetic_photo_is_fixed_and_no_plain_surface() -> None:
    photo = synthetic_photo(96, 128)
    assert photo.dtype == np.uint8 and np.array_equal(photo, synthetic_photo(96, 128))
    assert photo.std(axis=(0, 1)).min() > 10


@pytest.mark.parametrize("fails", ["set_image", "predict", "shape"])
def test_a_predictor_that_fails_is_one_line_that_names_it(
    clock: Clock, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    class Foreign(Sleeper):
        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
            if fails == "set_image":
                raise KeyError("out of\nideas")
            super().set_image(image, image_format)

        def predict(self, **prompt):
            if fails == "predict":
                raise RuntimeError("out of\nideas")
            masks, scores, low_res = super().predict(**prompt)
            return masks[0] > 0, scores, low_res

    assert main(["--model", "their.module:factory"], load=lambda name, device: Foreign(clock)) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: model their.module:factory failed to be timed: ") and line.count("\n") == 1
    assert {"set_image": "KeyError: ", "predict": "RuntimeError: out of ideas", "shape": "TypeError: "}[fails] in line


def test_a_factory_that_fails_is_one_line_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    def load(name: str, device: str) -> Sleeper:
        raise ZeroDivisionError

    assert main(["--model", "their.module:factory"], load=load) == 1
    assert capsys.readouterr().err == "error: model their.module:factory failed to load: ZeroDivisionError\n"


def test_interrupts_are_not_the_models_fault(clock: Clock) -> None:
    def load(name: str, device: str) -> Sleeper:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main(["--model", "sleeper"], load=load)
    assert main(["--model", "sleeper", "--repeats", "0"], load=load) == 1
