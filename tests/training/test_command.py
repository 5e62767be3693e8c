"""Both commands as a user runs them, small: a pair from one start, licences, and faults in one line."""

import dataclasses
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zim
from training import command, train_sam_baseline, train_zim
from training.command import initialise
from training.presets import PRESETS, SMOKE
from training.sources import open_data
from training.tasks import SamTask
from training.trainer import Stage
from zim.checkpoints import read_checkpoint, save_checkpoint
from zim.errors import ConfigError
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.zim import build_zim

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
    assert code == 1 and "--data-license: expected the licence that --photos put on" in line
    own = tmp_path / "own"
    arguments = ("--cache", own, "--photos", photos)
    assert train("zim", *arguments, "--data-license", "research-only (data)", "--steps", 0)[0] == 0
    assert license_of(tmp_path / "zim") == "research-only (data)"
    code, line = train("zim", "--steps", 0)
    assert code == 1 and "begun with other options (photos: the run has 1, got 0)" in line
    start = tmp_path / "zim" / "model.safetensors"
    assert train("zim", "--out", tmp_path / "plain", "--init", start, "--steps", 0)[0] == 0  # the note stays
    assert license_of(tmp_path / "plain") == "research-only (data)"
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
        (["--accumulate", "2"], "images: expected a multiple of 2"),
        (["--slice", "2/2"], "--slice 2/2: expected --init with the weights of the slice before, got none"),
        (["--slice", "half"], "--slice: expected I/N, got 'half'"),
        (["--shares", "scene=1"], "--shares: expected NAME=NUMBER with a name of scenes, segments"),
        (["--shares", "mattes=1"], "shares: no source has a positive share"),
        (["--mattes", "nowhere", "--data-license", "mine"], "nowhere: expected"),
        (["--shards", "nowhere*.tar", "--data-license", "mine"], "files that match nowhere*.tar, found none"),
        (["--sprites", "nowhere", "--data-license", "mine"], "--sprites: expected with presets that use sprites"),
        (["--box-jitter", "-0.1"], "box_jitter: expected a number >= 0, got -0.1"),
        (["--parallel", "ddp"], "--parallel ddp: expected a start by torchrun"),
        (["--checkpoint-activations"], "--checkpoint-activations: expected a ViT model"),
    ],
)
def test_faults_are_one_line(
    train: Callable[..., tuple[int, str]], tmp_path: Path, arguments: list[str], text: str
) -> None:
    code, line = train("sam", *arguments)
    assert code == 1 and text in line and line.startswith(f"{tmp_path / 'sam'}: error: ")
    assert not (tmp_path / "sam" / "model.safetensors").exists()


