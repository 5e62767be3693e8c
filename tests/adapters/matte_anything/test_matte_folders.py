"""The command on folders: what it writes, how it goes on after a SIGKILL, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.matte_anything.__main__ import main
from zim.text_detection import detector_names

PHOTOS = 20
MODEL = "grabcut"  # a predictor without weights that the same call answers alike


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 small photos of a bright square that moves."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(PHOTOS):
        pixels = np.random.default_rng(index).integers(20, 60, (64, 96, 3), dtype=np.uint8)
        pixels[16:48, 10 + index : 42 + index] += 150
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return folder


def command(photos: Path, out: Path, *more: str) -> list[str]:
    given = ["--box", "6", "10", "70", "54", "--model", MODEL, "--background", "red", "--mode", "zim"]
    return [str(photos), "-o", str(out), *given, *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def clean_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("clean")
    assert main(command(photos, out)) == 0
    return contents(out)


def test_what_is_written(photos: Path, clean_run: dict[str, bytes], tmp_path: Path) -> None:
    names = {
        f"{i:02d}/{n}"
        for i in range(PHOTOS)
        for n in ("alpha.png", "trimap.png", "cutout.png", "composite.png", "matte.json")
    }
    assert set(clean_run) == names
    for name in ("alpha", "trimap", "cutout", "composite"):
        (tmp_path / f"{name}.png").write_bytes(clean_run[f"03/{name}.png"])
    alpha, trimap, cutout, composite = (
        np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("alpha", "trimap", "cutout", "composite")
    )
    assert (alpha[20:44, 17:41] == 255).all() and (alpha[:14] == 0).all()  # the square of photo 3
    assert (trimap[30, 20:38] == 255).any() and set(np.unique(trimap)) <= {0, 128, 255}
    assert np.array_equal(cutout[..., 3], alpha) and (composite[2, 2] == (255, 0, 0)).all()
    told = json.loads(clean_run["03/matte.json"])
    assert told["mattes"][0]["objects"] == [{"box": [6.0, 10.0, 70.0, 54.0]}]


def test_killed_in_the_middle_it_goes_on(photos: Path, clean_run: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "adapters.matte_anything", *command(photos, out)]
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob("[0-9]*/matte.json"))) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = {path.parent.name for path in out.glob("[0-9]*/matte.json")}
    assert 5 <= len(done) < PHOTOS
    whole = {name: data for name, data in contents(out).items() if not name.startswith(".")}
    assert whole == {name: data for name, data in clean_run.items() if name.split("/")[0] in done}
    (out / ".07.partial").mkdir(exist_ok=True)  # what a kill at a worse moment leaves
    before = {name: (out / name / "alpha.png").stat().st_mtime_ns for name in done}
    assert main(command(photos, out)) == 0
    assert contents(out) == clean_run and not list(out.glob(".*"))
    assert before == {name: (out / name / "alpha.png").stat().st_mtime_ns for name in done}


def test_other_settings_need_overwrite(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = photos / "00.png"
    assert main(command(one, tmp_path)) == 0
    assert main(command(one, tmp_path, "--band-share", "0.3")) == 2
    assert "band_share None, now 0.3" in capsys.readouterr().err
    before = contents(tmp_path)["00/trimap.png"]
    assert main(command(one, tmp_path, "--band-share", "0.3", "--overwrite")) == 0
    assert contents(tmp_path)["00/trimap.png"] != before


def test_prompts_of_each_photo(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("file,x1,y1,x2,y2,x,y,label\n00.png,6,10,50,54,,,\n00.png,,,,,26,30,1\n")
    (tmp_path / "p.json").write_text(json.dumps({"00.png": {"boxes": [[6, 10, 50, 54]], "points": [[26, 30, 1]]}}))
    shared = [str(photos / "00.png"), str(photos / "01.png"), "--whole-frame", "--model", MODEL]
    for kind in ("csv", "json"):
        assert main([*shared, "-o", str(tmp_path / kind), "--prompts", str(tmp_path / f"p.{kind}")]) == 0
    assert contents(tmp_path / "csv") == contents(tmp_path / "json")
    told = [json.loads(contents(tmp_path / "csv")[f"0{i}/matte.json"])["mattes"][0]["objects"] for i in (0, 1)]
    assert told == [[{"box": [6.0, 10.0, 50.0, 54.0], "points": [[26.0, 30.0, 1]]}], [{"box": [0.0, 0.0, 96.0, 64.0]}]]


def test_a_broken_photo_does_not_stop_the_others(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    (tmp_path / "in" / "b.png").write_bytes((photos / "00.png").read_bytes())
    assert main(command(tmp_path / "in", tmp_path / "out", "--apart")) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b"]
    assert (tmp_path / "out" / "b" / "alpha_0.png").is_file()
    assert "cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "expected --box, --point, --text"),
        (["--box", "50", "10", "6", "54"], "expected X1 <= X2"),
        (["--box", "0", "0", "9", "9", "--erode", "3"], "--erode: has no meaning in mode zim"),
        (["--box", "0", "0", "9", "9", "--mode", "sam+pymatting", "--erode", "31"], "kernel of 1 to 30"),
        (["--prompts", "nowhere.json"], "cannot read nowhere.json"),
        (["--box", "0", "0", "9", "9", "--background", "no colour"], "a colour, checkerboard or a picture"),
    ],
)
def test_misuse_is_told_in_one_line(
    more: list[str], told: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), "-o", str(tmp_path / "out"), "--model", MODEL, *more]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_vitmatte_without_weights(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.delenv("ZIM_VITMATTE", raising=False)
    words = [str(photos), "-o", str(tmp_path / "out"), "--whole-frame", "--model", MODEL, "--mode", "zim+vitmatte"]
    assert main(words) == 2
    assert "--vitmatte: expected a hub name or a folder" in capsys.readouterr().err


def test_text_with_a_recorded_detector(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both detections are matted; a photo in which nothing is found is told and does not stop the other."""
    if "recorded" not in detector_names():
        pytest.skip("the package's entry points are not installed: pip install -e .")
    found = [
        {"box": box, "score": score, "label": "square"}
        for box, score in (([6, 10, 50, 54], 0.8), ([40, 8, 80, 50], 0.6))
    ]
    images = [
        {"file": str(photos / "00.png"), "detections": found},
        {"file": str(photos / "01.png"), "detections": []},
    ]
    record = tmp_path / "boxes.json"
    record.write_text(json.dumps({"format": "zim-text-detections", "version": 1, "images": images}))
    words = [
        str(photos / "00.png"),
        str(photos / "01.png"),
        "--text",
        "square",
        "--text-detector",
        f"recorded:{record}",
    ]
    assert main([*words, "--apart", "--model", MODEL, "-o", str(tmp_path / "out")]) == 1
    assert "01.png: text: found nothing for 'square'" in capsys.readouterr().err
    told = json.loads((tmp_path / "out" / "00" / "matte.json").read_text())["mattes"]
    assert [matte["objects"] for matte in told] == [
        [{"box": [6.0, 10.0, 50.0, 54.0], "label": "square", "score": 0.8}],
        [{"box": [40.0, 8.0, 80.0, 50.0], "label": "square", "score": 0.6}],
    ]
    assert not (tmp_path / "out" / "01").exists()
