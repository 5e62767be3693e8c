"""A run goes on with what it was begun with, or says which option differs."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from training.run_identity import check_identity, identity_of
from training.train_config import Stage, TrainConfig
from zim.errors import CheckpointError

CONFIG = TrainConfig(
    stages=(Stage(steps=4, side=64, images=2, prompts=2), Stage(steps=6, side=128, images=1, prompts=2)), seed=5
)


def check(changed: TrainConfig, step: int, **more: Any) -> None:
    stored = identity_of(CONFIG, {"model": "zim_tiny", "photos": 3})
    check_identity(Path("run"), stored, identity_of(changed, {"model": "zim_tiny", "photos": 3, **more}), step=step)


def with_stage(index: int, **changes: Any) -> TrainConfig:
    stages = list(CONFIG.stages)
    stages[index] = dataclasses.replace(stages[index], **changes)
    return dataclasses.replace(CONFIG, stages=tuple(stages))


def test_same_run_goes_on() -> None:
    check(CONFIG, step=5)
    machine = {"workers": 3, "checkpoint_seconds": 9.0, "log_every": 7, "accumulate": 2}
    check(dataclasses.replace(CONFIG, **machine), step=5)  # time and memory, not the result


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (dataclasses.replace(CONFIG, seed=6), "seed: the run has 5, got 6"),
        (dataclasses.replace(CONFIG, lr=1e-3), "lr: the run has 0.0006, got 0.001"),
        (dataclasses.replace(CONFIG, bfloat16=True), "bfloat16: the run has False, got True"),
        (with_stage(1, images=4), "stage 2 images: the run has 1, got 4"),
        (with_stage(1, train_encoder=False), "stage 2 train_encoder: the run has True, got False"),
        (dataclasses.replace(CONFIG, stages=CONFIG.stages[:1]), "stages: the run has 2, got 1"),
    ],
)
def test_difference_is_named(changed: TrainConfig, text: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check(changed, step=5)
    assert text in str(caught.value) and str(caught.value).startswith("run: begun with other options (")


def test_other_model_and_data_are_named_together() -> None:
    text = "model: the run has 'zim_tiny', got 'vit_b'; photos: the run has 3, got 0"
    with pytest.raises(CheckpointError, match=text):
        check(CONFIG, step=5, model="vit_b", photos=0)


def test_steps_may_grow_where_the_run_has_not_been() -> None:
    check(with_stage(1, steps=60), step=5)
    check(with_stage(0, steps=40), step=4)  # at the end of the first stage, before the second
    more = dataclasses.replace(CONFIG, stages=(*CONFIG.stages, Stage(steps=9, side=256, images=1, prompts=1)))
    check(more, step=10)
    for changed in (with_stage(0, steps=40), with_stage(1, steps=5)):
        with pytest.raises(CheckpointError, match="steps can only grow, and not in a stage that is over"):
            check(changed, step=5)
