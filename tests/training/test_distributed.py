"""Two processes against one: the same images a step, the same weights; signals, faults and checkpoints are shared."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import zim
from training.distributed import World, started_world
from training.run_state import run_tensors
from training.trainer import Stage, TrainConfig, Trainer
from zim.checkpoints import read_checkpoint
from zim.errors import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[2]
STAGES = (Stage(steps=3, side=64, images=4, prompts=2), Stage(steps=1, side=64, images=4, prompts=2))
CONFIG = TrainConfig(stages=STAGES, lr=5e-5, warmup=1, workers=0, log_every=1)
pytestmark = pytest.mark.timeout(900)


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`two_processes.py ARGUMENTS` in so many processes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = str(Path(__file__).with_name("two_processes.py"))
    return subprocess.run([*launch, script, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes under torchrun have left; see two_processes.py."""
    out = tmp_path_factory.mktemp("two")
    done = torchrun(2, str(out))
    assert (out / "results.json").is_file(), done.stderr[-6000:]
    return out


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    """By process."""
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, make_task: Callable[..., Any], make_source: Callable[..., Any]
) -> Callable[..., Trainer]:
    """`alone("zim", accumulate=1)`: the same training, finished, by one process with all images."""

    def run(name: str, **changes: Any) -> Trainer:
        trainer = Trainer(
            make_task(name),
            dataclasses.replace(CONFIG, **changes),
            lambda stage, index: make_source(images=stage.images),
            out=tmp_path_factory.mktemp("one"),
            device=torch.device("cpu"),
            metadata={"license": "Apache-2.0"},
        )
        trainer.run()
        return trainer

    return run


def losses(out: Path) -> torch.Tensor:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return torch.tensor([[row["loss"], row["mae"], row["norm"]] for row in rows])


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], limit: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[key], value, rtol=limit, atol=limit, msg=lambda text, key=key: key + text)


def test_two_processes_equal_one_with_twice_the_images(folder: Path, alone: Callable[..., Trainer]) -> None:
    """Losses and gradient norms of each step; weights, averages and batch statistics after four steps."""
    one = alone("zim")
    state = run_tensors(one.trained, one.ema, one.optimizer)
    weights = {k: v for k, v in state.items() if k.startswith(("model.", "ema."))}
    found = {k: v for k, v in load_file(folder / "ddp" / "state.safetensors").items() if k in weights}
    torch.testing.assert_close(losses(folder / "ddp" / "whole"), losses(one.out), rtol=1e-5, atol=1e-5)
    assert_close(found, weights)
    assert any(key.endswith("running_var") for key in weights)


def test_another_number_of_processes_goes_on(folder: Path, alone: Callable[..., Trainer]) -> None:
    """Two processes make two steps and one makes two more: the weights of one process alone."""
    done = torchrun(1, str(folder), "go_on")
    assert (folder / "gone_on.safetensors").is_file(), done.stderr[-6000:]
    with safe_open(folder / "gone_on.safetensors", "pt") as file:
        assert json.loads(file.metadata()["report"]) == {"processes": 1, "step": 4}
    one = alone("zim")
    state = run_tensors(one.trained, one.ema, one.optimizer)
    weights = {k: v for k, v in state.items() if k.startswith(("model.", "ema."))}
    assert_close({k: v for k, v in load_file(folder / "gone_on.safetensors").items() if k in weights}, weights)


@pytest.mark.parametrize("kind", ["output", "input", "weight", "mean", "variance"])
def test_joint_batch_statistics_are_those_of_all_images(results: list[dict[str, Any]], kind: str) -> None:
    assert max(result["joint_statistics"][kind] for result in results) < 2e-5


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_signal_to_one_process_stops_all_and_resuming_changes_nothing(
    results: list[dict[str, Any]], parallel: str
) -> None:
    for result in results:
        found = result[parallel]
        assert (found["stopped_at"], found["finished_at"], found["different"]) == (2, 4, [])
        assert "seed: the run has 0, got 9" in found["refused"]
        assert found["checkpoints"] == ["step_000000004"] and found["handlers"]
        assert (found["run"]["step"], found["run"]["stage"]) == (4, 1)


def test_bad_images_of_one_process_leave_no_trace_in_any(results: list[dict[str, Any]]) -> None:
    assert [result["bad"] for result in results] == [{"figures": {}, "different": []}] * 2


@pytest.mark.parametrize("name", ["accumulated", "fsdp/whole", "recomputed"])
def test_parts_shards_and_recomputing_equal_one_process(
    folder: Path, alone: Callable[..., Trainer], name: str
) -> None:
    """Accumulation under DDP, FSDP2, and FSDP2 with accumulation and recomputed activations."""
    one = alone("vit")
    torch.testing.assert_close(losses(folder / name), losses(one.out), rtol=1e-5, atol=1e-5)
    found, expected = (read_checkpoint(out / "model.safetensors") for out in (folder / name, one.out))
    assert_close(found.state_dict, expected.state_dict, 5e-4)  # stored in half precision
    zim.load_model(folder / name / "model.safetensors", device="cpu")


def test_accumulated_parts_equal_the_whole_batch(alone: Callable[..., Trainer]) -> None:
    one, parts = alone("vit"), alone("vit", accumulate=2)
    torch.testing.assert_close(losses(parts.out), losses(one.out), rtol=1e-5, atol=1e-5)
    assert_close(dict(parts.model.state_dict()), dict(one.model.state_dict()))


def test_fsdp_is_for_vits(results: list[dict[str, Any]]) -> None:
    assert all("--parallel fsdp: expected a ViT model" in result["fsdp_of_tiny"] for result in results)


def test_exports_of_two_processes_load(folder: Path) -> None:
    path = folder / "ddp" / "parts" / "model.safetensors"
    assert read_checkpoint(path).metadata["step"] == "4"
    model = zim.load_model(path, device="cpu")
    assert not any("Joint" in type(module).__name__ for module in model.modules())


def test_runs_of_one_and_of_several_are_not_mixed(
    folder: Path, make_task: Callable[..., Any], make_source: Callable[..., Any]
) -> None:
    trainer = Trainer(
        make_task("zim"), CONFIG, lambda stage, index: make_source(), out=folder / "ddp" / "parts",
        device=torch.device("cpu"), metadata={},
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="begun by several processes; go on with --parallel ddp or fsdp"):
        trainer.run()


def test_torchrun_and_the_option_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with started_world("none", "cpu") as (world, device):
        assert world == World() and device.type == "cpu" and world.is_main
    with pytest.raises(ConfigError, match="--parallel ddp: expected a start by torchrun .*, found no RANK"):
        with started_world("ddp", "cpu"):
            pass
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="expected ddp or fsdp under torchrun with several processes, got none"):
        with started_world("none", "cpu"):
            pass
