"""The command line: Inpaint-Anything's own lines, names of files, notices, errors in one line, folders that go on."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adapters.inpaint_anything import __main__ as entry
from adapters.inpaint_anything import command, flags
from adapters.inpaint_anything.stand_ins import save_pull_push
from adapters.oracle import OraclePredictor
from zim.errors import ConfigError
from zim.image_io import read_gray, read_image, save_png
from zim.text_detection import Detections

Run = Callable[..., int]

IA_REMOVE = (
    "remove --input_img {photo} --coords_type key_in --point_coords 70 44 --point_labels 1 --dilate_kernel_size 15 "
    "--output_dir {out} --sam_model_type vit_h --sam_ckpt ./pretrained_models/sam_vit_h_4b8939.pth "
    "--lama_config ./lama/configs/prediction/default.yaml --lama_ckpt ./pretrained_models/big-lama"
)
"""Inpaint-Anything's own example with `remove` for `remove_anything.py`."""


class Detector:
    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        return Detections(np.array([[44, 18, 96, 70]], np.float32), np.ones(1, np.float32), ["disc"])


@pytest.fixture
def run(disc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:  # type: ignore[no-untyped-def]
    """The command with a predictor that knows the disc, in an empty folder with photo.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags._said.clear()
    save_png("photo.png", disc.image)
    predictor = OraclePredictor()
    predictor.expect(disc.alpha)
    loaders = command.Loaders(predictor=lambda name, device: predictor, detector=lambda name, device: Detector())

    def call(line: str, *more: str) -> int:
        return command.main([*line.format(photo="photo.png", out="out").split(), *more], loaders)

    return call


def test_inpaint_anythings_own_line(run: Run, disc, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert run(IA_REMOVE) == 0
    told = capsys.readouterr()
    assert told.err.count("notice: --sam_ckpt") == 1 and "zim_tiny selects in its place" in told.err
    assert told.err.count("notice: --lama_ckpt") == 1 and "OpenCV paints in its place" in told.err
    folder = Path("out/photo")
    names = {path.name for path in folder.iterdir()}
    expected = {"with_points.png"} | {
        f"{kind}_{i}.png" for kind in ("mask", "with_mask", "inpainted_with_mask") for i in range(3)
    }
    assert expected <= names
    mask = read_gray(folder / "mask_0.png")
    assert set(np.unique(mask)) == {0, 255}
    import cv2

    seen = (disc.alpha > 0.1).astype(np.uint8)
    np.testing.assert_array_equal(mask > 0, cv2.dilate(seen, np.ones((15, 15), np.uint8)) > 0)
    result = read_image(folder / "inpainted_with_mask_0.png")
    assert np.abs(result.astype(int) - disc.background).mean() < 4
    assert (read_image(folder / "with_points.png") != disc.image).any()


def test_fill_and_replace_with_their_flags(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Their weights are not here: one clear line, nothing half written, exit code 1."""
    for task in ("fill", "replace"):
        line = (
            task + " --input_img {photo} --coords_type key_in --point_coords 70 44 --point_labels 1 "
            "--output_dir {out} --sam_model_type vit_b --sam_ckpt sam.pth --seed 7 --deterministic --engine missing"
        )
        assert run(line, "--text_prompt", "a teddy bear on a bench") == 2
        assert "engine: expected one of cv2, cv2-ns, lama, sd15" in capsys.readouterr().err
        assert not Path("out").exists()
        import torch

        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_fill_with_a_real_pipeline(run: Run, builders, disc) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("diffusers")
    builders["sd15"](Path("pipe").absolute())
    for task, name in (("fill", "filled"), ("replace", "replaced")):
        line = task + " {photo} --point_coords 70 44 --engine pipe --steps 2 --paint_side 64 --seed 7 --device cpu -o "
        outputs = []
        for out in ("a", "b"):
            assert run(line + f"{out}_{task} --text_prompt ball") == 0
            outputs.append(Path(f"{out}_{task}/photo/{name}_with_mask_0.png").read_bytes())
        assert outputs[0] == outputs[1]


def test_replace_with_a_colour(run: Run, disc) -> None:  # type: ignore[no-untyped-def]
    assert run("replace {photo} --box 44 18 96 70 --background #0000ff --no_refine -o {out}") == 0
    result = read_image("out/photo/replaced_with_mask_0.png")
    assert (result[disc.alpha == 0] == (0, 0, 255)).all()
    np.testing.assert_array_equal(result[disc.alpha == 1], disc.image[disc.alpha == 1])


def test_one_result_without_input_img(run: Run) -> None:
    assert run("remove {photo} --point_coords 70 44 1 1 --point_labels 1 0 -o {out}") == 0
    assert not Path("out/photo/mask_1.png").exists()
    assert run("remove {photo} --box 44 18 96 70 --box 0 0 90 90 --results each -o {out}") == 0
    assert Path("out/photo/inpainted_with_mask_1.png").exists()


def test_words_mattes_and_scribbles(run: Run, disc) -> None:  # type: ignore[no-untyped-def]
    save_png("matte.png", disc.alpha)
    scribble = np.full(disc.alpha.shape, 128, np.uint8)
    scribble[40:48, 60:80], scribble[:3] = 255, 0
    save_png("scribble.png", scribble)
    results = []
    for number, pointed in enumerate(["--text_select disc", "--matte matte.png", "--scribble scribble.png"]):
        assert run(f"remove {{photo}} {pointed} --feather 3 -o out{number}") == 0
        results.append(read_image(f"out{number}/photo/inpainted_with_mask_0.png").astype(int))
    for result in results:
        assert np.abs(result - disc.background).mean() < 3


def test_a_lama_file_is_used_where_it_is(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    digest = save_pull_push("weights/big-lama.pt")
    line = "remove {photo} --point_coords 70 44 --lama_ckpt weights --device cpu -o {out}"
    assert run(line + f" --lama_sha256 {digest}") == 0
    assert "OpenCV" not in capsys.readouterr().err
    assert json.loads(Path("out/photo/inpainting.json").read_text())["engine"] == "lama"
    assert run(line) == 1
    assert "error: lama: expected sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("remove {photo} -o {out}", 2, "selection: expected --point_coords"),
        ("remove none.jpg --point_coords 1 1 -o {out}", 2, "expected an existing file or folder, got none.jpg"),
        ("remove --point_coords 1 1 -o {out}", 2, "image: expected IMAGE"),
        ("remove {photo} --input_img {photo} --point_coords 1 1 -o {out}", 2, "got both"),
        ("remove {photo} --point_coords 1 -o {out}", 2, "--point_coords: expected pairs X Y, got 1 numbers"),
        ("remove {photo} --point_coords 1 1 --point_labels 1 1 -o {out}", 2, "--point_labels: expected 1"),
        ("remove {photo} --point_coords 1 1 --point_labels 5 -o {out}", 2, "expected label 1"),
        ("remove {photo} --point_coords nan 1 -o {out}", 2, "expected finite numbers"),
        ("remove {photo} --box 9 9 1 1 -o {out}", 2, "expected X1 <= X2"),
        ("remove {photo} --point_coords 1 1 --dilate_kernel_size 0 -o {out}", 2, "kernel: expected a side"),
        ("remove {photo} --point_coords 1 1 --seed -1 -o {out}", 2, "seed: expected"),
        ("remove {photo} --text_select . -o {out}", 2, "text: expected a phrase"),
        ("remove {photo} --point_coords 1 1 -o photo.png", 2, "--output_dir: expected a folder"),
        ("remove {photo} --coords_type click -o {out}", 2, "no window can be opened here"),
        ("fill {photo} --point_coords 1 1 -o {out}", 2, "--text_prompt: fill needs words"),
        ("fill {photo} --point_coords 1 1 --text_prompt x --engine cv2 -o {out}", 1, "what a text says"),
        ("replace {photo} --point_coords 1 1 -o {out}", 2, "either --text_prompt or --background"),
        ("replace {photo} --point_coords 1 1 --background no_colour -o {out}", 1, "--background"),
        ("remove photo.png/ --matte none.png -o {out}", 1, "none.png"),
    ],
)
def test_wrong_use_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], line: str, code: int, message: str
) -> None:
    assert run(line) == code
    told = capsys.readouterr().err.splitlines()
    errors = [text for text in told if text.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0] and "Traceback" not in "".join(told)
    assert not list(Path().glob("out/*/inpainting.json"))


