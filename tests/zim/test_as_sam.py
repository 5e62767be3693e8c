"""`python -m zim.as_sam SCRIPT ARGS...`: a program sees its own command line, folder and name, and ZIM for SAM."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zim import as_sam
from zim.checkpoints import save_checkpoint
from zim.image_io import save_png
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

REPOSITORY = Path(as_sam.__file__).resolve().parents[1]

PROGRAM = """
import argparse, sys
import numpy as np
from PIL import Image
from segment_anything import SamPredictor, sam_model_registry
from beside import BOX

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vit_h")
    parser.add_argument("photo")
    parser.add_argument("output")
    args = parser.parse_args()
    sam = sam_model_registry[args.model](checkpoint="sam_vit_h_4b8939.pth")
    sam.to(device="cuda")
    predictor = SamPredictor(sam)
    predictor.set_image(np.array(Image.open(args.photo).convert("RGB")))
    np.save(args.output, predictor.predict(box=np.array(BOX))[0])
    print(__name__, sys.argv[0], __file__)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "beside.py").write_text("BOX = [20, 10, 110, 70]\n")
    (folder / "run.py").write_text(PROGRAM)
    return folder / "run.py"


@pytest.fixture
def weights(tiny_zim: Zim, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_zim.state_dict(), config=tiny_zim.config.to_dict())
    return path


def run(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "zim.as_sam", *map(str, args)]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_a_program_runs_unmodified(script: Path, weights: Path, photo: np.ndarray, tmp_path: Path) -> None:
    """`--model` before the script is ours, after it the program's; the checkpoint is stored in half precision."""
    save_png(tmp_path / "photo.png", photo)
    result = run("--model", weights, "program/run.py", "--model", "vit_l", "photo.png", "mask.npy", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["__main__", "program/run.py", "program/run.py"]
    assert result.stderr.count("is answered by ZIM's") == 1
    direct = ZimPredictor.from_pretrained(weights, device="cpu", output="mask")
    direct.set_image(photo)
    masks = np.load(tmp_path / "mask.npy")
    assert masks.dtype == np.bool_
    assert np.array_equal(masks, direct.predict(box=np.array([20, 10, 110, 70]))[0])


def test_the_programs_exit_code_is_ours(tmp_path: Path) -> None:
    (tmp_path / "stop.py").write_text("import sys\nsys.exit(7)\n")
    with pytest.raises(SystemExit) as stopped:
        as_sam.main([str(tmp_path / "stop.py")])
    assert stopped.value.code == 7


def test_the_programs_error_comes_through_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "fail.py").write_text("import mobile_sam\nraise LookupError('of the program')\n")
    before = sys.argv, list(sys.path)
    with pytest.raises(LookupError, match="of the program"):
        as_sam.main([str(tmp_path / "fail.py"), "argument"])
    assert (sys.argv, sys.path) == before and sys.argv is before[0]
    assert "mobile_sam" not in sys.modules


def test_options_after_the_script_are_the_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "echo.py").write_text("import sys\nprint(sys.argv[1:], sys.path[0])\n")
    assert as_sam.main([str(tmp_path / "echo.py"), "--help", "--model", "x", "--", "-v"]) == 0
    assert capsys.readouterr().out.strip() == f"['--help', '--model', 'x', '--', '-v'] {tmp_path.resolve()}"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.py"], "SCRIPT: expected a Python file, found none at nowhere.py"),
        (["--model", "zim_huge", "ok.py"], "model: expected an existing checkpoint or one of zim_tiny"),
    ],
)
def test_misuse_is_one_line_and_code_2(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.py").write_text("raise SystemExit('it ran')\n")
    assert as_sam.main(args) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"zim: error: {message}")


def test_a_program_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        as_sam.main(["--model", "zim_tiny"])
    assert stopped.value.code == 2
    assert "SCRIPT" in capsys.readouterr().err
