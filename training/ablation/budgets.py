"""How much every run of an ablation gets: the same for all of them."""

import dataclasses

from zim.errors import ConfigError
from zim.modeling.config import ZIM_TEST, ZIM_TINY, ZimConfig

from ..trainer import Stage, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """One run's model, steps and data.

    model: what variants change. steps, side, images, prompts, lr, warmup, ema: of the one training stage. scenes: how
    many rendered scenes it draws from; scene_size: their side (they are resized), None: `side`. heldout: how many
    scenes of side `side` are rendered to measure on, each a fine and mostly a coarse object.
    """

    model: ZimConfig
    steps: int
    side: int
    images: int
    prompts: int
    scenes: int
    heldout: int
    scene_size: int | None = None
    lr: float = 8e-4
    warmup: int = 40
    ema: float = 0.99

    def __post_init__(self) -> None:
        if self.heldout < 1:
            raise ConfigError(f"heldout: expected at least 1 scene, got {self.heldout}")
        self.training(seed=0)  # checks the rest

    def training(self, *, seed: int, workers: int = 0) -> TrainConfig:
        """The trainer's configuration."""
        stage = Stage(
            steps=self.steps,
            side=self.side,
            images=self.images,
            prompts=self.prompts,
            scenes=self.scenes,
            scene_size=self.scene_size,
        )
        return TrainConfig(
            stages=(stage,), lr=self.lr, warmup=self.warmup, ema=self.ema, seed=seed, workers=workers, log_every=10
        )

    @property
    def config(self) -> ZimConfig:
        """The model at this image size, the trunk of its encoder included: what runs are trained and measured at."""
        tiny = self.model.tiny_encoder
        if tiny is None:
            raise ConfigError("model: expected the tiny encoder")
        trunk = dataclasses.replace(tiny, trunk_size=min(tiny.trunk_size, self.side))
        return dataclasses.replace(self.model, img_size=self.side, tiny_encoder=trunk)


SMOKE = Budget(model=ZIM_TEST, steps=2, side=64, images=1, prompts=2, scenes=2, heldout=2, warmup=1)
"""Seconds: to see that everything runs. Its figures mean nothing."""

CPU = Budget(model=ZIM_TINY, steps=400, side=128, images=8, prompts=3, scenes=1500, heldout=80)
"""About four minutes a run on one core, so that four variants with two seeds take 30 to 40 minutes:

    python -m training.ablation --axis attention_decoder --seeds 0,1 --budget cpu --lr 5e-4 --threads 1 \\
        --init zim/weights/sam_tiny.safetensors --out runs/ablation

Estimated from 0.5 to 0.6 s of processor time a step (one thread of a busy AMD EPYC, 22 November 2026); the whole table
has not been run yet, so no score is stated."""

GPU = Budget(
    model=ZIM_TINY, steps=4000, side=256, images=16, prompts=4, scenes=6000, heldout=300, warmup=150, ema=0.998
)
"""Not measured: no GPU was at hand."""

BUDGETS = {"smoke": SMOKE, "cpu": CPU, "gpu": GPU}