def test_options_that_change_the_loss_or_the_prompts_belong_to_the_run(
    train: Callable[..., tuple[int, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--volume", 1, "--box-jitter", 0.3)
    assert train("zim", *options)[0] == 0 and train("zim", *options)[0] == 0
    code, line = train("zim")
    assert code == 1 and "box_jitter: the run has 0.3, got None" in line and "volume: the run has 1.0, got None" in line
    with pytest.raises(SystemExit, match="2"):
        train("zim", "--volume", -1)
    assert "--volume: expected a number >= 0, got -1.0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        train("zim", "--volume", 1, "--labels", "segmentation")
    assert "--volume: expected with --labels matte" in capsys.readouterr().err


def test_prompts_of_batches_made_on_a_gpu_are_not_jittered_by_the_option() -> None:
    options = Namespace(sprites=Path("library"), box_jitter=0.2)
    with pytest.raises(ConfigError, match=r"--box-jitter: expected with presets .* on the CPU, got 0\.2"):
        open_data(options, PRESETS["tiny_gpu"], torch.device("cpu"))


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


def test_own_mattes_fine_tune_shipped_weights_in_one_command(
    train: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--preset fine_tune --init zim_tiny --mattes FOLDER`, with small weights in the place of the shipped ones."""
    assert train("zim", "--out", tmp_path / "shipped", "--steps", 0)[0] == 0
    shipped = tmp_path / "shipped" / "model.safetensors"
    monkeypatch.setattr(command, "shipped_weights", lambda: {"zim_tiny": None})
    monkeypatch.setattr(command, "shipped_weights_path", lambda name: shipped)
    stage = dataclasses.replace(PRESETS["fine_tune"].stages[0], steps=2, side=64, images=2, prompts=1)
    monkeypatch.setitem(PRESETS, "fine_tune", dataclasses.replace(PRESETS["fine_tune"], stages=(stage,), workers=0))
    y, x = np.mgrid[:48, :64]
    alpha = (np.clip(14 - np.hypot(x - 30, y - 24), 0, 1) * 255).astype(np.uint8)
    for part, pixels in (("image", np.dstack([alpha] * 3)), ("alpha", alpha)):
        (tmp_path / "mine" / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "mine" / part / "a.png")
    mine = ("--preset", "fine_tune", "--init", "zim_tiny", "--mattes", tmp_path / "mine", "--shares", "mattes=1")
    code, line = train("zim", *mine)
    assert code == 1 and "--data-license: expected the licence that --mattes put on" in line
    assert train("zim", *mine, "--data-license", "my own")[0] == 0
    tuned = zim.load_model(tmp_path / "zim" / "model.safetensors", device="cpu").state_dict()
    before = read_checkpoint(shipped).state_dict
    learnt = [key for key, value in tuned.items() if value.is_floating_point() and "running_" not in key]
    moved = max(float((tuned[key] - before[key]).abs().max()) for key in learnt)
    assert 0 < moved < 0.05 and license_of(tmp_path / "zim") == "my own"


def test_permissive_preset_takes_nothing_of_other_licences(
    train: Callable[..., tuple[int, str]], tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "permissive", dataclasses.replace(QUICK, procedural_only=True))
    given = ("--preset", "permissive")
    assert train("zim", *given, "--out", tmp_path / "free")[0] == 0
    assert license_of(tmp_path / "free") == "Apache-2.0"
    code, line = train("zim", *given, "--photos", photos, "--data-license", "mine")
    assert code == 1 and "--preset permissive: expected procedural scenes" in line
    assert "alone, got --photos, --data-license mine" in line
    tainted = tmp_path / "tainted.safetensors"
    start = read_checkpoint(tmp_path / "free" / "model.safetensors")
    save_checkpoint(tainted, start.state_dict, config=start.config, metadata={"license": "research-only (data)"})
    code, line = train("zim", *given, "--init", tainted)
    assert code == 1 and line.endswith(f"got {tainted} (research-only (data))")


def test_vit_starts_from_a_sam_checkpoint(
    train: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    vit_config: ZimConfig,
) -> None:
    """A `.pth` under SAM's own names fills what the two share; rate, model and licence reach the export."""
    monkeypatch.setitem(train_zim.MODEL_CONFIGS, "vit_b", vit_config)
    model = build_zim(vit_config)
    names = {key.replace("image_encoder.backbone.", "image_encoder."): key for key in model.state_dict()}
    pth = tmp_path / "sam_vit_b.pth"
    torch.save({sam: model.state_dict()[own] for sam, own in names.items()}, pth)
    assert train_zim.main(
        ["--out", str(tmp_path / "vit"), "--preset", "smoke", "--model", "vit_b", "--init", str(pth), "--steps", "0"]
    ) == 0
    assert "initialised from SAM" in capsys.readouterr().out
    made = read_checkpoint(tmp_path / "vit" / "model.safetensors")
    key = "image_encoder.backbone.blocks.0.attn.qkv.weight"
    torch.testing.assert_close(made.state_dict[key], model.state_dict()[key], rtol=1e-3, atol=1e-4)
    assert made.metadata["model"] == "vit_b"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_within_their_promises(name: str) -> None:
    """Slices of tiny_gpu meet, paper_vit_b is the paper's, permissive is closed, the first one stays as it was."""
    config = PRESETS[name]
    if name == "paper_vit_b":
        assert (config.steps, config.lr, config.stages[0].side) == (500_000, 1e-5, 1024)
    if name == "tiny_gpu":
        halves = [dataclasses.replace(config, slice=(i, 2)) for i in (1, 2)]
        assert halves[0].last_step == halves[1].first_step and halves[1].last_step == config.steps
        assert config.source == "sprites"
    if name == "tiny_cpu_first":
        assert [stage.steps for stage in config.stages] == [450, 560, 60] and config.lr == 5e-4
    assert config.procedural_only == (name == "permissive")
