"""Named runs; each docstring states command, time and what came of it."""

from .train_config import Stage, TrainConfig

TINY_CPU_START = TrainConfig(stages=(Stage(steps=2000, side=256, images=8, prompts=3, scenes=6000),), lr=8e-4)
"""First part of the CPU pair: from nothing, on coarse labels (`train_zim --labels segmentation`). Both models go on
from here. About 40 minutes on 2 cores."""

TINY_CPU_FIRST = TrainConfig(
    stages=(
        Stage(steps=450, side=256, images=8, prompts=3, scenes=5000),
        Stage(steps=560, side=512, images=4, prompts=3, scenes=800),
        Stage(steps=60, side=1024, images=2, prompts=2, scenes=800, scene_size=512, train_encoder=False),
    ),
    lr=5e-4,
    warmup=50,
    seed=1,
)
"""Second part of the first CPU pair (of 22 November 2026), the same for both: `--init` the first part's weights. Its
model cards call it `tiny_cpu`."""

TINY_CPU_MORE = TrainConfig(
    stages=(
        Stage(steps=3200, side=256, images=8, prompts=3, scenes=8000),
        Stage(steps=750, side=512, images=4, prompts=3, scenes=800),
        Stage(steps=250, side=1024, images=2, prompts=3, scenes=800, scene_size=512),
    ),
    lr=6e-4,
    warmup=100,
    seed=3,
    bfloat16=True,
)
"""The CPU pair's continuation: `--init` the weights of either model. Between 1 h 45 min and 2 hours with one thread a
model, side by side on two busy cores. ZIM had `--aux 1 0.05` and was less sure of objects at the end
than in the middle of the run; `--aux 1 0.5` is worth a try."""

TINY_CPU = TrainConfig(
    stages=(
        Stage(steps=5000, side=256, images=8, prompts=3, scenes=8000),
        Stage(steps=1600, side=512, images=4, prompts=3, scenes=2000),
        Stage(steps=450, side=1024, images=2, prompts=3, scenes=2000, scene_size=512),
    ),
    lr=8e-4,
    warmup=150,
    seed=1,
    bfloat16=True,
)
"""The whole of a CPU model after `tiny_cpu_start`, whose weights it takes by `--init`: with it 2.5 hours of 2 cores.
Estimated, not run as a whole: at the rates measured with one thread (1.4 s a step at 256 px, 1.9 s at 512, 3.0 s at
1024) it is 3.2 core hours, that is 1.8 hours of two cores if the second brings 75 percent."""

TINY_GPU = TrainConfig(
    stages=(
        Stage(steps=650, side=256, images=64, prompts=3),
        Stage(steps=2400, side=512, images=32, prompts=3),
        Stage(steps=1200, side=1024, images=12, prompts=3),
    ),
    lr=8e-4,
    warmup=200,
    ema=0.999,
    seed=1,
    workers=0,
    log_every=50,
    bfloat16=True,
    source="sprites",
)
"""A model on one large GPU, batches composited there from a library of sprites (`--sprites`); runs in slices:
`--slice 1/2`, then `--slice 2/2 --init` its weights. By the step times measured on an H100, batch and step, for ZIM
135 ms at 256 px, 121 at 512 and 169 at 1024 (SAM: 103, 84 and 112): 9.7 minutes for ZIM, 6.7 for SAM, library apart.
The shipped pair took it as two runs, both models on one GPU at once: `--steps 641 0 0`, then `--steps 0 3000 1600
--seed 2`; 18 minutes until the slower one was through."""

PAPER_VIT_B = TrainConfig(
    stages=(Stage(steps=500_000, side=1024, images=16, prompts=4),),
    lr=1e-5,
    warmup=250,
    ema=0.9999,
    workers=8,
    checkpoint_seconds=900.0,
    log_every=100,
    bfloat16=True,
)
"""The paper's training of ViT-B (AdamW, rate 1e-5, cosine, 500 K iterations, from SAM's weights):
`torchrun --nproc-per-node 8 -m training.train_zim --preset paper_vit_b --model vit_b --init sam_vit_b.pth
--parallel ddp --device cuda --shards 'sa1b_matte/*.tar' --shares shards=1 --aux 0 0 ...`. Images a step, prompts,
warm-up, averages and bfloat16 are not published and are this project's choice. Never run as a whole."""

FINE_TUNE = TrainConfig(
    stages=(Stage(steps=400, side=512, images=4, prompts=3, scenes=400),), lr=1e-4, warmup=40, ema=0.99
)
"""Shipped weights on photographs and mattes of one's own: `train_zim --preset fine_tune --init zim_tiny --mattes FOLDER
--data-license ... --out ...`. Time not measured."""

PERMISSIVE = TrainConfig(
    stages=TINY_CPU.stages, lr=TINY_CPU.lr, warmup=TINY_CPU.warmup, seed=2, bfloat16=True, procedural_only=True
)
"""`tiny_cpu` on procedural scenes alone: refuses data and weights of other licences, and its weights are Apache-2.0."""

SMOKE = TrainConfig(
    stages=(
        Stage(steps=4, side=128, images=2, prompts=2, scenes=4),
        Stage(steps=2, side=128, images=2, prompts=2, scenes=4),
    ),
    warmup=2,
    workers=0,
    log_every=2,
)
"""A few steps, to see that everything runs; also with two processes."""

PRESETS = {
    "tiny_cpu_start": TINY_CPU_START,
    "tiny_cpu_first": TINY_CPU_FIRST,
    "tiny_cpu_more": TINY_CPU_MORE,
    "tiny_cpu": TINY_CPU,
    "tiny_gpu": TINY_GPU,
    "paper_vit_b": PAPER_VIT_B,
    "fine_tune": FINE_TUNE,
    "permissive": PERMISSIVE,
    "smoke": SMOKE,
}
