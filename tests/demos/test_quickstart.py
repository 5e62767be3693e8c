"""The demo with predictors whose answers are known; the photographs are scikit-image's own."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import zim
from zim.errors import CheckpointError, MissingDependencyError
from zim.image_io import read_alpha, read_image

SOURCE = Path(__file__).parents[2] / "demos" / "quickstart.py"


@pytest.fixture
def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ConstantPredictor:
    """Answers one logit inside the box and its opposite outside."""

    def __init__(self, logit: float) -> None:
        self.logit = logit

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]

    def predict(self, box: Any = None, **_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = np.full((1, *self.hw), -self.logit, np.float32)
        x1, y1, x2, y2 = (int(value) for value in box)
        logits[0, y1 : y2 + 1, x1 : x2 + 1] = self.logit
        return logits, np.ones(1, np.float32), np.zeros((1, 256, 256), np.float32)


def _answer_with(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    def load_predictor(name: str, device: str = "auto") -> Any:
        answer = answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(zim, "load_predictor", load_predictor, raising=False)


def _panel(quickstart: ModuleType, comparison: np.ndarray, index: int) -> np.ndarray:
    """One of the four panels, cut out of the comparison picture by its documented layout."""
    width = (comparison.shape[1] - quickstart.GAP) // 4 - quickstart.GAP
    left = quickstart.GAP + index * (width + quickstart.GAP)
    top = quickstart.TITLE_HEIGHT
    return comparison[top : top + quickstart.PANEL_HEIGHT, left : left + width]


def test_writes_alpha_cutout_and_four_panels(
    quickstart: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _answer_with(monkeypatch, zim_tiny=ConstantPredictor(20.0), sam_tiny=ConstantPredictor(-20.0))
    assert quickstart.main(["--out", str(tmp_path)]) == 0
    names = sorted(file.name for file in tmp_path.iterdir())
    kinds = ("alpha", "comparison", "cutout")
    assert names == [f"{subject}_{kind}.png" for subject in ("astronaut", "chelsea") for kind in kinds]
    for subject in quickstart.SUBJECTS:
        photo = quickstart.load_photo(subject.name)
        x1, y1, x2, y2 = subject.box
        assert 0 <= x1 < x2 < photo.shape[1]
        assert 0 <= y1 < y2 < photo.shape[0]
        alpha = read_alpha(tmp_path / f"{subject.name}_alpha.png")
        assert alpha.sum() == (x2 - x1 + 1) * (y2 - y1 + 1)
        colours = read_image(tmp_path / f"{subject.name}_cutout.png")
        np.testing.assert_array_equal(colours[alpha == 1], photo[alpha == 1])
        comparison = read_image(tmp_path / f"{subject.name}_comparison.png")
        baseline, ours = (_panel(quickstart, comparison, index).mean() / 255 for index in (1, 2))
        assert abs(ours - alpha.mean()) < 0.01
        assert abs(ours + baseline - 1) < 0.01
    printed = capsys.readouterr().out
    assert "chelsea: 451x300, the cat, box (0, 0, 402, 299)" in printed
    assert printed.count(" s\n") >= 2 + 2 * 6
    assert str(tmp_path / "chelsea_comparison.png") in printed


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (MissingDependencyError("pip install it"), "not installed"),
        (CheckpointError("no file"), "not available"),
    ],
)
def test_a_baseline_that_is_not_there_is_said_and_left_out(
    problem: Exception,
    words: str,
    quickstart: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _answer_with(monkeypatch, mine=ConstantPredictor(20.0), sam_tiny=problem)
    monkeypatch.setattr(quickstart, "SUBJECTS", quickstart.SUBJECTS[:1])
    assert quickstart.main(["--out", str(tmp_path), "--model", "mine"]) == 0
    assert f"sam_tiny: {words} ({problem})" in capsys.readouterr().out
    panel = _panel(quickstart, read_image(tmp_path / "chelsea_comparison.png"), 1)
    assert (panel[:100] == 230).all()
    assert panel[160:200].min() < 150, "the words stand in the middle"


def test_a_failing_model_is_one_line(
    quickstart: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _answer_with(monkeypatch, zim_tiny=CheckpointError("weights: not here"))
    assert quickstart.main(["--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "quickstart: error: weights: not here\n"
    assert not (tmp_path / "out").exists()