@pytest.mark.parametrize("line", ["remove {photo} --wrong", "remove {photo} --sam_model_type vit_x -o o", "vanish", ""])
def test_unknown_flags_leave_with_2(run: Run, line: str) -> None:
    with pytest.raises(SystemExit) as left:
        run(line)
    assert left.value.code == 2


def test_masks_of_nothing_and_of_everything(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("none", 0.0), ("all", 1.0)):
        save_png(f"{name}.png", np.full((96, 128), value, np.float32))
    assert run("remove {photo} --matte none.png -o {out}") == 1
    assert run("remove {photo} --matte all.png -o {out}") == 1
    told = capsys.readouterr().err
    assert "nothing is selected" in told and "no background to continue" in told


def test_a_folder_goes_on_where_it_stopped(run: Run, disc, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    Path("photos").mkdir()
    for name in ("a", "b", "c"):
        save_png(f"photos/{name}.png", disc.image)
    Path("photos/broken.png").write_bytes(b"no picture")
    line = "remove photos --point_coords 70 44 -o {out}"
    assert run(line) == 1
    assert "broken.png" in capsys.readouterr().err
    finished = {name: Path(f"out/{name}/inpainting.json").stat().st_mtime_ns for name in ("a", "b", "c")}
    Path("out/b/inpainted_with_mask_0.png").unlink()  # as if it had been stopped before
    Path("photos/broken.png").unlink()
    time.sleep(0.02)
    assert run(line) == 0
    assert "2 of 3 photos are done already" in capsys.readouterr().out
    again = {name: Path(f"out/{name}/inpainting.json").stat().st_mtime_ns for name in ("a", "b", "c")}
    assert [again[name] == finished[name] for name in "abc"] == [True, False, True]
    assert run(line + " --feather 1") == 0  # other settings are other results
    assert "done already" not in capsys.readouterr().out
    assert run(line + " --feather 1 --overwrite") == 0
    assert "done already" not in capsys.readouterr().out


def test_photos_of_one_name_are_refused(run: Run, disc, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    Path("more").mkdir()
    save_png("more/photo.png", disc.image)
    assert run("remove {photo} more --point_coords 70 44 -o {out}") == 2
    assert "expected photos of different names" in capsys.readouterr().err


def test_checkpoints_of_this_package_are_taken(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    parse = flags.parser().parse_args
    base = ["remove", "photo.png", "--point_coords", "1", "1", "-o", "out"]
    Path("own.safetensors").write_bytes(b"x")
    Path("sam.pth").write_bytes(b"x")
    assert flags.model_name(parse([*base, "--sam_ckpt", "own.safetensors"])) == "own.safetensors"
    assert flags.model_name(parse([*base, "--model", "sam_tiny", "--sam_ckpt", "own.safetensors"])) == "sam_tiny"
    assert capsys.readouterr().err == ""
    assert flags.model_name(parse([*base, "--sam_ckpt", "sam.pth"])) == "zim_tiny"
    assert "sam.pth is SAM's own" in capsys.readouterr().err


def test_deterministic_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        flags.use_deterministic()
        assert torch.are_deterministic_algorithms_enabled() and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "x")
        with pytest.raises(ConfigError, match="CUBLAS_WORKSPACE_CONFIG"):
            flags.use_deterministic()
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_shipped_model_removes(disc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The real command with zim_tiny: most of the disc goes, and twice the same bytes come."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    save_png("photo.png", disc.image)
    outputs = []
    for out in ("a", "b"):
        assert entry.main(["remove", "photo.png", "--box", "44", "18", "96", "70", "--device", "cpu", "-o", out]) == 0
        outputs.append(Path(out, "photo", "inpainted_with_mask_0.png").read_bytes())
    assert outputs[0] == outputs[1]
    left = np.abs(read_image("a/photo/inpainted_with_mask_0.png").astype(int) - disc.background).mean()
    assert left < 0.15 * np.abs(disc.image.astype(int) - disc.background).mean()
