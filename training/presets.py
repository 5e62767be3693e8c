"""Named runs; each docstring states command, time and what came of it."""

from .trainer import Stage, TrainConfig

TINY_CPU_START = TrainConfig(stages=(Stage(steps=2000, side=256, images=8, prompts=3, scenes=6000),), lr=8e-4)
"""First part of the CPU pair: from nothing, on coarse labels (`train_zim --labels segmentation`). Both models go on
from here. About 40 minutes on 2 cores."""

TINY_CPU = TrainConfig(
    stages=(
        Stage(steps=450, side=256, images=8, prompts=3, scenes=5000),
        Stage(steps=560, side=512, images=4, prompts=3, scenes=800),
        Stage(steps=60, side=1024, images=2, prompts=2, scenes=800, scene_size=512, train_encoder=False),
    ),
    lr=5e-4,
    warmup=50,
    seed=1,
)
"""Second part of the CPU pair, the same for both: `--init` the first part's weights."""

SMOKE = TrainConfig(
    stages=(
        Stage(steps=4, side=128, images=2, prompts=2, scenes=4),
        Stage(steps=2, side=128, images=1, prompts=2, scenes=4),
    ),
    warmup=2,
    workers=0,
    log_every=2,
)
"""A few steps, to see that everything runs."""

PRESETS = {"tiny_cpu_start": TINY_CPU_START, "tiny_cpu": TINY_CPU, "smoke": SMOKE}
