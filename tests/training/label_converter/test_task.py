"""The converter under the project's trainer: it learns, resumes exactly, stops on a signal, guards against NaN."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.label_converter.config import TEST
from training.label_converter.converter import load_converter
from training.label_converter.loss import GENTLE, ConverterLossConfig, converter_loss
from training.label_converter.matting import Mattes
from training.label_converter.task import ConverterStage, ConverterTask
from training.train_config import TrainConfig
from training.trainer import NotFiniteError, Trainer
from zim.errors import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[3]


def _config(steps: int, **changes: Any) -> TrainConfig:
    stages = (ConverterStage(steps=steps, side=64, images=2),)
    return TrainConfig(stages=stages, **{"warmup": 2, "workers": 0, "log_every": 2, "lr": 3e-3, **changes})


def _loop(
    model: Any, config: TrainConfig, source: Any, out: Path, loss: ConverterLossConfig = ConverterLossConfig()
) -> Trainer:
    task, device = ConverterTask(model, TEST, loss), torch.device("cpu")
    return Trainer(task, config, lambda stage, index: source, out=out, device=device, metadata={"license": "x"})


def test_the_loss_is_the_paper_s_on_an_example() -> None:
    """A step edge off by one column of a 4x4 picture, at every level: one row of errors in L1, two in the gradient."""
    target = torch.zeros(1, 1, 4, 4)
    target[..., 2:] = 1
    alpha = torch.zeros(1, 1, 4, 4)
    alpha[..., 3:] = 1
    loss, figures = converter_loss(Mattes(alpha, alpha, alpha), target)
    assert figures["mae"] == pytest.approx(4 / 16) and figures["mse"] == pytest.approx(4 / 16)
    assert figures["gradient"] == pytest.approx(8 / 16)
    assert float(loss) == pytest.approx(4 / 16 + 10 * 8 / 16)


def test_it_learns(make_model: Callable, disc_batches: Any, tmp_path: Path) -> None:
    """Softer than the label, and right: nearer to the truth than the label itself."""
    _loop(make_model(), _config(30, ema=0.8, lr=3e-2), disc_batches, tmp_path, GENTLE).run()
    batch = disc_batches[1000]
    images, labels, truth = batch.images.numpy(), batch.labels.numpy(), batch.alphas.numpy() / 255
    trained = load_converter(tmp_path / "model.safetensors").refine(images, labels)
    assert np.mean((trained - truth) ** 2) < 0.8 * np.mean((labels - truth) ** 2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 30 and rows[-1]["mse"] < 0.5 * rows[0]["mse"]


def test_interrupted_and_resumed_equals_uninterrupted(make_model: Callable, disc_batches: Any, tmp_path: Path) -> None:
    whole = _loop(make_model(1), _config(6), disc_batches, tmp_path / "whole").run()
    loop = _loop(make_model(1), _config(6), disc_batches, tmp_path / "parts")
    stepped = loop._train_step

    def stop_after_three(batch: Any) -> dict[str, torch.Tensor]:
        row = stepped(batch)
        if loop.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return row

    loop._train_step = stop_after_three  # type: ignore[method-assign]
    loop.run()
    assert loop.step == 3
    resumed = _loop(make_model(9), _config(6), disc_batches, tmp_path / "parts")
    resumed.run()
    assert resumed.step == 6
    for name in ("model.safetensors", "run.safetensors"):
        first, second = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert whole.is_file()


def test_steps_that_are_not_finite_are_skipped_then_end_the_run(
    make_model: Callable, disc_batches: Any, tmp_path: Path
) -> None:
    model = make_model()
    loop = _loop(model, _config(30), disc_batches, tmp_path)
    torch.nn.init.constant_(model.head_s1.logit.bias, float("nan"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(NotFiniteError, match="10 steps in a row"):
        loop.run()
    for name, value in model.state_dict().items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


def test_the_weights_of_the_loss_move_with_the_run() -> None:
    """The cross-entropy of saying one half is log 2 whatever the truth; a flat matte has the target's gradient."""
    target = torch.zeros(1, 1, 4, 4)
    target[..., 2:] = 1
    half = torch.full_like(target, 0.5)
    config = ConverterLossConfig(gradient=(0.0, 8.0), cross_entropy=(4.0, 0.0))
    losses = [float(converter_loss(Mattes(half, half, half), target, config, at)[0]) for at in (0.0, 0.5, 1.0)]
    expected = [0.5 + 4 * math.log(2), 0.5 + 4 * 4 / 16 + 2 * math.log(2), 0.5 + 8 * 4 / 16]
    assert losses == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="cross_entropy: expected 2 numbers"):
        ConverterLossConfig(cross_entropy=(1.0, -1.0))


def test_a_run_goes_on_with_its_own_options_only(make_model: Callable, disc_batches: Any, tmp_path: Path) -> None:
    _loop(make_model(), _config(1), disc_batches, tmp_path).run()
    _loop(make_model(), _config(2), disc_batches, tmp_path).run()  # more steps are no other run
    with pytest.raises(CheckpointError, match=r"lr: the run has 0.003, got 0.1"):
        _loop(make_model(), _config(3, lr=0.1), disc_batches, tmp_path).run()


def test_another_model_s_run_is_refused(make_model: Callable, disc_batches: Any, tmp_path: Path) -> None:
    (tmp_path / "run.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot resume"):
        _loop(make_model(), _config(2), disc_batches, tmp_path).run()


def test_impossible_numbers_are_named() -> None:
    with pytest.raises(ConfigError, match="a side that 32 divides"):
        ConverterStage(steps=1, side=80, images=1)
    with pytest.raises(ConfigError, match="stages: expected at least one"):
        TrainConfig(stages=())
    with pytest.raises(ConfigError, match="lr: expected a positive number"):
        _config(1, lr=0.0)


def test_a_step_in_two_parts_has_the_gradient_of_the_whole(
    make_model: Callable, disc_batches: Any, tmp_path: Path
) -> None:
    """The mean over equal parts is the mean over all crops, where no batch statistics are in between."""
    gradients = []
    for parts in (1, 2):
        loop = _loop(make_model(), _config(1, accumulate=parts), disc_batches, tmp_path / str(parts))
        loop.model.eval()
        loop._gradients(disc_batches[0])
        gradients.append(torch.cat([p.grad.flatten() for p in loop.model.parameters() if p.grad is not None]))
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-4 * float(gradients[0].abs().max())


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The smoke preset under torchrun with one process and with two: the same losses and gradient norms."""
    rows = []
    for processes, parallel in ((1, "none"), (2, "ddp")):
        out = tmp_path / parallel
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        options = ["--preset", "smoke", "--lr", "5e-5", "--threads", "1", "--parallel", parallel]
        folders = ["--out", str(out), "--cache", str(tmp_path / "cache")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launch, "-m", "training.label_converter.train", *options, *folders],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        rows.append([[row["loss"], row["mse"], row["norm"]] for row in log if row["side"] == 64])
    assert len(rows[0]) == 2
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4)
