"""What a run is: stages, rates, seeds."""

import dataclasses
import math
from typing import Literal

from zim.errors import ConfigError

from .schedule import warmup_cosine

SourceKind = Literal["scenes", "sprites"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run: `steps` steps at one image side.

    images, prompts: per step (over all processes and accumulated parts), and per image. train_encoder: False freezes
    the image encoder (its batch statistics too), for a cheap finish at high resolution. scenes: how many rendered
    scenes it draws from. scene_size: their side when it is not `side` (they are resized).
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
    """A whole run. `lr` is the peak after `warmup` steps; it falls to zero along a cosine over all stages.

    bfloat16: the forward pass under autocast; weights, losses and the optimiser stay float32.
    accumulate: in how many equal parts a step's images go through the model, one after the other, for less memory.
    slice: (i, n): only the i-th of n equal parts of the run, which goes on from the weights that `--init` gives, with
        `slice_warmup` steps of warm-up for the optimiser that starts anew.
    source: who makes the batches: "scenes" on the CPU, or "sprites" on the training device.
    procedural_only: refuse everything whose licence is not this project's own.
    """

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
    bfloat16: bool = False
    accumulate: int = 1
    slice: tuple[int, int] = (1, 1)
    slice_warmup: int = 50
    source: SourceKind = "scenes"
    procedural_only: bool = False

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages: expected at least one, got none")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"lr: expected a positive number, got {self.lr}")
        for name, least in (("warmup", 0), ("workers", 0), ("seed", 0), ("log_every", 1), ("accumulate", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not 1 <= self.slice[0] <= self.slice[1]:
            raise ConfigError(f"slice: expected I/N with 1 <= I <= N, got {self.slice[0]}/{self.slice[1]}")

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(stage.steps for stage in self.stages)

    @property
    def first_step(self) -> int:
        """Where the slice begins."""
        return self.steps * (self.slice[0] - 1) // self.slice[1]

    @property
    def last_step(self) -> int:
        """Where the slice ends; its last step is the one before."""
        return self.steps * self.slice[0] // self.slice[1]

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero at the end of the run; later slices begin with a short warm-up."""
        rate = warmup_cosine(step, lr=self.lr, warmup=self.warmup, steps=self.steps)
        if self.slice[0] > 1:
            rate *= min(1.0, (step - self.first_step + 1) / max(1, self.slice_warmup))
        return rate

    def stage_of(self, step: int) -> int:
        """Number of the stage that a step belongs to; the last one for steps after the end."""
        end = 0
        for index, stage in enumerate(self.stages):
            end += stage.steps
            if step < end:
                return index
        return len(self.stages) - 1
