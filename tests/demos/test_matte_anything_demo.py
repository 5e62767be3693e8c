"""The matting bench without a browser: settings, sizes, files, stale mattes, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.fine_objects import fine_scene
from adapters.matte_anything import KernelTrimap, MatteTrimap
from adapters.oracle import OraclePredictor
from demos.common import matte_job
from demos.common.backdrops import colour_of
from demos.common.errors import BusyError, LimitError
from demos.common.matte_job import (
    MatteResult,
    MatteSettings,
    check_mode,
    offered_modes,
    run_matte,
    trimap_rule,
    write_composite,
)
from demos.common.matte_session import MatteSession
from demos.common.models import ModelPool
from demos.common.photos import Photo, open_photo
from demos.common.prompts import ObjectPrompts
from demos.common.serving import Services
from demos.common.turns import Seats
from demos.common.word_search import find_words
from zim.errors import ConfigError, PromptError
from zim.image_io import to_uint8
from zim.text_detection import Detections

SCENE = fine_scene("feather", seed=2, side=160)
WHOLE = ObjectPrompts(box=(0.0, 0.0, 160.0, 160.0))
BANDS, KERNELS = (0.05, 0.95, 0.08), (10, 10, 5)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    Image.fromarray(SCENE.image).save(tmp_path / "feather.png")
    return open_photo(tmp_path / "feather.png")


class Recorded:
    """A detector that finds one box, whatever it is asked."""

    def detect(self, image: np.ndarray, phrases: str, **thresholds: float) -> Detections:
        return Detections(np.array([[10, 10, 80, 80]], np.float32), np.array([0.9], np.float32), [phrases])


def services_of(alpha: np.ndarray = SCENE.alpha) -> Services:
    """Services whose model knows the truth."""
    oracle = OraclePredictor()
    oracle.expect(alpha)
    return Services(pool=ModelPool(predictors={"zim_tiny": oracle}), baseline=None, detector=Recorded())


def matted(photo: Photo, **settings: Any) -> MatteResult:
    return run_matte(services_of(), photo, [WHOLE, ObjectPrompts()], MatteSettings(model="zim_tiny", **settings))


def test_files_are_the_truth_of_the_oracle(photo: Photo) -> None:
    result = matted(photo)
    alpha = np.asarray(Image.open(result.files["alpha"]))
    assert np.abs(alpha.astype(int) - to_uint8(SCENE.alpha)).max() <= 1
    trimap = np.asarray(Image.open(result.files["trimap"]))
    assert set(np.unique(trimap)) <= {0, 128, 255} and trimap.shape == (160, 160)
    assert result.trimap.shape == result.alpha.shape == (160, 160, 3) and result.cutout.shape == (160, 160, 4)
    composite = np.asarray(Image.open(write_composite(result, photo, (0, 0, 255))))
    assert (composite[SCENE.alpha == 0] == (0, 0, 255)).all()
    assert result.line.startswith("zim with zim_tiny: ")
    result.outbox.close()


def test_a_refiner_works_on_a_small_copy_and_the_files_have_the_photos_size(tmp_path: Path) -> None:
    pytest.importorskip("pymatting")
    wide = np.repeat(np.repeat(SCENE.image, 6, axis=0), 6, axis=1)  # 960 x 960
    truth = np.repeat(np.repeat(SCENE.alpha, 6, axis=0), 6, axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    opened = open_photo(tmp_path / "wide.png")

    class Shrunk:
        """Knows the truth of whatever size it is shown."""

        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
            side = image.shape[0]
            assert side == 320
            self.alpha = np.asarray(Image.fromarray(truth).resize((side, side)), np.float32)

        def predict(self, *_: Any, **__: Any) -> Any:
            odds = np.clip(self.alpha, 1e-4, 1 - 1e-4)
            return np.log(odds / (1 - odds))[None], np.ones(1), np.zeros((1, 256, 256))

    services = Services(pool=ModelPool(predictors={"zim_tiny": Shrunk()}), baseline=None)
    told: list[tuple[float, str]] = []
    settings = MatteSettings(model="zim_tiny", mode="zim+pymatting", long_side=320)
    box = ObjectPrompts(box=(0.0, 0.0, 960.0, 960.0))
    result = run_matte(services, opened, [box], settings, report=lambda share, text: told.append((share, text)))
    alpha = np.asarray(Image.open(result.files["alpha"]))
    assert alpha.shape == (960, 960)
    assert np.abs(alpha / 255 - truth).mean() < 0.05
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert any("unknown pixels" in text for _, text in told)
    result.outbox.close()


def test_what_is_too_large_is_refined_on_a_copy_only(photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matte_job, "LARGE_PIXELS", 100)
    with pytest.raises(LimitError, match="size: expected photos of at most"):
        matted(photo, mode="zim+pymatting", long_side=0)
    result = matted(photo, long_side=0)
    assert set(result.files) == {"alpha", "trimap", "cutout"}
    result.outbox.close()


def test_trimap_rules_and_modes() -> None:
    assert trimap_rule("zim", (0.1, 0.9, 0.02), KERNELS) == MatteTrimap(low=0.1, high=0.9, band_share=0.02)
    assert trimap_rule("sam+pymatting", BANDS, (3, 4, 2)) == KernelTrimap(erode=3, dilate=4, iterations=2)
    with pytest.raises(ConfigError, match="low and high"):
        trimap_rule("zim", (0.5, 0.5, 0.02), KERNELS)
    with pytest.raises(LimitError, match="low: expected a finite number, got nan"):
        trimap_rule("zim", (float("nan"), 0.9, 0.02), KERNELS)
    with pytest.raises(LimitError, match="iterations: expected at most 20, got 9999"):
        trimap_rule("sam+pymatting", BANDS, (3, 4, 9999))
    with pytest.raises(LimitError, match="mode: expected text"):
        check_mode(["zim"], None)
    with pytest.raises(ConfigError, match="--vitmatte"):
        check_mode("zim+vitmatte", None)
    assert offered_modes(None) == ["zim", "zim+pymatting", "sam+pymatting"]
    assert "zim+vitmatte" in offered_modes(lambda image, trimap, alpha: alpha)


def test_no_prompt_no_time_and_no_seat(photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PromptError, match="expected a point, a box or a stroke"):
        run_matte(services_of(), photo, [ObjectPrompts()], MatteSettings(model="zim_tiny"))
    monkeypatch.setattr(matte_job, "JOB_SECONDS", -1.0)
    with pytest.raises(BusyError, match="took longer"):
        matted(photo)
    seats = Seats(1, "the bench", wait=0.05)
    with seats.taken(), pytest.raises(BusyError, match="the bench has been busy for 0.05 s"), seats.taken():
        pass
    with seats.taken():
        pass  # free again


def test_a_matte_is_shown_as_long_as_it_is_that_of_the_drawing(photo: Photo) -> None:
    session = MatteSession(services_of())
    with pytest.raises(PromptError, match="press Matte"):
        session.current_result()
    session.start(photo)
    session.load((WHOLE,))
    assert session.value().pictures == {}
    session.result = matted(photo)
    first = session.value().pictures
    assert list(first) == ["trimap", "final alpha", "final cut-out"]
    session.place_before((255, 0, 0))
    assert session.value().pictures["final cut-out"] != first["final cut-out"]
    session.handle({"kind": "point", "x": 3, "y": 4, "label": 0})
    assert session.value().pictures == {}
    with pytest.raises(PromptError, match="changed since; press Matte again"):
        session.current_result()
    session.handle({"kind": "undo"})
    assert len(session.value().pictures) == 3
    session.start(photo)
    assert session.value().pictures == {}


def test_words_become_objects(photo: Photo) -> None:
    session = MatteSession(services_of())
    with pytest.raises(PromptError, match="Choose an example"):
        find_words(session, services_of(), "feather")
    session.start(photo)
    assert find_words(session, services_of(), "feather") == "Found 1: feather."
    assert session.drawing.objects[0].box == (10, 10, 80, 80)
    with pytest.raises(PromptError, match="expected what to look for"):
        find_words(session, services_of(), "")


def test_see_through_things_open_the_trimap(photo: Photo) -> None:
    plain, opened = matted(photo), matted(photo, transparent="glass")
    inside = np.zeros((160, 160), bool)
    inside[10:80, 10:80] = True
    before, after = (np.asarray(Image.open(one.files["trimap"])) for one in (plain, opened))
    assert np.array_equal(before[~inside], after[~inside])
    assert np.array_equal(after[inside], np.where(before[inside] == 255, 128, before[inside]))


@pytest.mark.parametrize(
    ("text", "colour"),
    [("#20a060", (32, 160, 96)), ("rgba(32.4, 159.6, 96, 1)", (32, 160, 96)), ("rgb(0,255, 300)", (0, 255, 255))],
)
def test_colours_of_the_picker(text: str, colour: tuple[int, int, int]) -> None:
    assert colour_of(text) == colour


@pytest.mark.parametrize("text", ["/etc/hostname", "#12345", "rgba(1..2, 3, 4)", "", "red"])
def test_what_is_no_colour(text: str) -> None:
    with pytest.raises(PromptError, match="colour: expected one such as"):
        colour_of(text)
