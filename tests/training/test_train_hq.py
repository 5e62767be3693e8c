"""The command that trains a head: from a base to a file that a predictor loads, resumed, and refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.train_hq import head_license, main, parser, train_config
from zim import load_predictor
from zim.checkpoints import read_checkpoint, save_checkpoint
from zim.errors import CheckpointError, ConfigError
from zim.hq_checkpoints import load_hq
from zim.hq_predictor import HqPredictor
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import build_zim


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ZIM with random weights that allow research only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_zim(ZIM_TEST)
    path = tmp_path_factory.mktemp("base") / "small.safetensors"
    metadata = {"license": "research-only (data)"}
    save_checkpoint(path, model.state_dict(), config=ZIM_TEST.to_dict(), metadata=metadata)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered scenes, shared by the runs."""
    return tmp_path_factory.mktemp("cache")


def run(base: Path, out: Path, cache: Path, *more: str) -> int:
    return main(
        ["--base", str(base), "--out", str(out), "--cache", str(cache), "--preset", "hq_smoke", "--threads", "1", *more]
    )


def test_a_head_is_trained_and_answers(base: Path, cache: Path, tmp_path: Path, photo_for_hq: np.ndarray) -> None:
    assert run(base, tmp_path / "run", cache, "--steps", "3") == 0
    path = tmp_path / "run" / "model.safetensors"
    checkpoint = read_checkpoint(path)
    assert checkpoint.config["architecture"] == "hq_zim" and checkpoint.config["base"] == "small"
    assert checkpoint.config["base_sha256"] == read_checkpoint(base).sha256
    assert checkpoint.metadata["license"] == "research-only (data)"
    assert all(name.startswith("mask_decoder.") for name in checkpoint.state_dict)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3] and all(np.isfinite(row["loss"]) for row in rows)
    predictor = HqPredictor(load_hq(path, base))
    predictor.set_image(photo_for_hq)
    alone = predictor.predict(box=np.array([10, 10, 90, 60]), return_logits=True, hq_token_only=True)[0]
    assert np.isfinite(alone).all() and np.abs(alone).max() > 0  # at first it says nothing at all
    with pytest.raises(CheckpointError, match="small"):
        load_predictor(path, device="cpu")  # by path alone the base must be a shipped one


@pytest.mark.parametrize("more", [(), ("--repeats", "2")], ids=["whole", "crops"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    base: Path, cache: Path, tmp_path: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(base, tmp_path / "whole", cache, "--steps", "4", *more) == 0
    from training import trainer

    steps = []

    def stop_after_two(self: Any, batch: Any) -> Any:
        steps.append(self.step)
        if len(steps) == 2:
            os.kill(os.getpid(), 15)
        return original(self, batch)

    original = trainer.Trainer._train_step
    monkeypatch.setattr(trainer.Trainer, "_train_step", stop_after_two)
    assert run(base, tmp_path / "cut", cache, "--steps", "4", *more) == 0
    assert steps == [0, 1]
    monkeypatch.setattr(trainer.Trainer, "_train_step", original)
    assert run(base, tmp_path / "cut", cache, "--steps", "4", *more) == 0
    one, other = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert one.metadata["step"] == other.metadata["step"] == "4"
    for name, value in one.state_dict.items():
        torch.testing.assert_close(other.state_dict[name], value, rtol=1e-3, atol=1e-4)


def test_a_run_of_other_options_is_refused(
    base: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(base, tmp_path / "run", cache, "--steps", "1") == 0
    assert run(base, tmp_path / "run", cache, "--steps", "1", "--target", "mask") == 1
    assert "target: the run has 'alpha', got 'mask'" in capsys.readouterr().err


def test_fine_masks_of_ones_own(base: Path, tmp_path: Path) -> None:
    """Any folder of photographs and masks; scenes are left out."""
    from zim.image_io import save_png

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    for index in range(3):
        mask = np.hypot(x - 40 - 5 * index, y - 48) < 25
        save_png(tmp_path / "own" / "image" / f"{index}.png", rng.integers(0, 255, (96, 96, 3), np.uint8))
        save_png(tmp_path / "own" / "mask" / f"{index}.png", mask)
    arguments = ["--mattes", str(tmp_path / "own"), "--shares", "mattes=1", "--data-license", "research-only (mine)"]
    assert run(base, tmp_path / "run", tmp_path / "no_cache", "--steps", "1", *arguments) == 0
    assert not (tmp_path / "no_cache").exists()
    assert read_checkpoint(tmp_path / "run" / "model.safetensors").metadata["license"] == "research-only (mine)"


def test_licences_are_handed_on(base: Path) -> None:
    checkpoint = read_checkpoint(base)
    own = parser().parse_args(["--out", "x"])
    assert head_license(own, checkpoint) == "research-only (data)"
    foreign = parser().parse_args(["--out", "x", "--mattes", "somewhere"])
    with pytest.raises(ConfigError, match="--data-license: expected the licence that --mattes"):
        head_license(foreign, checkpoint)
    loose = parser().parse_args(["--out", "x", "--data-license", "MIT"])
    with pytest.raises(ConfigError, match="as the base has, got 'MIT'"):
        head_license(loose, checkpoint)


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--steps: expected 2 numbers, one a stage, got 1"):
        train_config(parser().parse_args(["--out", "x", "--preset", "hq_cpu", "--steps", "5"]))
    with pytest.raises(ConfigError, match="--repeats: expected at least 1, got 0"):
        train_config(parser().parse_args(["--out", "x", "--repeats", "0"]))
    assert main(["--base", str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "out")]) == 1
    assert "expected a checkpoint file" in capsys.readouterr().err


@pytest.fixture
def photo_for_hq() -> np.ndarray:
    """(70, 100, 3) uint8 noise."""
    return np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
