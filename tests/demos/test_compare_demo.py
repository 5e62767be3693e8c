"""What the comparison computes and refuses, without a browser."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demos.common.comparing import (
    TimedModels,
    chosen_pair,
    compared,
    drawn_object,
    open_truth,
    report,
    table_html,
)
from demos.common.models import ModelPool
from demos.common.photo_session import PhotoSession
from demos.common.serving import Services
from demos.compare import PREDICTORS, names_of
from zim.errors import ImageError, ZimError

NAMES = ("right", "left <b>")


class Knows:
    """Answers with one alpha, whatever it is asked."""

    def __init__(self, alpha: np.ndarray) -> None:
        clipped = np.clip(alpha, 1e-6, 1 - 1e-6)
        self._logits = np.log(clipped / (1 - clipped))[None]

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        pass

    def predict(self, *arguments: object, **prompts: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._logits, np.ones(1), np.zeros((1, 256, 256))


class Halves(Knows):
    """One that comparisons list in two ways."""

    reports_binary = True


def session_with(kind: str = "plain") -> tuple[PhotoSession, TimedModels, np.ndarray]:
    """One model that knows the truth, and one of the SAM family that says it is half of it."""
    drawn = drawn_object(kind)
    pool = ModelPool(predictors={NAMES[0]: Knows(drawn.truth), NAMES[1]: Halves(drawn.truth / 2)})
    ask = TimedModels(pool)
    session = PhotoSession(ask, NAMES)
    session.start(drawn.photo)
    session.load((drawn.prompts,))
    return session, ask, drawn.truth


def test_table_against_figures_worked_out_by_hand() -> None:
    session, ask, truth = session_with()
    result = compared(session, ask, truth)
    rows = {line.row: line for line in result.lines}
    assert list(rows) == ["right", "left <b> (binary)", "left <b> (sigmoid)"]
    total = float(truth.sum()) / 1000
    assert rows["right"].errors is not None and rows["right"].errors.sad == pytest.approx(0, abs=1e-3)
    soft = rows["left <b> (sigmoid)"].errors
    assert soft is not None and soft.sad == pytest.approx(total / 2, rel=1e-3)
    assert result.difference.sad == pytest.approx(total / 2, rel=1e-3)
    written = report(result, session)
    assert written["objects"][0]["box"] and written["rows"][0]["seconds"]["prompt"] >= 0
    shown = table_html(result)
    assert "left &lt;b&gt; (binary)" in shown and "left <b>" not in shown


def test_without_a_truth_only_times_and_the_difference() -> None:
    session, ask, _ = session_with()
    result = compared(session, ask, None)
    assert all(line.errors is None and line.times is not None for line in result.lines)
    assert "sad" not in report(result, session)["rows"][0]
    assert "SAD" in table_html(result) and "<th scope='col'>SAD" not in table_html(result)


def test_drawn_objects_keep_their_exact_alpha() -> None:
    drawn = drawn_object("wires")
    assert drawn.truth.shape == drawn.photo.hw == drawn.photo.working.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in drawn.prompts.box or ())
    outside = drawn.truth.copy()
    outside[y1:y2, x1:x2] = 0
    assert outside.max() <= 0.3 < drawn.truth.max()
    with pytest.raises(ImageError, match="expected one of fur, .* got 'x'"):
        drawn_object("x")


def test_a_true_alpha_must_fit_its_photo(tmp_path: Path) -> None:
    photo = drawn_object("plain").photo
    grey = np.tile(np.arange(256, dtype=np.uint8).repeat(2), (512, 1))
    Image.fromarray(grey).save(tmp_path / "truth.png")
    assert np.array_equal(open_truth(tmp_path / "truth.png", photo), grey / np.float32(255))
    Image.fromarray(grey[:9, :7]).save(tmp_path / "small.png")
    with pytest.raises(ZimError, match="size 512 x 512, got 7 x 9 in small.png"):
        open_truth(tmp_path / "small.png", photo)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ZimError, match="text.png is none or is damaged"):
        open_truth(tmp_path / "text.png", photo)
    with pytest.raises(ZimError, match="expected a picture file, got 17"):
        open_truth(17, photo)  # type: ignore[arg-type]
    with pytest.raises(ZimError, match="choose or upload its photo first"):
        open_truth(tmp_path / "truth.png", None)


@pytest.mark.parametrize("value", [None, 3, ["zim_tiny"], "os:system", "/etc/passwd", "a" * 10_000])
def test_only_names_that_are_offered_are_taken(value: object) -> None:
    with pytest.raises(ZimError, match="model: expected one of zim_tiny, sam_tiny, hq_zim_tiny, grabcut, got"):
        chosen_pair(value, "sam_tiny", PREDICTORS)
    with pytest.raises(ZimError, match="two different ones, got sam_tiny twice"):
        chosen_pair("sam_tiny", "sam_tiny", PREDICTORS)
    assert chosen_pair("grabcut", "sam_tiny", PREDICTORS) == ("grabcut", "sam_tiny")


def test_names_on_the_command_line() -> None:
    services = Services(pool=ModelPool(), model="b", baseline="c")
    assert names_of(["a", " b", "d", "b", ""], services) == ("b", "a", "d")
    with pytest.raises(ZimError, match="at least two names, got a"):
        names_of(["a", "a"], services)
