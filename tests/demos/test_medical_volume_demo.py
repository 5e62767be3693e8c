"""Volumes in the demo without a browser: what is let in, what is asked, what is found, what strangers may send."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
nibabel = pytest.importorskip("nibabel")
pytest.importorskip("skimage")

from adapters.medical_volume.answer_store import AnswerStore  # noqa: E402
from adapters.medical_volume.loading import load_volume  # noqa: E402
from adapters.medical_volume.prompts import BoxPrompt  # noqa: E402
from adapters.medical_volume.segmentation import Segmenter, label_map  # noqa: E402
from adapters.medical_volume.settings import Settings  # noqa: E402
from demos.common.errors import BusyError, LimitError  # noqa: E402
from demos.common.models import ModelPool  # noqa: E402
from demos.common.outbox import Outbox  # noqa: E402
from demos.common.volume_desk import VolumeEvents  # noqa: E402
from demos.common.volume_downloads import DOWNLOADS, write_download  # noqa: E402
from demos.common.volume_files import (  # noqa: E402
    VolumeShelf,
    at_step,
    check_volume,
    example_volume,
)
from demos.common.volume_prompts import request_from_json  # noqa: E402
from demos.common.volume_session import VolumeSession  # noqa: E402
from zim.errors import DataError, PromptError, ZimError  # noqa: E402

TURNED = np.array([[0, 0, -2.5, 20], [-0.8, 0, 0, 30], [0, 1.1, 0, -7], [0, 0, 0, 1.0]])
"""Stored as back, up, left: every axis somewhere else."""


class BrightPredictor:
    """Answers with the bright pixels of the box: no model."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def another(self) -> "BrightPredictor":
        fresh = BrightPredictor()
        fresh.calls = self.calls
        return fresh

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.grey = image[..., 0].astype(np.float32)

    def predict(self, point_coords: Any = None, point_labels: Any = None, box: Any = None, **rest: Any) -> Any:
        self.calls.append(1)
        logits = (self.grey - 127) / 12
        if box is not None:
            rows, columns = np.mgrid[: logits.shape[0], : logits.shape[1]]
            x1, y1, x2, y2 = np.ravel(box)
            logits = np.where((columns > x1) & (columns < x2) & (rows > y1) & (rows < y2), logits, -10)
        return logits[None], np.ones(1), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def predictor() -> BrightPredictor:
    return BrightPredictor()


@pytest.fixture
def new_session(predictor: BrightPredictor) -> Any:
    pool, shelf = ModelPool(predictors={"bright": predictor}), VolumeShelf()
    return lambda: VolumeSession(pool, shelf, ("bright",))


def written(folder: Path, array: np.ndarray, affine: np.ndarray = TURNED, name: str = "block.nii.gz") -> Path:
    nibabel.Nifti1Image(array, affine).to_filename(folder / name)
    return folder / name


@pytest.fixture
def block(tmp_path: Path) -> Path:
    """A bright block, voxels 5 to 12, 3 to 9, 4 to 14 of the file."""
    values = np.random.default_rng(0).normal(100, 2, (24, 20, 18)).astype(np.float32)
    values[5:13, 3:10, 4:15] += 800
    return written(tmp_path, values)


def draw_box(session: VolumeSession) -> None:
    height, width = session.shown.picture_hw
    session.handle({"kind": "box", "box": [0, 0, width, height], "view": "matte"})


def test_what_is_followed_equals_the_adapters_own_result(new_session: Any, block: Path, tmp_path: Path) -> None:
    session = new_session()
    assert session.open(block).startswith("block.nii.gz: 24 x 20 x 18 voxels of 0.8 x 1.1 x 2.5 mm")
    assert (session.axis, session.view.count) == (0, 18)  # slices across the thickest voxels
    session.go_to(9)
    draw_box(session)
    preview = session.value()
    told: list[tuple[int, int]] = []
    assert session.follow(False, lambda done, most: told.append((done, most))).startswith("object1: ")
    assert told[0] == (1, 18)
    labels = nibabel.load(write_download(session, "labels", Outbox()))
    alpha = nibabel.load(write_download(session, "alpha", Outbox()))
    source = nibabel.load(block)
    for found in (labels, alpha):
        assert np.allclose(found.affine, source.affine)
        assert found.shape == source.shape
        assert int(found.header["sform_code"]) == int(source.header["sform_code"])
    truth = np.zeros(source.shape, np.uint8)
    truth[5:13, 3:10, 4:15] = 1
    assert np.array_equal(np.asarray(labels.dataobj), truth)

    volume = load_volume(block)
    segmenter = Segmenter(
        predictor=BrightPredictor(),
        volume=volume,
        settings=Settings(axis="sagittal"),
        answers=AnswerStore(tmp_path / "answers", "own"),
    )
    own = segmenter.segment("a", [BoxPrompt(corner=(0, 0, 9), opposite=(23, 19, 9))])
    assert np.array_equal(np.asarray(alpha.dataobj), volume.geometry.to_stored(own.alpha))
    assert np.array_equal(np.asarray(labels.dataobj), volume.geometry.to_stored(label_map([own.alpha])))
    report = json.loads(write_download(session, "report", Outbox()).read_text())
    assert report["labels"][0]["voxels"] == truth.sum()
    assert str(block.parent) not in json.dumps(report)
    again = request_from_json(json.loads(write_download(session, "prompts", Outbox()).read_text()))
    assert again.objects["object1"].boxes == (BoxPrompt(corner=(0, 0, 9), opposite=(23, 19, 9)),)
    assert preview.objects[0].mattes


