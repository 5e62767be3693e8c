"""The second-pass measurement with a predictor whose second answer has a known error."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zim.errors import DataError
from zim.evaluation.datasets import FolderDataset
from zim.evaluation.feedback import main, measure_feedback

FIRST, SECOND = 0.25, 0.5  # logits whose sigmoids are the answers


class Refiner:
    """Answers 0.25 everywhere, and 0.5 when it gets its own logits back."""

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]

    def predict(self, box=None, mask_input=None, multimask_output=True, return_logits=False, **_):
        if mask_input is not None and not (mask_input == 7).all():
            raise ValueError("not my own logits")
        alpha = FIRST if mask_input is None else SECOND
        logits = np.full((1, *self.hw), np.log(alpha / (1 - alpha)), np.float32)
        return logits, np.ones(1), np.full((1, 256, 256), 7, np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("image", "alpha"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for stem, value in (("empty", 0), ("full", 255), ("half", 128)):
        Image.new("RGB", (20, 10)).save(tmp_path / f"set/image/{stem}.png")
        Image.new("L", (20, 10), value).save(tmp_path / f"set/alpha/{stem}.png")
    return tmp_path / "set"


def test_both_passes_have_their_known_errors(root: Path) -> None:
    measured = measure_feedback(FolderDataset(root), Refiner())
    half = 128 / 255
    assert measured["first_mse"] == pytest.approx(500 * ((1 - FIRST) ** 2 + (half - FIRST) ** 2), rel=1e-5)
    assert measured["second_mse"] == pytest.approx(500 * ((1 - SECOND) ** 2 + (half - SECOND) ** 2), rel=1e-5)
    assert measured["no_worse"] == 1 and measured["count"] == 2
    assert [s["sample"] for s in measured["skipped"]] == ["empty"]


def test_command_writes_and_prints(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--root",
        str(root),
        "--model",
        "refiner",
        "--threads",
        "1",
        "--json",
        str(tmp_path / "f.json"),
    ]
    assert main(arguments, load=lambda name, device: Refiner()) == 0
    written = json.loads((tmp_path / "f.json").read_text())
    assert written["model"] == "refiner" and len(written["images"]) == 2
    assert f"{written['second_mse']:.3f}" in capsys.readouterr().out


def test_a_set_without_objects_is_an_error(root: Path) -> None:
    with pytest.raises(DataError, match="skipped all 1"):
        measure_feedback(FolderDataset(root, limit=1), Refiner())


@pytest.mark.parametrize("fails", ["load", "set_image", "predict", "shape"])
def test_a_foreign_model_that_fails_is_one_line_that_names_it(
    root: Path, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    class Foreign(Refiner):
        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
            if fails == "set_image":
                raise AttributeError("no\nencoder")
            super().set_image(image, image_format)

        def predict(self, **prompt):
            if fails == "predict":
                raise MemoryError("too much")
            logits, scores, low_res = super().predict(**prompt)
            return logits[:, ::2], scores, low_res

    def load(name: str, device: str) -> Foreign:
        if fails == "load":
            raise OSError("weights\nmissing")
        return Foreign()

    assert main(["--root", str(root), "--model", "their.module:factory"], load=load) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    expected = {
        "load": "failed to load: OSError: weights missing",
        "set_image": "failed on full: AttributeError: no encoder",
        "predict": "failed on full: MemoryError: too much",
        "shape": "failed on full: ValueError: prediction: expected the truth's shape",
    }
    assert f"error: model their.module:factory {expected[fails]}" in line
