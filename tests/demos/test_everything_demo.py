"""The objects of a photo without a browser: with a small model, and with a predictor whose answers are known."""

import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from demos.common import found_objects
from demos.common.errors import BusyError, LimitError
from demos.common.found_objects import FIND_FIRST, FindSettings, FoundSession, find_everything, settings_from
from demos.common.long_jobs import PointsInTurns
from demos.common.models import ModelPool
from demos.common.photos import Photo, open_photo
from demos.common.prompts import ObjectPrompts
from zim import ZimAutomaticMaskGenerator
from zim.errors import ConfigError, ZimError
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import build_zim
from zim.predictor import ZimPredictor
from zim.protocol import Predictor


class HalvesPredictor:
    """The half of the picture that a point lies in, left or right; a point below the middle gets a corner of it."""

    def another(self) -> "HalvesPredictor":
        return HalvesPredictor()

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]

    def predict(self, point_coords: Any = None, **_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y = point_coords[0]
        rows, columns = np.indices(self.hw)
        inside = (columns < self.hw[1] // 2) == (x < self.hw[1] // 2)
        if y > self.hw[0] / 2:
            inside = inside & (rows >= 3 * self.hw[0] // 4)
        return np.where(inside, 20.0, -20.0)[None].astype(np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def pool() -> ModelPool:
    return ModelPool(predictors={"halves": HalvesPredictor()}, wait=0.2)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    file = tmp_path / "my photo.png"
    Image.fromarray(np.full((80, 120, 3), 90, np.uint8)).save(file)
    return open_photo(file)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "settings: expected a JSON object"),
        ({"points": 8}, "settings: expected points_per_side"),
        ({"points_per_side": 9}, "points_per_side: expected one of 8, 12, 16, 32, got 9"),
        ({"points_per_side": True}, "points_per_side"),
        ({"points_per_side": [8]}, "points_per_side"),
        ({"pred_iou_thresh": 0.1}, "pred_iou_thresh: expected a number from 0.5 to 1"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh: expected a finite number"),
        ({"stability_score_thresh": "high"}, "stability_score_thresh: expected a finite number"),
        ({"min_mask_region_area": -1}, "min_mask_region_area: expected a whole number"),
        ({"min_mask_region_area": 0.5}, "min_mask_region_area: expected a whole number"),
    ],
)
def test_settings_that_cannot_be(value: Any, message: str) -> None:
    with pytest.raises((ConfigError, LimitError), match=message):
        settings_from(value)


def test_no_settings_are_the_generators(pool: ModelPool) -> None:
    assert settings_from(None) == settings_from({}) == FindSettings()
    generator = ZimAutomaticMaskGenerator(HalvesPredictor())
    for name in ("pred_iou_thresh", "stability_score_thresh", "min_mask_region_area"):
        assert getattr(FindSettings(), name) == getattr(generator, name)


def test_found_and_picked(pool: ModelPool, photo: Photo) -> None:
    session = FoundSession()
    session.start(photo)
    with pytest.raises(ZimError, match=FIND_FIRST):
        session.handle({"kind": "point", "x": 5, "y": 5, "label": 1})
    told: list[tuple[int, int]] = []
    found = session.search(pool, "halves", FindSettings(), lambda done, total: told.append((done, total)))
    assert told == [(8 * n, 64) for n in range(1, 9)]
    session.take(found)
    assert sorted(one.rle.area for one in found.candidates) == [60 * 20, 60 * 20, 60 * 80, 60 * 80]
    session.handle({"kind": "point", "x": 5, "y": 70, "label": 1, "view": "photo"})
    assert session.picked is not None
    small = found.candidates[session.picked]
    assert small.box == (0, 60, 59, 79)
    alpha = session.united_alpha(session.layers[0])
    assert alpha[60:, :60].min() == 1
    assert alpha.sum() == 60 * 20
    session.handle({"kind": "point", "x": 5, "y": 5, "label": 1})
    assert found.candidates[session.picked].rle.area == 60 * 80
    session.handle({"kind": "undo"})
    assert found.candidates[session.picked] == small
    for event in ({"kind": "box", "box": [1, 1, 9, 9]}, {"kind": "stroke", "label": 1, "points": [[3, 3]]}):
        with pytest.raises(ZimError, match="Click on an object"):
            session.handle(event)
    with pytest.raises(ZimError, match="expected a number up to 4, got 9"):
        session.pick(8)
    with pytest.raises(ZimError, match=FIND_FIRST):
        session.load((ObjectPrompts(box=(0.0, 0.0, 9.0, 9.0)),))
        session.value()
    session.start(photo)
    assert session.found is None


def test_a_search_is_stopped_and_there_is_one_at_a_time(pool: ModelPool, photo: Photo) -> None:
    session = FoundSession()
    session.start(photo)

    def stop(done: int, total: int) -> None:
        with pytest.raises(BusyError, match="still under way"):
            session.search(pool, "halves", FindSettings(), lambda *_: None)
        session.stop()

    with pytest.raises(BusyError, match="Stopped after 8 of 64 points"):
        session.search(pool, "halves", FindSettings(), stop)
    found = session.search(pool, "halves", FindSettings(), lambda *_: None)
    session.start(open_photo(photo.path))
    with pytest.raises(BusyError, match="Another photo was chosen meanwhile"):
        session.take(found)


def test_a_search_has_an_end(pool: ModelPool, photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_objects, "JOB_SECONDS", -1.0)
    with pytest.raises(BusyError, match="longer than"):
        find_everything(photo, pool, "halves", FindSettings())
    monkeypatch.setattr(found_objects, "MAX_PHOTO_PIXELS", 100)
    with pytest.raises(LimitError, match="to find everything in"):
        find_everything(photo, pool, "halves", FindSettings())


def test_others_come_to_the_models_during_a_search(pool: ModelPool, photo: Photo) -> None:
    free: list[bool] = []

    def try_turn(*_: int) -> None:
        def turn() -> None:
            with pool.turn():
                free.append(True)

        other = threading.Thread(target=turn)
        other.start()
        other.join()

    find_everything(photo, pool, "halves", FindSettings(), progress=try_turn)
    assert len(free) == 8


def test_many_points_at_once_are_asked_in_turn(photo: Photo) -> None:
    """As the generator asks a model that has `predict_promising`."""
    asked: list[int] = []

    class Batched(HalvesPredictor):
        class Transform:
            def apply_coords(self, coords: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
                return coords

        transform = Transform()

        def another(self) -> "Batched":
            return Batched()

        def predict_torch(self, coords: Any, labels: Any, **_: Any) -> Any:
            asked.append(len(coords))
            logits = [HalvesPredictor.predict(self, point_coords=one.numpy())[0] for one in coords]
            return torch.from_numpy(np.stack(logits)), torch.ones(len(coords), 1), None

    one_by_one: Predictor = HalvesPredictor()
    expected = ZimAutomaticMaskGenerator(one_by_one, points_per_side=8).candidates(photo.full())
    found = find_everything(photo, ModelPool(predictors={"batched": Batched()}), "batched", FindSettings())
    assert asked == [8] * 8
    assert [one.box for one in found.candidates] == [one.box for one in expected]


def test_a_model_answers_in_turns_as_by_itself() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_zim(ZIM_TEST).eval()
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    settings: dict[str, Any] = {"points_per_side": 3, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    pool = ModelPool(predictors={"zim": ZimPredictor(model)})
    in_turns = ZimAutomaticMaskGenerator(PointsInTurns(pool, "zim"), **settings)
    by_itself = ZimAutomaticMaskGenerator(model, **settings)
    assert in_turns.calibration == by_itself.calibration
    expected = by_itself.candidates(image)
    found = in_turns.candidates(image)
    assert [one.alpha for one in found] == [one.alpha for one in expected]
    assert [one.quality for one in found] == [one.quality for one in expected]
    assert len(found) > 0


def test_the_archive_is_what_zim_auto_writes(pool: ModelPool, photo: Photo, tmp_path: Path) -> None:
    found = find_everything(photo, pool, "halves", FindSettings())
    archive = found.write_zip(tmp_path / "box" / "all.zip")
    assert [path.name for path in archive.parent.iterdir()] == ["all.zip"]
    with zipfile.ZipFile(archive) as content:
        names = {name for name in content.namelist() if not name.endswith("/")}
    numbered = {f"my_photo/{folder}{index}.png" for folder in ("", "alphas/") for index in range(4)}
    files = {"coco.json", "metadata.csv", "overlay.png", "records.json"}
    assert names == numbered | {f"my_photo/{name}" for name in files} | {"settings.json"}
