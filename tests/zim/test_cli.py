"""The command line, with a predictor whose answers are known."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import zim.loading
import zim.text_detection
from zim.cli import app, join_numbers
from zim.errors import CheckpointError
from zim.image_io import read_alpha, read_gray, read_image, save_png
from zim.refinement import refine_alpha
from zim.text_detection import Detections, clean_detections

HW = (40, 60)


class BoxPredictor:
    """Answers logits +9 inside the box, else at the first point's pixel."""

    def __init__(self) -> None:
        self.hw = (0, 0)
        self.prompts: list[dict[str, Any]] = []
        self.multimask: list[bool] = []

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        prompt = {"points": point_coords, "labels": point_labels, "box": box, "mask_input": mask_input}
        self.prompts.append(prompt)
        self.multimask.append(multimask_output)
        logits = np.full((1, *self.hw), -9.0, np.float32)
        if box is not None:
            x1, y1, x2, y2 = (int(value) for value in box)
            logits[0, y1 : y2 + 1, x1 : x2 + 1] = 9
        elif point_coords is not None:
            logits[0, int(point_coords[0][1]), int(point_coords[0][0])] = 9
        return logits, np.ones(1, np.float32), np.zeros((1, 256, 256), np.float32)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> BoxPredictor:
    fake = BoxPredictor()
    monkeypatch.setattr(zim.loading, "load_predictor", lambda name, device="auto": fake)
    return fake


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    save_png(file, np.random.default_rng(0).integers(0, 256, (*HW, 3), dtype=np.uint8))
    return file


