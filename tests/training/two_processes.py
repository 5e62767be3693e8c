"""What `test_distributed.py` starts by torchrun: real training in two processes, results for it to compare.

Every scene runs in both processes; the first writes what came out into the folder given. Started again with one process
and `go_on`, it finishes a run that two have begun.
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from conftest import DiscSource, small_task
from safetensors.torch import save_file
from torch import Tensor, nn

from training.acceleration import checkpoint_activations
from training.distributed import JointBatchNorm2d, World, started_world, whole
from training.distributed_state import latest_checkpoint
from training.run_state import run_tensors
from training.trainer import Stage, TrainConfig, Trainer
from zim.errors import CheckpointError, ConfigError

STAGES = (Stage(steps=3, side=64, images=4, prompts=2), Stage(steps=1, side=64, images=4, prompts=2))
CONFIG = TrainConfig(stages=STAGES, lr=5e-5, warmup=1, workers=0, log_every=1)
"""Adam makes steps of `lr` out of gradients that are nothing but rounding, so `lr` is small beside the test's 1e-5."""


def trainer_of(
    out: Path, world: World, name: str, at: Callable[[int], None] = lambda step: None, **changes: Any
) -> Trainer:
    """A trainer of a small model; `at` hears in this process of every step that it makes."""
    task = small_task(name)
    if changes.pop("checkpointing", False):
        checkpoint_activations(task.model)
    return Trainer(
        task,
        dataclasses.replace(CONFIG, **changes),
        lambda stage, index: DiscSource(at, images=stage.images),
        out=out,
        device=torch.device("cpu"),
        metadata={"license": "Apache-2.0"},
        world=world,
    )


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    """Everything that training goes on from, whole."""
    tensors = run_tensors(trainer.trained, trainer.ema, trainer.optimizer)
    return {name: whole(value).clone().contiguous() for name, value in tensors.items()}


def different(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are not equal bit for bit."""
    moved = [key for key in first if key in second and not torch.equal(first[key], second[key])]
    return sorted(first.keys() ^ second.keys()) + moved


def joint_statistics(world: World) -> dict[str, float]:
    """Joint batch normalisation of halves against torch's own of the whole: largest (relative) differences."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 5, 6, generator=generator) * torch.tensor([0.1, 3.0, 1.0]).view(3, 1, 1) + 7
    weights = torch.randn(x.shape, generator=generator)
    oracle, joint = nn.BatchNorm2d(3), JointBatchNorm2d(3)
    for norm in (oracle, joint):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    half = slice(2 * world.rank, 2 * world.rank + 2)
    inputs = x.clone().requires_grad_(), x[half].clone().requires_grad_()
    expected, found = oracle(inputs[0]), joint(inputs[1])
    (expected * weights).sum().backward()
    (found * weights[half]).sum().backward()
    gradients = joint.weight.grad.clone()  # type: ignore[union-attr]
    dist.all_reduce(gradients)
    pairs = {
        "output": (found, expected[half]),
        "input": (inputs[1].grad, inputs[0].grad[half]),  # type: ignore[index]
        "weight": (gradients, oracle.weight.grad),
        "mean": (joint.running_mean, oracle.running_mean),
        "variance": (joint.running_var, oracle.running_var),
    }
    found_at: dict[str, float] = {}
    for name, (a, b) in pairs.items():
        found_at[name] = float((a - b).detach().abs().max() / max(1.0, float(b.abs().max())))  # type: ignore
    return found_at


def stop_and_go_on(folder: Path, world: World, name: str) -> dict[str, Any]:
    """Four steps at once, and two, a signal to the second process alone, and two more."""
    at_once = trainer_of(folder / "whole", world, name)
    at_once.run()

    def signalled(step: int) -> None:
        if step == 1 and world.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    first = trainer_of(folder / "parts", world, name, signalled)
    first.run()
    second = trainer_of(folder / "parts", world, name)
    second.run()
    try:
        trainer_of(folder / "parts", world, name, seed=9).run()
        refused = ""
    except CheckpointError as error:
        refused = str(error)
    found = latest_checkpoint(folder / "parts")
    if world.is_main:
        save_file(state_of(at_once) if world.parallel == "ddp" else {}, folder / "state.safetensors")
    return {
        "stopped_at": first.step,
        "finished_at": second.step,
        "different": different(state_of(at_once), state_of(second)),
        "refused": refused,
        "checkpoints": sorted(path.name for path in (folder / "parts" / "checkpoints").iterdir()),
        "run": json.loads((found / "run.json").read_text()) if found else None,
        "handlers": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    }


def bad_step(folder: Path, world: World) -> dict[str, Any]:
    """One process's images hold a NaN: both leave the step out."""
    trainer = trainer_of(folder, world, "zim")
    trainer.run()
    before = state_of(trainer)
    trainer.model.train()
    batch = DiscSource(images=4)[7].part(world.rank, 2)
    if world.rank == 1:
        batch.image[0, 0, 5, 5] = float("nan")
    figures = trainer._train_step(batch)
    return {"figures": figures, "different": different(before, state_of(trainer))}


def begin(folder: Path, world: World) -> None:
    """Two of four steps, then a signal."""

    def signalled(step: int) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer_of(folder, world, "zim", signalled).run()


def go_on(folder: Path) -> None:
    """Finish in another number of processes what `begin` has left."""
    with started_world("ddp", "cpu") as (world, _):
        trainer = trainer_of(folder / "begun", world, "zim")
        trainer.run()
        report = {"processes": world.size, "step": trainer.step}
        save_file(state_of(trainer), folder / "gone_on.safetensors", {"report": json.dumps(report)})


def main(folder: Path) -> None:
    """All scenes; `results.json` appears last."""
    with started_world("ddp", "cpu") as (world, _):
        results: dict[str, Any] = {"joint_statistics": joint_statistics(world)}
        results["ddp"] = stop_and_go_on(folder / "ddp", world, "zim")
        begin(folder / "begun", world)
        results["bad"] = bad_step(folder / "bad", world)
        accumulated = trainer_of(folder / "accumulated", world, "vit", accumulate=2)
        accumulated.run()
        sharded = dataclasses.replace(world, parallel="fsdp")
        results["fsdp"] = stop_and_go_on(folder / "fsdp", sharded, "vit")
        trainer_of(folder / "recomputed", sharded, "vit", accumulate=2, checkpointing=True).run()
        try:
            trainer_of(folder / "refused", sharded, "zim")
        except ConfigError as error:
            results["fsdp_of_tiny"] = str(error)
        everyone: list[Any] = [None, None]
        dist.all_gather_object(everyone, results)
        if world.is_main:
            (folder / "results.json").write_text(json.dumps(everyone))


if __name__ == "__main__":
    (go_on if "go_on" in sys.argv else main)(Path(sys.argv[1]))
