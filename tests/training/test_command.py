"""Both commands as a user runs them, small: a pair from one start, licences, and faults in one line."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zim
from training import train_sam_baseline, train_zim
from training.command import initialise
from training.presets import PRESETS, SMOKE
from training.tasks import SamTask
from training.trainer import Stage
from zim.checkpoints import read_checkpoint, save_checkpoint
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.modeling.config import ZIM_TEST, ZimConfig

QUICK = dataclasses.replace(SMOKE, stages=(Stage(steps=1, side=64, images=1, prompts=1, scenes=1),))


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch, sam_config: ZimConfig) -> None:
    monkeypatch.setattr(train_zim, "ZIM_TINY", ZIM_TEST)
    monkeypatch.setattr(train_sam_baseline, "SAM_TINY", sam_config)
    monkeypatch.setitem(PRESETS, "smoke", QUICK)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of rendered scenes for all."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def train(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`train("zim" or "sam", *arguments)`: exit code and the last line of the errors; the run is in tmp_path/NAME."""

    def run(name: str, *arguments: object) -> tuple[int, str]:
        main = train_zim.main if name == "zim" else train_sam_baseline.main
        start = [] if "--out" in arguments else ["--out", str(tmp_path / name)]
        code = main([*start, "--preset", "smoke", "--cache", str(cache), *map(str, arguments)])
        lines = capsys.readouterr().err.splitlines()
        return code, lines[-1] if lines else ""

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(folder / "a.png")
    return folder


def license_of(path: Path) -> str:
    return read_checkpoint(path / "model.safetensors").metadata["license"]


def test_baseline_starts_a_zim_that_goes_on(train: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert train("sam")[0] == 0
    sam = build_sam_tiny(checkpoint=tmp_path / "sam" / "model.safetensors")
    assert train("zim", "--init", tmp_path / "sam" / "model.safetensors", "--steps", 0)[0] == 0
    model = zim.load_model(tmp_path / "zim" / "model.safetensors", device="cpu")
    theirs = {k.replace("image_encoder.", "image_encoder.backbone."): v for k, v in sam.state_dict().items()}
    shared = [k for k, v in model.state_dict().items() if k in theirs and theirs[k].shape == v.shape]
    for part in ("image_encoder.backbone", "prompt_encoder", "mask_decoder.transformer", "mask_decoder.iou_"):
        assert any(key.startswith(part) for key in shared)
    assert all(bool((model.state_dict()[key] == theirs[key]).all()) for key in shared)
    only_zim = {key.split(".")[1] for key in model.state_dict().keys() - set(shared)}
    assert only_zim <= {"halves", "pixel_decoder", "output_hypernetworks_mlps"}
    assert license_of(tmp_path / "zim") == "Apache-2.0"
    assert train("zim")[0] == 0  # resumes: the weights of the run, not a new start
    assert read_checkpoint(tmp_path / "zim" / "model.safetensors").metadata["step"] == "1"


def test_zim_starts_a_baseline(train: Callable[..., tuple[int, str]], tmp_path: Path, sam_config: ZimConfig) -> None:
    assert train("zim", "--labels", "segmentation")[0] == 0
    task = SamTask(sam_config)
    report = initialise(task, tmp_path / "zim" / "model.safetensors")
    theirs = zim.load_model(tmp_path / "zim" / "model.safetensors", device="cpu").state_dict()
    kept = [
        key
        for key, value in task.model.state_dict().items()
        if (other := theirs.get(key.replace("image_encoder.", "image_encoder.backbone."))) is None
        or other.shape != value.shape
        or not bool((other == value).all())
    ]
    assert {".".join(key.split(".")[:2]) for key in kept} == {
        "mask_decoder.output_upscaling",
        "mask_decoder.output_hypernetworks_mlps",
    }
    assert "output_upscaling" in report


def test_photographs_need_a_stated_licence(
    train: Callable[..., tuple[int, str]], tmp_path: Path, photos: Path
) -> None:
    code, line = train("zim", "--photos", photos)
    assert code == 1 and "--data-license: expected the licence that --segments and --photos put on" in line
    own = tmp_path / "own"
    arguments = ("--cache", own, "--photos", photos)
    assert train("zim", *arguments, "--data-license", "research-only (data)", "--steps", 0)[0] == 0
    assert license_of(tmp_path / "zim") == "research-only (data)"
    assert train("zim", "--steps", 0)[0] == 0  # goes on without photographs: the note stays
    assert license_of(tmp_path / "zim") == "research-only (data)"
    start = tmp_path / "zim" / "model.safetensors"
    code, line = train("zim", "--out", tmp_path / "next", "--init", start, "--data-license", "Apache-2.0")
    assert code == 1 and "--data-license: expected 'research-only (data)'" in line and str(start) in line
    code, line = train("zim", "--out", tmp_path / "other", "--cache", own)  # scenes made of those photographs
    assert code == 1 and "rendered with other photographs" in line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--init", "nowhere.safetensors"], "nowhere.safetensors: expected a checkpoint file"),
        (["--segments", "nowhere", "--data-license", "mine"], "under nowhere, found none"),
        (["--photos", "nowhere", "--data-license", "mine"], "file under nowhere, found none"),
        (["--steps", "1", "2"], "--steps: expected 1 numbers, one a stage, got 2"),
        (["--steps", "-1"], "stage: expected steps >= 0"),
        (["--device", "abacus"], "device: expected auto, cpu"),
        (["--threads", "-2"], "--threads: expected at least 0, got -2"),
        (["--workers", "-2"], "workers: expected at least 0, got -2"),
        (["--lr", "-1"], "lr: expected a positive number, got -1.0"),
        (["--seed", "-1"], "seed: expected at least 0, got -1"),
    ],
)
def test_faults_are_one_line(
    train: Callable[..., tuple[int, str]], tmp_path: Path, arguments: list[str], text: str
) -> None:
    code, line = train("sam", *arguments)
    assert code == 1 and text in line and line.startswith(f"{tmp_path / 'sam'}: error: ")
    assert not (tmp_path / "sam" / "model.safetensors").exists()


def test_out_that_is_a_file_and_weights_of_another_size(
    train: Callable[..., tuple[int, str]], tmp_path: Path, sam_config: ZimConfig
) -> None:
    (tmp_path / "sam").write_text("not a folder")
    assert train("sam")[0] == 1
    wider = dataclasses.replace(sam_config, transformer_mlp_dim=48)
    path = tmp_path / "wide.safetensors"
    save_checkpoint(path, build_sam_tiny(wider).state_dict(), config=wider.to_dict())
    code, line = train("sam", "--out", tmp_path / "b", "--init", path)
    assert code == 1 and "other shapes: mask_decoder.transformer" in line


def test_fault_in_a_data_process_is_one_line(train: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "image" / "a.png")
    (folder / "label" / "a.png").write_bytes(b"no picture")
    arguments = ("--segments", folder, "--data-license", "mine", "--workers", 1, "--steps", 9)
    code, line = train("sam", *arguments)
    assert code == 1 and str(folder / "label" / "a.png") in line and "Traceback" not in line
