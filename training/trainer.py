"""A training loop for one machine: stages, AdamW, cosine, EMA, checkpoints that resume exactly, a log."""

import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from zim.checkpoints import save_checkpoint
from zim.errors import ConfigError, ZimError

from .data.batches import BatchSource, batches
from .run_state import Ema, load_run, save_run
from .tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run: `steps` steps at one image side.

    images, prompts: per step, and per image. train_encoder: False freezes the image encoder (its batch statistics
    too), for a cheap finish at high resolution. scenes: how many rendered scenes it draws from. scene_size: their
    side when it is not `side` (they are resized).
    """

    steps: int
    side: int
    images: int
    prompts: int
    train_encoder: bool = True
    scenes: int = 3000
    scene_size: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.images, self.prompts, self.scenes) < 1 or self.side < 16 or self.side % 16:
            raise ConfigError(
                "stage: expected steps >= 0, images, prompts and scenes >= 1 and a side that 16 divides, "
                f"got {dataclasses.asdict(self)}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run. `lr` is the peak after `warmup` steps; it falls to zero along a cosine over all stages."""

    stages: tuple[Stage, ...]
    lr: float = 6e-4
    warmup: int = 150
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 0
    workers: int = 1
    checkpoint_seconds: float = 240.0
    log_every: int = 20

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages: expected at least one, got none")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"lr: expected a positive number, got {self.lr}")
        for name, least in (("warmup", 0), ("workers", 0), ("seed", 0), ("log_every", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected at least {least}, got {getattr(self, name)}")

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(stage.steps for stage in self.stages)


class NotFiniteError(ZimError, ArithmeticError):
    """Too many steps in a row had a loss or gradient that is not finite."""


MAX_BAD_STEPS = 10


class Trainer:
    """Runs a task through its stages; `source_of(stage, index)` gives the batches of a stage."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        source_of: Callable[[Stage, int], BatchSource],
        *,
        out: Path,
        device: torch.device,
        metadata: dict[str, str],
    ) -> None:
        self.task, self.config, self.source_of, self.out, self.device = task, config, source_of, out, device
        self.metadata = metadata
        self.model = task.model.to(device)
        self.trained = nn.ModuleDict({"model": self.model, "contrast": task.contrast.to(device)})
        if device.type == "cpu":  # several times faster there
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            _groups(self.trained, config.weight_decay), lr=config.lr, betas=(0.9, 0.98)
        )
        self.ema = Ema(self.model, config.ema)
        self.step = 0
        self._stop = False
        self._bad = 0

    @property
    def _run_path(self) -> Path:
        return self.out / "run.safetensors"

    def run(self) -> Path:
        """Train from the last checkpoint in `out`, or from the start; returns the exported weights.

        SIGTERM and Ctrl-C finish the step, save and leave; a second Ctrl-C leaves at once.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        if self._run_path.exists():
            self.step = load_run(self._run_path, self.trained, self.ema, self.optimizer)
        self._stop, self._bad = False, 0
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._run_stages()
        except KeyboardInterrupt:
            self._stop = True
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self._save()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop = True

    def _run_stages(self) -> None:
        first = 0
        for index, stage in enumerate(self.config.stages):
            last = first + stage.steps
            if self.step < last and not self._stop:
                self._run_stage(stage, index, last)
            first = last

    def _run_stage(self, stage: Stage, index: int, last: int) -> None:
        self.task.set_image_size(stage.side)
        encoder: Any = self.model.image_encoder
        self.model.train()
        encoder.train(stage.train_encoder)
        encoder.requires_grad_(stage.train_encoder)
        stream = batches(self.source_of(stage, index), first=self.step, last=last, workers=self.config.workers)
        saved = started = time.monotonic()
        figures: dict[str, float] = {}
        waited, counted, skipped = 0.0, 0, 0
        bar = tqdm(total=self.config.steps, initial=self.step, desc=f"{self.task.name} {stage.side} px", unit="step")
        for _ in range(self.step, last):
            asked = time.monotonic()
            batch = next(stream).to(self.device)
            waited += time.monotonic() - asked
            row = self._train_step(batch)
            skipped += not row
            for key, value in row.items():
                figures[key] = figures.get(key, 0.0) + value
            self.step += 1
            counted += 1
            bar.update()
            now = time.monotonic()
            if counted == self.config.log_every or self.step == last:
                means = {key: value / (counted - skipped) for key, value in figures.items()}
                if skipped:
                    means["skipped"] = float(skipped)
                seconds = (now - started) / counted
                self._log(stage, {**means, "seconds": seconds, "waiting": waited / max(now - started, 1e-9)})
                bar.set_postfix(loss=f"{means.get('loss', math.nan):.3f}", mae=f"{means.get('mae', math.nan):.3f}")
                started, waited, figures, counted, skipped = now, 0.0, {}, 0, 0
            if now - saved > self.config.checkpoint_seconds:
                self._save()
                saved = now
            if self._stop:
                break
        bar.close()

    def _train_step(self, batch: Any) -> dict[str, float]:
        """One optimiser step; a loss that is not finite skips it, ten in a row end the run."""
        statistics = [buffer.clone() for buffer in self.model.buffers()]  # a forward pass already moves them
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss, figures = self.task.loss(batch, self.step / max(1, self.config.steps))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip)
        if not bool(torch.isfinite(norm)):
            self._bad += 1
            for buffer, value in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(value)
            if self._bad >= MAX_BAD_STEPS:
                raise NotFiniteError(f"step {self.step}: {self._bad} steps in a row were not finite")
            return {}
        self._bad = 0
        self.optimizer.step()
        self.ema.update(self.model, self.step)
        return {**figures, "norm": float(norm)}

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero at the end of the run."""
        if step < self.config.warmup:
            return self.config.lr * (step + 1) / self.config.warmup
        share = (step - self.config.warmup) / max(1, self.config.steps - self.config.warmup)
        return self.config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def _log(self, stage: Stage, figures: dict[str, float]) -> None:
        row = {"step": self.step, "side": stage.side, "lr": self.learning_rate(self.step), **figures}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: round(value, 6) for key, value in row.items()}) + "\n")

    def _save(self) -> Path:
        save_run(self._run_path, self.trained, self.ema, self.optimizer, step=self.step)
        return self.export()

    def export(self) -> Path:
        """Write the averaged weights as float16, with the configuration for 1024-pixel inference."""
        path = self.out / "model.safetensors"
        state: dict[str, Tensor] = self.ema.state_dict()
        metadata = {**self.metadata, "step": str(self.step)}
        save_checkpoint(path, state, config=self.task.config.to_dict(), metadata=metadata, dtype=torch.float16)
        return path


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only."""
    named = list(model.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