def _zim(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_box_gives_the_alpha_of_the_box(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    out = tmp_path / "new" / "alpha.png"
    result = _zim("matte", photo, "--box", 10, 5, 30.5, 20, "-o", out)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(predictor.prompts[0]["box"], np.array([10, 5, 30.5, 20], np.float32))
    expected = np.zeros(HW, bool)
    expected[5:21, 10:31] = True
    np.testing.assert_allclose(read_alpha(out), expected, atol=1 / 255)
    assert str(out) in result.output


def test_point_box_and_photo_in_any_order(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    arguments = [
        "--point",
        "12",
        "7",
        "1",
        photo,
        "--box",
        "-4",
        "0",
        "30",
        "20",
        "-o",
        out,
        "--point",
        "3,4,0",
    ]
    assert _zim("matte", *arguments).exit_code == 0
    (prompt,) = predictor.prompts
    np.testing.assert_array_equal(prompt["points"], [[12, 7], [3, 4]])
    np.testing.assert_array_equal(prompt["labels"], [1, 0])
    np.testing.assert_array_equal(prompt["box"], [-4, 0, 30, 20])


def test_several_boxes_are_several_objects(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    boxes = ["--box", 0, 0, 20, 20, "--box", 30, 0, 50, 20, "--box", 32, 2, 40, 10]
    points = ["--point", 5, 5, 1, "--point", 35, 5, 1, "--point", 34, 4, 0, "--point", 59, 39, 0]
    result = _zim("matte", photo, *boxes, *points, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert _files(tmp_path) == ["out_0.png", "out_1.png", "out_2.png", "photo.png"]
    assert (read_gray(tmp_path / "out_1.png")[:21, 30:51] == 255).all()
    received = [[tuple(point) for point in prompt["points"]] for prompt in predictor.prompts]
    # (35, 5) lies in two boxes and goes to the smaller; the background point in one; the far one goes to all.
    assert received == [[(5, 5), (59, 39)], [(34, 4), (59, 39)], [(35, 5), (34, 4), (59, 39)]]


def test_all_kinds_of_two_objects_fill_a_folder(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    boxes = ["--box", 0, 0, 20, 20, "--box", 30, 0, 50, 20]
    result = _zim("matte", photo, *boxes, "--output-kind", "all", "--background", "#0f0", "-o", out)
    assert result.exit_code == 0, result.output
    kinds = ("alpha", "composite", "cutout", "mask", "trimap")
    assert _files(out) == sorted(f"photo_{index}_{kind}.png" for index in (0, 1) for kind in kinds)
    trimap, mask = read_gray(out / "photo_0_trimap.png"), read_gray(out / "photo_0_mask.png")
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert set(np.unique(mask)) == {0, 255}
    composite = read_image(out / "photo_0_composite.png").astype(int)
    assert np.abs(composite[30:, 30:] - [0, 255, 0]).max() <= 1
    assert np.abs(composite[2:18, 2:18] - read_image(photo)[2:18, 2:18]).max() <= 1


def test_cutout_on_a_picture_is_that_picture_where_nothing_is(
    photo: Path, predictor: BoxPredictor, tmp_path: Path
) -> None:
    scenery = np.full((*HW, 3), (10, 20, 30), np.uint8)
    save_png(tmp_path / "scenery.png", scenery)
    arguments = ["--box", 0, 0, 9, 9, "--output-kind", "cutout", "--background", tmp_path / "scenery.png"]
    assert _zim("matte", photo, *arguments, "-o", tmp_path / "out.png").exit_code == 0
    assert np.abs(read_image(tmp_path / "out.png")[20:].astype(int) - scenery[20:]).max() <= 1


def test_scribble_and_mask_become_prompts(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    scribble = np.full(HW, 128, np.uint8)
    scribble[10, 10:20], scribble[30, 40:50] = 255, 0
    mask = np.zeros(HW, np.uint8)
    mask[:, 30:] = 255
    save_png(tmp_path / "scribble.png", scribble)
    save_png(tmp_path / "mask.png", mask)
    arguments = ["--scribble", tmp_path / "scribble.png", "--mask", tmp_path / "mask.png", "--multimask"]
    result = _zim("matte", photo, *arguments, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    (prompt,) = predictor.prompts
    assert predictor.multimask == [True]
    for (x, y), label in zip(prompt["points"].astype(int), prompt["labels"], strict=True):
        assert scribble[y, x] == (255 if label else 0)
    logits = prompt["mask_input"]
    assert logits.shape == (1, 256, 256)
    # 60x40 fills 256 columns and 171 rows of the padded frame; its right half is the object.
    assert (logits[0, :170, 132:] > 0).all()
    assert (logits[0, :, :124] < 0).all()
    assert (logits[0, 174:] < 0).all()


def test_folder_goes_on_after_a_broken_photo(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a", "c"):
        save_png(folder / f"{name}.png", read_image(photo))
    (folder / "b.jpg").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("left alone")
    result = _zim("matte", folder, "--box", 0, 0, 9, 9, "-o", out)
    assert result.exit_code == 1
    assert _files(out) == ["a_alpha.png", "c_alpha.png"]
    lines = [line for line in result.stderr.splitlines() if line.startswith("zim: error: ")]
    assert len(lines) == 2
    assert "b.jpg" in lines[0]
    assert "1 of 3 photos failed" in lines[1]
    assert "Traceback" not in result.output


def test_existing_output_is_replaced(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"old")
    assert _zim("matte", photo, "--box", 0, 0, 59, 39, "-o", tmp_path / "out.png").exit_code == 0
    assert (read_gray(tmp_path / "out.png") == 255).all()


def test_interrupted_write_leaves_nothing_behind(
    photo: Path, predictor: BoxPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    write = Path.write_bytes

    def stops_halfway(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", stops_halfway)
    for name in ("old.png", "new.png"):
        result = _zim("matte", photo, "--box", 0, 0, 9, 9, "-o", tmp_path / name)
        assert result.exit_code == 1
        assert result.stderr == f"zim: error: {photo}: [Errno 28] No space left on device\n"
    assert _files(tmp_path) == ["old.png", "photo.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "expected --box, --point, --scribble, --mask or --text, got none"),
        ("--box 1 2 3", "--box: expected 4 numbers X1 Y1 X2 Y2, got '1 2 3'"),
        ("--box 9 2 3 4", "expected X1 <= X2"),
        ("--point 1 2", "--point: expected 3 numbers X Y LABEL, got '1 2'"),
        ("--point 1 2 5", "expected label 1 (object) or 0 (background), got 5"),
        ("--box 0 0 9 9 --box 20 0 30 9 --point 15 5 1", "inside one of the boxes, got 15 5"),
        ("--box 0 0 9 9 --box 20 0 30 9 --mask m.png", "at most one --box"),
        ("--mask m.png", "--mask: expected an existing file, got m.png"),
        ("--scribble s.png", "--scribble: expected an existing file, got s.png"),
        ("--box 0 0 9 9 -o x.jpg", "results are PNG files"),
        ("--box 0 0 9 9 --output-kind all", "expected a folder"),
        ("--box 0 0 9 9 --background red", "--background: expected --output-kind"),
        ("--box 0 0 9 9 --output-kind cutout --background reddish", "or a picture file, got 'reddish'"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    arguments: str, message: str, photo: Path, predictor: BoxPredictor
) -> None:
    result = _zim("matte", photo, "-o", "x.png", *arguments.split())
    assert result.exit_code == 2
    assert result.stderr.startswith("zim: error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert predictor.prompts == []


@pytest.mark.parametrize("given", [["-o", ""], ["--out="], ["--out", "  "]])
def test_an_empty_name_is_not_the_working_directory(
    given: list[str], photo: Path, predictor: BoxPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _files(tmp_path)
    result = _zim("matte", photo, "--box", 0, 0, 9, 9, *given)
    assert (result.exit_code, predictor.prompts) == (2, [])
    expected = "--out: expected NAME.png or a folder (. for the working directory), got an empty name"
    assert result.stderr == f"zim: error: {expected}\n"
    assert _files(tmp_path) == before
    assert _zim("matte", photo, "--box", 0, 0, 9, 9, "-o", ".").exit_code == 0
    assert _files(tmp_path) == sorted([*before, "photo_alpha.png"])


def test_an_impossible_folder_is_refused_before_any_work(
    photo: Path, predictor: BoxPredictor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in ("file", "file/sub", "file/a.png", "file/deep/er/a.png"):
        result = _zim("matte", photo, "--box", 0, 0, 9, 9, "-o", tmp_path / out)
        assert (result.exit_code, predictor.prompts) == (2, [])
        assert f"{tmp_path / 'file'} is a file" in result.stderr
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_interrupt_stops_everything_and_leaves_whole_files_only(
    photo: Path, predictor: BoxPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    for name in "abc":
        save_png(folder / f"{name}.png", read_image(photo))
    write = Path.write_bytes

    def interrupted(self: Path, data: bytes) -> int:
        if self.name.startswith(".b_"):
            write(self, data[:10])
            raise KeyboardInterrupt
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    result = _zim("matte", folder, "--box", 0, 0, 9, 9, "-o", out)
    assert result.exit_code != 0
    assert _files(out) == ["a_alpha.png"]
    assert "Traceback" not in result.output


def test_a_reader_that_goes_away_does_not_stop_the_work(
    photo: Path, predictor: BoxPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("tqdm.tqdm.write", gone)
    folder = tmp_path / "photos"
    for name in "ab":
        save_png(folder / f"{name}.png", read_image(photo))
    result = _zim("matte", folder, "--box", 0, 0, 9, 9, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert _files(tmp_path / "out") == ["a_alpha.png", "b_alpha.png"]


def test_many_failures_are_counted_not_all_listed(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(b"no picture")
    pictures = [tmp_path / f"{number}.jpg" for number in range(7)]
    lines = _zim("matte", *pictures, "--box", 0, 0, 9, 9, "-o", tmp_path / "out").stderr.splitlines()
    assert [str(picture) in line for picture, line in zip(pictures, lines[:7], strict=True)] == [True] * 7
    assert "7 of 7 photos failed: " in lines[7]
    assert [str(picture) in lines[7] for picture in pictures] == [True] * 5 + [False] * 2


def test_inputs_are_never_overwritten(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    before = photo.read_bytes()
    box = ["--box", 0, 0, 9, 9]
    assert "other files than the inputs" in _zim("matte", photo, *box, "-o", photo).stderr
    assert "another folder than that of the photos" in _zim("matte", tmp_path, *box, "-o", tmp_path).stderr
    (tmp_path / "sub").mkdir()
    save_png(tmp_path / "sub" / "photo.png", read_image(photo))
    result = _zim("matte", photo, tmp_path / "sub" / "photo.png", *box, "-o", tmp_path / "out")
    assert (result.exit_code, "photos of different names" in result.stderr) == (2, True)
    assert photo.read_bytes() == before


def test_prompt_of_another_size_is_a_failure_of_that_photo(
    photo: Path, predictor: BoxPredictor, tmp_path: Path
) -> None:
    save_png(tmp_path / "mask.png", np.full((10, 10), 255, np.uint8))
    result = _zim("matte", photo, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert "--mask: expected the photo's size 60x40, got 10x10" in result.stderr


def test_a_missing_model_is_one_line_unless_debugging(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, device: str = "auto") -> None:
        raise CheckpointError(f"{name}: expected a checkpoint file,\n received nothing there")

    monkeypatch.setattr(zim.loading, "load_predictor", refuse)
    arguments = ["matte", photo, "--box", 0, 0, 9, 9, "--model", "nowhere", "-o", tmp_path / "out.png"]
    result = _zim(*arguments)
    assert result.exit_code == 1
    assert result.stderr == "zim: error: nowhere: expected a checkpoint file, received nothing there\n"
    assert isinstance(_zim(*arguments, "--debug").exception, CheckpointError)


def test_a_factory_that_fails_is_one_line(photo: Path, tmp_path: Path) -> None:
    result = _zim("matte", photo, "--box", 0, 0, 9, 9, "--model", "json:loads", "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("zim: error: ") and result.stderr.count("\n") == 1
    assert "missing 1 required positional argument" in result.stderr


def test_join_numbers_leaves_the_rest_alone() -> None:
    words = [
        "a.png",
        "--box",
        "1",
        "-2",
        "3e1",
        "4.5",
        "5",
        "--point",
        "1,2,1",
        "-o",
        "x",
        "--",
        "--box",
        "1",
    ]
    joined = ["a.png", "--box=1,-2,3e1,4.5", "5", "--point=1,2,1", "-o", "x", "--", "--box", "1"]
    assert join_numbers(words) == joined
    assert join_numbers(["--box"]) == ["--box"]


def test_unknown_option_and_help_exit_as_documented(photo: Path) -> None:
    assert _zim("matte", photo, "--boks", 1).exit_code == 2
    result = _zim("matte", "--help")
    assert result.exit_code == 0
    assert "--box X1 Y1 X2 Y2" in result.output


def test_help_needs_no_heavy_library() -> None:
    code = "import sys, zim.cli; print(sorted({'torch', 'cv2', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_refine_leads_uncertain_edges_by_the_photo(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is `refine_alpha` of the plain answer; without the option it is the answer itself."""

    class Unsure(BoxPredictor):
        def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            logits, qualities, low_res = super().predict(*args, **kwargs)
            return logits / 9, qualities, low_res

    monkeypatch.setattr(zim.loading, "load_predictor", lambda name, device="auto": Unsure())
    plain = np.full(HW, 1 / (1 + np.e), np.float32)
    plain[5:31, 10:51] = 1 / (1 + np.exp(-1))
    for option, expected in (([], plain), (["--refine"], refine_alpha(read_image(photo), plain))):
        out = tmp_path / f"{len(option)}.png"
        assert _zim("matte", photo, "--box", 10, 5, 50, 30, *option, "-o", out).exit_code == 0
        np.testing.assert_allclose(read_alpha(out), expected, atol=0.6 / 255)
    assert np.abs(refine_alpha(read_image(photo), plain) - plain).max() > 0.02


class Finder:
    """A text detector that finds the same boxes in every photo, or none in those that are black."""

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = boxes
        self.asked: list[tuple[str, dict[str, float]]] = []

    def detect(self, image: np.ndarray, phrases: str, **thresholds: float) -> Detections:
        self.asked.append((phrases, thresholds))
        boxes = self.boxes if image.any() else []
        scores = [0.9 - index / 10 for index in range(len(boxes))]
        return clean_detections(boxes, scores, ["it"] * len(boxes), image.shape[:2])


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    fake = Finder([[0, 0, 20, 20], [30, 0, 50, 20]])
    monkeypatch.setattr(zim.text_detection, "load_text_detector", lambda name, device="auto": fake)
    return fake


def test_what_a_text_finds_is_matted_like_boxes(
    photo: Path, predictor: BoxPredictor, finder: Finder, tmp_path: Path
) -> None:
    options = ["--text", "The cat", "--box-threshold", 0.4, "--text-threshold", 0.1]
    result = _zim("matte", photo, *options, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert _files(tmp_path) == ["out_0.png", "out_1.png", "photo.png"]
    assert [prompt["box"].tolist() for prompt in predictor.prompts] == finder.boxes
    assert finder.asked == [("The cat", {"box_threshold": 0.4, "text_threshold": 0.1})]
    assert (read_gray(tmp_path / "out_1.png")[:21, 30:51] == 255).all()


def test_one_find_keeps_the_name_and_a_folder_numbers_always(
    photo: Path, predictor: BoxPredictor, finder: Finder, tmp_path: Path
) -> None:
    del finder.boxes[1]
    assert _zim("matte", photo, "--text", "cat", "-o", tmp_path / "cat.png").exit_code == 0
    assert _zim("matte", photo, "--text", "cat", "-o", tmp_path / "out").exit_code == 0
    assert _zim("matte", photo, "--text", "cat", "--unite", "-o", tmp_path / "one").exit_code == 0
    assert _files(tmp_path) == ["cat.png", "one/photo_alpha.png", "out/photo_0_alpha.png", "photo.png"]


def test_unite_takes_the_highest_alpha_of_boxes_too(photo: Path, predictor: BoxPredictor, tmp_path: Path) -> None:
    boxes = ["--box", 0, 0, 20, 20, "--box", 30, 0, 50, 20]
    result = _zim("matte", photo, *boxes, "--unite", "--output-kind", "all", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    kinds = ("alpha", "cutout", "mask", "trimap")
    assert _files(tmp_path / "out") == [f"photo_{kind}.png" for kind in kinds]
    expected = np.zeros(HW, bool)
    expected[:21, :21] = expected[:21, 30:51] = True
    np.testing.assert_array_equal(read_gray(tmp_path / "out" / "photo_mask.png") == 255, expected)


def test_a_photo_in_which_nothing_is_found_is_skipped_and_reported(
    photo: Path, predictor: BoxPredictor, finder: Finder, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for name in "ac":
        save_png(folder / f"{name}.png", read_image(photo))
    save_png(folder / "b.png", np.zeros((*HW, 3), np.uint8))
    result = _zim("matte", folder, "--text", "cat. red dog", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert _files(tmp_path / "out") == ["a_0_alpha.png", "a_1_alpha.png", "c_0_alpha.png", "c_1_alpha.png"]
    found_none, summary = result.stderr.splitlines()
    assert found_none == (
        f"zim: error: {folder / 'b.png'}: --text: found no 'cat' and no 'red dog' above --box-threshold 0.25; "
        "a lower one finds more"
    )
    assert "1 of 3 photos failed" in summary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "cat", "--box", 0, 0, 9, 9], "--text: expected no --box, --point, --scribble or --mask beside it"),
        (["--text", "cat", "--point", 1, 1, 0], "--text: expected no --box, --point, --scribble or --mask beside it"),
        (["--text", " . "], "text: expected a phrase such as 'the cat' or 'cat. remote.', got ' . '"),
        (["--text", "cat", "--box-threshold", 1.5], "box_threshold: expected a number in [0, 1], got 1.5"),
        (["--box", 0, 0, 9, 9, "--detector", "owlv2"], "--detector: expected --text beside it, got none"),
        (["--box", 0, 0, 9, 9, "--text-threshold", 0.3], "--text-threshold: expected --text beside it, got none"),
    ],
)
def test_misuse_of_text_is_one_line_and_exit_code_2(
    arguments: list[object], message: str, photo: Path, predictor: BoxPredictor, finder: Finder
) -> None:
    result = _zim("matte", photo, "-o", "x.png", *arguments)
    assert (result.exit_code, result.stderr) == (2, f"zim: error: {message}\n")
    assert (predictor.prompts, finder.asked) == ([], [])


def test_no_find_can_overwrite_an_input(
    photo: Path, predictor: BoxPredictor, finder: Finder, tmp_path: Path
) -> None:
    save_png(tmp_path / "out" / "photo_1_alpha.png", read_image(photo))
    before = (tmp_path / "out" / "photo_1_alpha.png").read_bytes()
    for out in ("out", "out/photo.png"):
        name = "photo_1_alpha.png" if out == "out" else "photo_1.png"
        (tmp_path / "out" / name).write_bytes(before)
        inputs = [photo, tmp_path / "out" / name] if out == "out" else [tmp_path / "out" / name]
        result = _zim("matte", *inputs, "--text", "cat", "-o", tmp_path / out)
        assert (result.exit_code, "other files than the inputs" in result.stderr) == (2, True)
        assert (tmp_path / "out" / name).read_bytes() == before
    assert predictor.prompts == []


def test_without_a_detector_the_error_says_what_to_install(
    photo: Path, predictor: BoxPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zim.text_detection, "entry_points", lambda group: [])
    result = _zim("matte", photo, "--text", "cat", "-o", tmp_path / "out.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("zim: error: text prompts need a detector") and result.stderr.count("\n") == 1
    assert "pip install 'zim-matting[text]'" in result.stderr
    assert (_files(tmp_path), predictor.prompts) == (["photo.png"], [])
