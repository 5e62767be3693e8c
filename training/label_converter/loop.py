"""The converter's training loop: stages, AdamW, cosine, EMA, checkpoints that resume exactly, a log."""

import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from zim.checkpoints import save_checkpoint
from zim.errors import ConfigError

from ..run_state import Ema, load_run, save_run
from ..schedule import parameter_groups, warmup_cosine
from ..trainer import MAX_BAD_STEPS, NotFiniteError
from .batches import ConverterBatch, ConverterBatches, stream
from .config import ConverterConfig
from .converter import normalised
from .loss import ConverterLossConfig, converter_loss
from .matting import MaskGuidedMatting

_DECISIVE = ("lr", "warmup", "weight_decay", "clip", "ema", "seed", "bfloat16", "loss")
"""Fields of `LoopConfig` that decide the result; the others decide time, memory and what is written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConverterStage:
    """A part of a run: `steps` steps of `images` crops of `side` pixels, from `scenes` scenes of `scene_size`."""

    steps: int
    side: int
    images: int
    scenes: int = 5000
    scene_size: int = 256

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.images, self.scenes) < 1 or self.side < 32 or self.side % 32:
            raise ConfigError(
                "stage: expected steps >= 0, images and scenes >= 1 and a side that 32 divides, "
                f"got {dataclasses.asdict(self)}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """A whole run. `lr` is the peak after `warmup` steps; it falls to zero along a cosine over all stages.

    bfloat16: the forward pass under autocast; weights, losses and the optimiser stay float32.
    """

    stages: tuple[ConverterStage, ...]
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 0
    workers: int = 1
    checkpoint_seconds: float = 240.0
    log_every: int = 20
    bfloat16: bool = False
    loss: ConverterLossConfig = ConverterLossConfig()

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


class ConverterLoop:
    """Trains a converter; `source_of(stage)` gives the batches of a stage.

    identity: what a run folder must agree on, besides model and configuration, when a run goes on there. Stages may
    change: more steps, or other sizes of what is to come.
    """

    def __init__(
        self,
        model: MaskGuidedMatting,
        architecture: ConverterConfig,
        config: LoopConfig,
        source_of: Callable[[ConverterStage], ConverterBatches],
        *,
        out: Path,
        device: torch.device,
        metadata: dict[str, str],
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.architecture, self.config, self.source_of = model.to(device), architecture, config, source_of
        self.out, self.device, self.metadata = out, device, metadata
        decisive = {name: value for name, value in dataclasses.asdict(config).items() if name in _DECISIVE}
        given = {"model": architecture.to_dict(), **decisive, **(identity or {})}
        self.identity: dict[str, Any] = json.loads(json.dumps(given))
        if device.type == "cpu":  # several times faster there
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(self.model, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
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

        Raises:
            CheckpointError: the checkpoint in `out` is damaged, or was begun with another model or other options.
            NotFiniteError: ten steps in a row had a loss or gradient that is not finite.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        if self._run_path.exists():
            self.step = load_run(self._run_path, self.model, self.ema, self.optimizer, identity=self.identity)
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
        for stage in self.config.stages:
            last = first + stage.steps
            if self.step < last and not self._stop:
                self._run_stage(stage, last)
            first = last

    def _run_stage(self, stage: ConverterStage, last: int) -> None:
        self.model.train()
        source = stream(self.source_of(stage), first=self.step, last=last, workers=self.config.workers)
        saved = time.monotonic()
        log = _Log(self.out / "log.jsonl", self.config.log_every)
        bar = tqdm(total=self.config.steps, initial=self.step, desc=f"converter {stage.side} px", unit="step")
        for _ in range(self.step, last):
            asked = time.monotonic()
            batch = next(source).to(self.device)
            waited = time.monotonic() - asked
            row = self._train_step(batch)
            self.step += 1
            bar.update()
            means = log.add(row, waited, last=self.step == last or self._stop)
            if means:
                log.write({"step": self.step, "side": stage.side, "lr": self.learning_rate(self.step), **means})
                bar.set_postfix(loss=f"{means.get('loss', math.nan):.3f}", mae=f"{means.get('mae', math.nan):.4f}")
            if time.monotonic() - saved > self.config.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
            if self._stop:
                break
        bar.close()

    def _train_step(self, batch: ConverterBatch) -> dict[str, float]:
        """One optimiser step; a loss that is not finite skips it, ten in a row end the run."""
        statistics = [buffer.clone() for buffer in self.model.buffers()]  # a forward pass already moves them
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        image, label = normalised(batch.images), batch.labels[:, None].float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            mattes = self.model(image, label, scale=batch.scale)
        target = batch.alphas[:, None].float() / 255
        loss, figures = converter_loss(mattes, target, self.config.loss, self.step / max(1, self.config.steps))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
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
        return warmup_cosine(step, lr=self.config.lr, warmup=self.config.warmup, steps=self.config.steps)

    def _save(self) -> Path:
        save_run(self._run_path, self.model, self.ema, self.optimizer, step=self.step, identity=self.identity)
        path = self.out / "model.safetensors"
        metadata = {**self.metadata, "step": str(self.step)}
        state, config = self.ema.state_dict(), self.architecture.to_dict()
        save_checkpoint(path, state, config=config, metadata=metadata, dtype=torch.float16)
        return path


class _Log:
    """Means over `every` steps, appended to a file as JSON lines."""

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every
        self._started = time.monotonic()
        self._sums: dict[str, float] = {}
        self._waited, self._steps, self._counted = 0.0, 0, 0

    def add(self, row: dict[str, float], waited: float, *, last: bool) -> dict[str, float]:
        """Take in a step; every so many steps (and at the last one) the means, else nothing."""
        self._steps += 1
        self._counted += bool(row)
        self._waited += waited
        for key, value in row.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        if self._steps < self._every and not last:
            return {}
        passed = max(time.monotonic() - self._started, 1e-9)
        means = {key: value / self._counted for key, value in self._sums.items()}
        means |= {"seconds": passed / self._steps, "waiting": self._waited / passed}
        if self._counted < self._steps:
            means["skipped"] = float(self._steps - self._counted)
        self._started, self._sums, self._waited, self._steps, self._counted = time.monotonic(), {}, 0.0, 0, 0
        return means

    def write(self, row: dict[str, float]) -> None:
        """Append one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: round(value, 6) for key, value in row.items()}) + "\n")