def test_a_3d_box_bounds_what_is_found_and_undo_takes_it_back(new_session: Any, block: Path) -> None:
    session = new_session()
    session.open(block)
    session.go_to(9)
    with pytest.raises(PromptError, match="expected a box drawn on the slice that is shown"):
        session.make_box_thick(3, 5)
    draw_box(session)
    with pytest.raises(LimitError, match="last slice: expected 0 to 17, got 18"):
        session.make_box_thick(8, 18)
    session.make_box_thick(11, 8)
    assert session.drawing.current.boxes == (BoxPrompt(corner=(0, 0, 8), opposite=(23, 19, 11)),)
    session.follow(False, lambda done, most: None)
    found = session.volume.geometry.to_stored(session.result.label_map())
    assert np.flatnonzero(found.any((0, 1))).tolist() == [8, 9, 10, 11]
    session.handle({"kind": "undo"})
    assert session.result is None
    session.handle({"kind": "redo"})
    assert session.result is not None


def test_several_slices_and_objects(new_session: Any, block: Path) -> None:
    session = new_session()
    session.open(block)
    for number in (6, 12):
        session.go_to(number)
        draw_box(session)
    session.add_object()
    session.handle({"kind": "point", "x": 3, "y": 3, "label": 1})
    assert [one.count for one in session.drawing.objects] == [2, 1]
    session.follow(False, lambda done, most: None)
    assert [one["label"] for one in session.result.report["labels"]] == ["object1", "object2"]
    sources = {one["slice"]: one["source"] for one in session.result.report["labels"][0]["slices"]}
    assert sources[6] == sources[12] == "prompt"
    assert sources[9] == "between"
    session.look_along("axial")
    session.choose(0)
    with pytest.raises(PromptError, match="prompted on sagittal slices"):
        draw_box(session)
    assert session.value().objects[0].mattes  # what was found is seen from every side


def test_a_stopped_job_goes_on_where_it_was(new_session: Any, block: Path, predictor: BrightPredictor) -> None:
    session = new_session()
    session.open(block)
    draw_box(session)

    def stop_soon(done: int, most: int) -> None:
        if done == 4:
            session.stop.set()

    with pytest.raises(BusyError, match="stopped after 4 slices; following again goes on from there"):
        session.follow(False, stop_soon)
    assert session.result is None
    before = len(predictor.calls)
    assert before == 4
    session.follow(False, lambda done, most: None)
    first_job = len(predictor.calls) - before
    other = new_session()
    other.open(block)
    draw_box(other)
    other.follow(False, lambda done, most: None)
    assert first_job == len(predictor.calls) - before - first_job - 4
    assert np.array_equal(session.result.label_map(), other.result.label_map())


def test_looking_goes_on_while_a_job_runs(new_session: Any, block: Path) -> None:
    session = new_session()
    session.open(block)
    draw_box(session)
    seen: list[str] = []

    def look(done: int, most: int) -> None:
        def other_thread() -> None:
            session.go_to(done)
            with pytest.raises(BusyError, match="already following"):
                session.follow(False, look)
            seen.append("looked")

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join(10)

    session.follow(False, look)
    assert len(seen) > 5


