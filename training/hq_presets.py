"""Named runs of `training.train_hq`; each docstring states command, time and what came of it."""

from .train_config import Stage, TrainConfig

HQ_CPU = TrainConfig(
    stages=(
        Stage(steps=900, side=512, images=3, prompts=2, train_encoder=False, scenes=800),
        Stage(steps=300, side=1024, images=2, prompts=2, train_encoder=False, scenes=800, scene_size=512),
    ),
    lr=1e-3,
    warmup=30,
    ema=0.99,
    seed=1,
)
"""A head of the shipped pair with `--repeats 6`: 150 batches at 512 px and 50 at 1024, six steps on each. About six
minutes of one core by the step times measured (estimated); it took 30 to 35 on two cores that eight processes shared.
The shipped heads were made by two runs: `--steps 1440 360`, ended by hand after 905 (SAM) and 919 steps (ZIM), then
`--steps 0 300 --lr 6e-4 --seed 2 --init`. What came of it: docs/hq_sam.md."""

HQ_SMOKE = TrainConfig(
    stages=(Stage(steps=2, side=128, images=2, prompts=2, train_encoder=False, scenes=4),),
    warmup=1,
    workers=0,
    log_every=1,
)
"""Two steps, to see that everything runs."""

HQ_PRESETS = {"hq_cpu": HQ_CPU, "hq_smoke": HQ_SMOKE}
