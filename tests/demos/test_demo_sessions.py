"""Sessions, undo, models and files of the demos, with a predictor whose answers are known."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demos.common.errors import UNEXPECTED, BusyError, LimitError, message_of
from demos.common.history import History
from demos.common.models import KEPT_EMBEDDINGS, Clock, ModelPool
from demos.common.outbox import Outbox, safe_name
from demos.common.photo_desk import Desk, DeskEvents, close_desk
from demos.common.photo_session import PhotoSession, asking
from demos.common.photos import open_photo
from demos.common.prompts import ObjectPrompts, prompts_from_json
from zim.errors import ImageNotSetError, PromptError
from zim.prompts import Prompt


class DiscPredictor:
    """A disc of radius 10 around the last foreground point; counts what it is asked."""

    embedded = 0

    def __init__(self) -> None:
        self.hw: tuple[int, int] | None = None

    def another(self) -> "DiscPredictor":
        return type(self)()

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        type(self).embedded += 1
        self.hw = image.shape[:2]

    def predict(self, **prompt: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.hw is None:
            raise ImageNotSetError("image: none was set")
        box, coords = prompt.get("box"), prompt.get("point_coords")
        x, y = coords[-1] if coords is not None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        rows, columns = np.indices(self.hw)
        logits = 40.0 * (10.0 - np.hypot(columns - x, rows - y))
        return logits[None].astype(np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


def disc(hw: tuple[int, int], x: float, y: float) -> np.ndarray:
    rows, columns = np.indices(hw)
    return np.hypot(columns - x, rows - y) < 10


@pytest.fixture
def pool() -> ModelPool:
    DiscPredictor.embedded = 0
    return ModelPool(predictors={"disc": DiscPredictor(), "other": DiscPredictor()})


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    file = tmp_path / "my photo.png"
    Image.fromarray(np.full((60, 80, 3), 120, np.uint8)).save(file)
    return file


@pytest.fixture
def session(pool: ModelPool, photo_file: Path) -> PhotoSession:
    made = PhotoSession(asking(pool), ("disc", "other"))
    made.start(open_photo(photo_file))
    return made


def point(x: int, y: int, label: int = 1) -> dict[str, Any]:
    return {"kind": "point", "x": x, "y": y, "label": label}


def test_history_goes_back_and_forth() -> None:
    history = History(0)
    for value in (1, 2, 2, 3):
        history.set(value)
    assert history.undo() and history.value == 2
    assert history.undo() and history.undo() and history.value == 0
    assert not history.undo()
    assert history.redo() and history.value == 1
    history.set(9)
    assert not history.redo()


def test_the_photo_is_embedded_once_and_answers_are_kept(session: PhotoSession) -> None:
    session.handle(point(20, 20))
    first = session.value()
    session.handle(point(50, 40))
    session.value()
    session.handle({"kind": "undo"})
    again = session.value()
    assert DiscPredictor.embedded == 1
    assert again.objects[0].mattes == first.objects[0].mattes
    assert not again.assets, "the browser has all of it"


def test_what_the_browser_lost_is_sent_again(session: PhotoSession) -> None:
    session.handle(point(20, 20))
    first = session.value()
    session.handle({"kind": "refresh"})
    assert session.value().assets == first.assets


def test_the_second_layer_is_asked_only_when_they_are_compared(session: PhotoSession) -> None:
    session.handle(point(20, 20))
    assert set(session.value().objects[0].mattes) == {"disc"}
    session.handle({"kind": "look", "view": "compare"})
    compared = session.value().objects[0]
    assert set(compared.mattes) == set(compared.cutouts) == {"disc", "other"}


def test_several_objects_are_united(session: PhotoSession) -> None:
    session.handle(point(20, 20))
    session.add_object()
    session.handle(point(60, 40))
    alpha = session.united_alpha("disc")
    assert np.array_equal(alpha > 0.5, disc((60, 80), 20, 20) | disc((60, 80), 60, 40))
    session.choose(0)
    session.clear_current()
    assert np.array_equal(session.united_alpha("disc") > 0.5, disc((60, 80), 60, 40))
    session.handle({"kind": "undo"})
    assert np.array_equal(session.united_alpha("disc")[20] > 0.5, alpha[20] > 0.5)


def test_an_empty_object_is_used_before_another_is_added(session: PhotoSession) -> None:
    for _ in range(3):
        session.add_object()
    assert len(session.drawing.objects) == 1
    for i in range(15):
        session.handle(point(i + 1, 5))
        session.add_object()
    session.handle(point(40, 40))
    with pytest.raises(LimitError, match="at most 16"):
        session.add_object()


def test_the_alpha_of_a_large_photo_has_its_own_size(pool: ModelPool, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1600, 3200, 3), np.uint8)).save(tmp_path / "large.png")
    session = PhotoSession(asking(pool), ("disc",))
    session.start(open_photo(tmp_path / "large.png"))
    session.handle(point(2001, 1001))
    alpha = session.united_alpha("disc")
    assert alpha.shape == (1600, 3200)
    rows, columns = np.nonzero(alpha > 0.5)
    assert abs(columns.mean() - 2001) < 1.5 and abs(rows.mean() - 1001) < 1.5


def test_an_event_that_fails_leaves_no_trace(session: PhotoSession) -> None:
    events = DeskEvents(lambda: session)
    desk = Desk(session)
    list(events.steps(desk, lambda own: own.session.handle(point(20, 20))))
    before = session.drawing

    def fail(own: Desk) -> None:
        own.session.handle(point(30, 30))
        raise PromptError("prompt: no")

    shown = list(events.steps(desk, fail))
    assert len(shown) == 1
    assert shown[0][0]["message"] == "prompt: no" and shown[0][0]["error"]
    assert session.drawing == before


def test_bugs_are_told_in_general_words(session: PhotoSession, caplog: pytest.LogCaptureFixture) -> None:
    assert message_of(KeyError("secret")) == UNEXPECTED
    assert "KeyError" in caplog.text
    assert "smaller picture" in message_of(MemoryError())


def test_cutouts_come_after_the_matte(session: PhotoSession) -> None:
    desk = Desk(session)
    events = DeskEvents(lambda: session)
    list(events.steps(desk, lambda own: own.session.handle(point(20, 20))))
    look = {"kind": "look", "view": "cutout"}
    first, last = (step[0] for step in events.steps(desk, lambda own: own.session.handle(look)))
    assert first["busy"] and not first["objects"][0]["cutouts"]
    assert not last["busy"] and set(last["objects"][0]["cutouts"]) == {"disc"}
    assert set(first["assets"]) <= set(last["assets"])


def test_the_oldest_embeddings_are_forgotten(pool: ModelPool) -> None:
    prompt = Prompt(box=np.array([5, 5, 20, 20], np.float32))
    picture = np.zeros((30, 30, 3), np.uint8)
    for i in range(KEPT_EMBEDDINGS + 1):
        pool.alpha("disc", str(i), picture, prompt)
    assert DiscPredictor.embedded == KEPT_EMBEDDINGS + 1
    pool.alpha("disc", "1", picture, prompt)
    assert DiscPredictor.embedded == KEPT_EMBEDDINGS + 1
    pool.alpha("disc", "0", picture, prompt)
    assert DiscPredictor.embedded == KEPT_EMBEDDINGS + 2


def test_who_waits_too_long_is_told() -> None:
    pool = ModelPool(predictors={"disc": DiscPredictor()}, wait=0.1)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.turn():
            inside.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(5)
    try:
        with pytest.raises(BusyError, match=r"busy for 0\.1 s"):
            pool.predictor("disc")
    finally:
        done.set()
        thread.join()
    assert isinstance(pool.predictor("disc"), DiscPredictor)


def test_a_job_ends_when_its_time_is_over() -> None:
    Clock(60).check()
    clock = Clock(0.01)
    time.sleep(0.02)
    with pytest.raises(BusyError, match="ask for less"):
        clock.check()


def test_predictors_of_two_people_hold_their_own_images(pool: ModelPool) -> None:
    one = pool.embedded("disc", "a", np.zeros((9, 8, 3), np.uint8))
    other = pool.embedded("disc", "b", np.zeros((7, 6, 3), np.uint8))
    assert isinstance(one, DiscPredictor) and isinstance(other, DiscPredictor)
    assert (one.hw, other.hw) == ((9, 8), (7, 6))


def test_files_are_removed_when_others_are_made_and_at_the_end() -> None:
    outbox = Outbox()
    first = outbox.path("a.txt")
    first.write_text("a")
    beside = outbox.beside("b.txt")
    assert beside.parent == first.parent
    second = outbox.path("c.txt")
    assert not first.exists() and second.parent.is_dir()
    outbox.close()
    assert not second.parent.exists()


def test_a_desk_is_tidied_up_when_its_person_leaves(session: PhotoSession) -> None:
    desk = Desk(session)
    folder = desk.outbox.path("a.txt").parent
    close_desk(desk)
    assert not folder.exists()
    close_desk(None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("../../etc/passwd", "passwd"), ("a b/ü.png", "ü.png"), ("...", "file"), ("x" * 200 + ".png", "x" * 76 + ".png")],
)
def test_names_of_files_stay_in_their_folder(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def test_prompts_of_a_session_are_a_file(session: PhotoSession) -> None:
    session.handle(point(20, 21))
    written = json.loads(json.dumps(session.prompts_file()))
    assert written["size"] == [80, 60]
    assert prompts_from_json(written, (60, 80)) == (ObjectPrompts(points=((20, 21, 1),)),)