def test_what_is_no_volume_is_refused_before_it_is_read(tmp_path: Path, new_session: Any, block: Path) -> None:
    huge = nibabel.Nifti1Header()
    huge.set_data_shape((600, 600, 600))
    (tmp_path / "huge.nii").write_bytes(huge.binaryblock + bytes(100))
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume at all")
    (tmp_path / "picture.png").write_bytes(b"x")
    (tmp_path / "away.nrrd").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 4 5\nencoding: raw\ndata file: /x\n\n"
    )
    (tmp_path / "fat.nii").write_bytes(bytes(21 * 1024 * 1024))
    refusals = {
        "huge.nii": "at most 512 x 512 x 400 voxels .* promises 600 x 600 x 600",
        "broken.nii.gz": "broken.nii.gz: is not a NIfTI file|is damaged",
        "picture.png": "expected a name that ends in .nii, .nii.gz, .nrrd, .mha, got 'picture.png'",
        "away.nrrd": "away.nrrd: expected a file that holds its own voxels",
        "fat.nii": "expected at most 20 MB, got 21.0 MB in fat.nii",
        "gone.nii": "got nothing at gone.nii",
    }
    session = new_session()
    session.open(block)
    for name, message in refusals.items():
        with pytest.raises(ZimError, match=message) as caught:
            session.open(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
    assert session.volume.geometry.shape == (24, 20, 18)
    for wrong in (None, 7, "", ["a"]):
        with pytest.raises(DataError, match="expected a file"):
            check_volume(wrong)


def test_a_series_in_time_asks_for_a_step(tmp_path: Path, new_session: Any) -> None:
    values = np.zeros((8, 9, 10, 3), np.int16)
    values[..., 2] = 7
    session = new_session()
    line = session.open(written(tmp_path, values, np.eye(4)))
    assert "has 3 time steps: choose one from 0 to 2" in line
    assert (session.is_open, session.steps) == (False, 3)
    for wrong in (3, -1):
        with pytest.raises(DataError, match="time: expected a step from 0 to 2"):
            session.open_step(wrong)
    session.open_step(2)
    assert (session.volume.voxels == 7).all()
    session.open_step(0)
    assert (session.volume.voxels == 0).all()
    file, steps = check_volume(written(tmp_path, values, np.eye(4)))
    with pytest.raises(DataError, match="got none"):
        at_step(file, None, steps)


def test_the_shelf_gives_up_what_was_unused_for_longest(tmp_path: Path) -> None:
    shelf = VolumeShelf(most=2500)
    files = [
        check_volume(written(tmp_path, np.full((10, 10, 10), n, np.int16), np.eye(4), f"v{n}.nii"))[0] for n in range(3)
    ]
    first = shelf.volume(files[0])
    shelf.volume(files[1])
    assert shelf.volume(files[0]) is first
    shelf.volume(files[2])  # the second goes
    assert shelf.volume(files[0]) is first
    files[1].path.unlink()
    with pytest.raises(DataError, match=r"v1\.nii: expected a volume, found nothing"):
        shelf.volume(files[1])


def test_examples_are_made_once() -> None:
    path = example_volume("vessels")
    assert example_volume("vessels") == path
    assert nibabel.load(path).shape == (80, 80, 32)
    with pytest.raises(DataError, match="example: expected one of organs, bodies, vessels, shell"):
        example_volume("../secret")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "prompts: expected a JSON object"),
        ([], "prompts: expected a JSON object"),
        ({"objects": []}, "objects: expected a list with at least one"),
        ({"objects": [{}] * 7}, "objects: expected at most 6"),
        ({"boxes": "abc"}, "boxes: expected a list"),
        ({"boxes": [[1, 2, 3]]}, "boxes: expected .i1, j1, k1, i2, j2, k2."),
        ({"boxes": [[1, 2, 3, 4, 5, math.nan]]}, "boxes: expected a finite number"),
        ({"points": [[1, 2, 3, 4]]}, "label: expected 1 .object. or 0"),
        ({"points": [[1, 2, True, 1]]}, "points: expected a finite number"),
        ({"points": [[1, 2, 3, 1]] * 10_000}, "points: expected at most 64, got 10000"),
        ({"points": [], "colour": 1}, "expected label, points and boxes, got 'colour'"),
        ({"objects": [{"label": "../x"}]}, "label: expected letters"),
        ({"objects": [{"label": "a"}, {"label": "a"}]}, "got 'a' twice"),
        ({"objects": [{}], "boxes": []}, "expected objects, axis, window, consensus, time, got 'boxes'"),
        ({"points": [], "consensus": 1}, "consensus: expected true or false"),
        ({"points": [], "time": 0.5}, "time: expected a whole number"),
        ({"points": [], "axis": ["axial"]}, "axis: expected text"),
    ],
)
def test_prompts_that_make_no_sense_are_told(value: Any, message: str) -> None:
    with pytest.raises(ZimError, match=message):
        request_from_json(value)


def test_no_handler_falls_over_what_a_stranger_sends(new_session: Any, block: Path) -> None:
    events = VolumeEvents(new_session)
    odd = [None, "x", math.nan, 1e300, -1, [1], {"a": 1}, True]

    class Event:
        def __init__(self, data: Any) -> None:
            self._data = data

    empty = next(events.go_to(3, None))
    assert (empty[0]["error"], empty[0]["message"]) == (True, "Choose an example or upload a volume first.")
    desk = next(events.open(str(block), None))[1]
    values = [
        *(
            Event({"kind": kind, "x": one, "y": one, "label": one, "box": one})
            for kind in ("box", "point", "stroke")
            for one in odd
        ),
        *(Event(one) for one in odd),
    ]
    for event in values:
        data = event._data
        answer = next(events.prompt(event, desk))  # type: ignore[arg-type]
        if isinstance(data, dict) and "kind" in data:
            assert answer[0]["error"], data
    for handler in (events.go_to, events.set_window, events.set_model, events.look_along, events.choose):
        for one in odd:
            assert isinstance(next(handler(one, desk))[0], dict)
    for one in odd:
        assert next(events.make_box_thick(one, one, desk))[0]["error"]
        assert isinstance(events.follow(one, desk)[0], dict)
    assert next(events.set_model("os:system", desk))[0]["message"] == "model: expected one of bright, got 'os:system'"
    assert next(events.set_window("bone", "no desk"))[0]["error"]
    assert desk.session.drawing.current.count == 0
    assert events.stop(None) == "Choose an example or upload a volume first."
    for kind in DOWNLOADS:
        if kind != "prompts":
            with pytest.raises(PromptError, match="follow the object through the volume first"):
                write_download(desk.session, kind, desk.outbox)
    desk.close()
