"""A training loop for one process or many: stages, AdamW, cosine, EMA, checkpoints that resume exactly, a log."""

import json
import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from zim.checkpoints import save_checkpoint
from zim.errors import CheckpointError, ConfigError, ZimError

from .acceleration import vit_blocks
from .data.batches import StepSource, batches, part_of, share_of
from .distributed import World, gradients_stay_local, join_batch_norms, replicate, shard_parameters, whole
from .distributed_state import latest_checkpoint, load_distributed, save_distributed
from .run_identity import identity_of
from .run_state import Ema, load_run, save_run
from .schedule import parameter_groups
from .tasks import Task
from .train_config import Stage, TrainConfig

__all__ = ["MAX_BAD_STEPS", "NotFiniteError", "Stage", "TaskLoss", "TrainConfig", "Trainer"]


class NotFiniteError(ZimError, ArithmeticError):
    """Too many steps in a row had a loss or gradient that is not finite."""


MAX_BAD_STEPS = 10


class TaskLoss(nn.Module):
    """A task's loss as a module, which is what several processes share; holds all that is trained."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self.contrast = task.model, task.contrast
        self._task = task

    def forward(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Task.loss`."""
        return self._task.loss(batch, progress)


class Trainer:
    """Runs a task through its stages; `source_of(stage, index)` gives the batches of a stage.

    world: the processes that train together; each trains on its share of every step's images.
    identity: what a run folder must agree on besides the configuration when a run goes on there.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        source_of: Callable[[Stage, int], StepSource],
        *,
        out: Path,
        device: torch.device,
        metadata: dict[str, str],
        world: World = World(),
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.task, self.config, self.source_of, self.out, self.device = task, config, source_of, out, device
        self.metadata, self.world = metadata, world
        self.identity = identity_of(config, identity)
        for stage in config.stages:
            share_of(stage.images, 0, world.size * config.accumulate)  # refused before anything is built
        self.trained = TaskLoss(task).to(device)
        self.runner: nn.Module = self.trained
        if device.type in task.channels_last and world.parallel != "fsdp":
            task.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if world.parallel != "none":
            join_batch_norms(self.trained)
        if world.parallel == "ddp":
            self.runner = replicate(self.trained, device)
        elif world.parallel == "fsdp":
            if not all(stage.train_encoder for stage in config.stages):
                raise ConfigError("--parallel fsdp: expected stages that train the encoder, got one that freezes it")
            shard_parameters(self.trained, vit_blocks(self.trained), device)
        self.model = task.model
        groups = parameter_groups(self.trained, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
        self.ema = Ema(self.model, config.ema)
        self.step = config.first_step
        self._signalled = self._leaving = False
        self._bad = 0

    @property
    def _run_path(self) -> Path:
        return self.out / "run.safetensors"

    def run(self) -> Path:
        """Train from the last checkpoint in `out`, or from the start; returns the exported weights.

        SIGTERM and Ctrl-C, in any of the processes, finish the step, save and leave; a second Ctrl-C leaves at once.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._signalled = self._leaving = False
        self._bad = 0
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._run_stages()
        except KeyboardInterrupt:
            if self.world.parallel != "none":
                raise  # saving takes all processes
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self._save()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True

    def _run_stages(self) -> None:
        first = 0
        for index, stage in enumerate(self.config.stages):
            last = min(first + stage.steps, self.config.last_step)
            if self.step < last and not self._leaving:
                self._run_stage(stage, index, last)
            first += stage.steps

    def _run_stage(self, stage: Stage, index: int, last: int) -> None:
        self._prepare(stage)
        stream = self._stream(stage, index, last)
        meter = _Meter()
        saved = time.monotonic()
        bar = tqdm(
            total=self.config.last_step,
            initial=self.step,
            desc=f"{self.task.name} {stage.side} px",
            unit="step",
            disable=not self.world.is_main,
        )
        for _ in range(self.step, last):
            asked = time.monotonic()
            batch = next(stream).to(self.device)
            meter.waited += time.monotonic() - asked
            meter.add(self._train_step(batch))
            self.step += 1
            bar.update()
            if meter.counted == self.config.log_every or self.step == last:
                means = meter.means(self.world)
                self._log(stage, means)
                bar.set_postfix(loss=f"{means.get('loss', math.nan):.3f}", mae=f"{means.get('mae', math.nan):.3f}")
                meter = _Meter()
            now = time.monotonic()
            self._leaving, due = self.world.any(self._signalled, now - saved > self.config.checkpoint_seconds)
            if due and not self._leaving:
                self._save()
                saved = now
            if self._leaving:
                break
        bar.close()

    def _prepare(self, stage: Stage) -> None:
        """Bring the model to a stage's size and freeze what the stage freezes."""
        self.task.set_image_size(stage.side)
        encoder = self.task.encoder
        self.model.train()
        encoder.train(stage.train_encoder)
        encoder.requires_grad_(stage.train_encoder)

    def _stream(self, stage: Stage, index: int, last: int) -> Any:
        """The batches that are left of a stage: this process's share of them."""
        source = self.source_of(stage, index)
        if self.world.size > 1:
            source = part_of(source, self.world.rank, self.world.size)
        workers = 0 if self.config.source == "sprites" else self.config.workers
        return batches(source, first=self.step, last=last, workers=workers, pin=self.device.type == "cuda")

    def _train_step(self, batch: Any) -> dict[str, Tensor]:
        """One optimiser step; a loss that is not finite in any process skips it, ten in a row end the run."""
        statistics = [buffer.clone() for buffer in self.model.buffers()]  # a forward pass already moves them
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        figures = self._gradients(batch)
        norm = whole(nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip))
        (bad,) = self.world.any(not math.isfinite(float(norm)))
        if bad:
            self._bad += 1
            for buffer, value in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(value)
            if self._bad >= MAX_BAD_STEPS:
                raise NotFiniteError(f"step {self.step}: {self._bad} steps in a row were not finite")
            return {}
        self._bad = 0
        self.optimizer.step()
        self.ema.update(self.model, self.step)
        return {**figures, "norm": norm}

    def _gradients(self, batch: Any) -> dict[str, Tensor]:
        """Forward and backward through all parts of a step; figures are means over the parts."""
        parts, progress = self.config.accumulate, self.step / max(1, self.config.steps)
        figures: dict[str, Tensor] = {}
        for index in range(parts):
            part = batch if parts == 1 else batch.part(index, parts)
            with gradients_stay_local(self.runner, index < parts - 1):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
                    loss, found = self.runner(part, progress)
                (loss / parts).backward()
            for name, value in found.items():
                figures[name] = figures[name] + value / parts if name in figures else value / parts
        return figures

    def learning_rate(self, step: int) -> float:
        """See `TrainConfig.learning_rate`."""
        return self.config.learning_rate(step)

    def _log(self, stage: Stage, figures: dict[str, float]) -> None:
        if not self.world.is_main:
            return
        row = {"step": self.step, "side": stage.side, "lr": self.learning_rate(self.step), **figures}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: round(value, 6) for key, value in row.items()}) + "\n")

    def _resume(self) -> None:
        folder, alone = latest_checkpoint(self.out), self.world.parallel == "none"
        if alone and folder is not None and not self._run_path.exists():
            raise CheckpointError(f"{folder}: begun by several processes; go on with --parallel ddp or fsdp")
        if not alone and self._run_path.exists():
            raise CheckpointError(f"{self._run_path}: begun by one process; go on with --parallel none, or elsewhere")
        if alone and self._run_path.exists():
            self.step = load_run(self._run_path, self.trained, self.ema, self.optimizer, identity=self.identity)
        elif folder is not None:
            self.step = load_distributed(folder, self.trained, self.ema, self.optimizer, identity=self.identity)

    def _save(self) -> Path:
        state = (self.trained, self.ema, self.optimizer)
        if self.world.parallel == "none":
            save_run(self._run_path, *state, step=self.step, identity=self.identity)
        else:
            stage = self.config.stage_of(self.step)
            save_distributed(
                self.out, *state, step=self.step, stage=stage, identity=self.identity, world=self.world
            )
        return self.export()

    def export(self) -> Path:
        """Write the averaged weights as float16, with the configuration for 1024-pixel inference."""
        path = self.out / "model.safetensors"
        state = {name: whole(value) for name, value in self.ema.state_dict().items()}
        metadata = {**self.metadata, "step": str(self.step)}
        if self.world.is_main:
            save_checkpoint(path, state, config=self.task.config.to_dict(), metadata=metadata, dtype=torch.float16)
        self.world.wait()
        return path


class _Meter:
    """Figures of some steps in a row, and the time that they took."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._started = time.monotonic()
        self.counted = self._skipped = 0
        self.waited = 0.0

    def add(self, figures: dict[str, Tensor]) -> None:
        """The figures of a step, scalars on any device; none where it was skipped."""
        self.counted += 1
        self._skipped += not figures
        for key, value in figures.items():
            self._totals[key] = self._totals[key] + value if key in self._totals else value.float()

    def means(self, world: World) -> dict[str, float]:
        """Means over steps and processes, seconds a step, and the share of them that went by waiting for data."""
        totals = {key: float(value) for key, value in self._totals.items()}
        elapsed = max(time.monotonic() - self._started, 1e-9)
        figures = {**totals, "seconds": elapsed, "waiting": self.waited}
        totals = {name: value / world.size for name, value in world.sums(figures).items()}
        elapsed, waited = totals.pop("seconds"), totals.pop("waiting")
        means = {name: value / (self.counted - self._skipped) for name, value in totals.items()}
        if self._skipped:
            means["skipped"] = float(self._skipped)
        return {**means, "seconds": elapsed / self.counted, "waiting": waited / elapsed}
