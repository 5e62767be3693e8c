"""The training loop: exact resuming, signals, skipped steps, frozen encoders, exports."""

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import zim
from training.run_state import Ema, save_run
from training.trainer import MAX_BAD_STEPS, NotFiniteError, Stage, TrainConfig, Trainer
from zim.checkpoints import read_checkpoint
from zim.errors import CheckpointError, ConfigError
from zim.evaluation.sam_baseline import build_sam_tiny

ONE = (Stage(steps=6, side=64, images=1, prompts=2),)
TWO = (Stage(steps=4, side=64, images=1, prompts=2), Stage(steps=2, side=64, images=1, prompts=2, train_encoder=False))
PAIRS = (Stage(steps=6, side=64, images=2, prompts=2),)
EDGE = (Stage(steps=3, side=64, images=1, prompts=2, train_encoder=False), Stage(steps=3, side=64, images=1, prompts=2))


def state_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Everything that training goes on from, under names."""
    found = {f"model.{k}": v.clone() for k, v in trainer.trained.state_dict().items()}
    found.update({f"ema.{k}": v.clone() for k, v in trainer.ema.state_dict().items()})
    for name, parameter in trainer.trained.named_parameters():
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            found[f"optimizer.{name}.{key}"] = value.clone()
    return found


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [key for key in first if not torch.equal(first[key], second[key])]


@pytest.fixture
def make_trainer(
    tmp_path: Path, make_task: Callable[..., Any], make_source: Callable[..., Any]
) -> Callable[..., Trainer]:
    """`make_trainer(stages, name="zim", at=..., out="run", **config)`."""

    def make(
        stages: tuple[Stage, ...] = ONE,
        name: str = "zim",
        at: Callable[[int], None] = lambda step: None,
        out: str = "run",
        **config: Any,
    ) -> Trainer:
        settings = TrainConfig(stages=stages, **({"warmup": 2, "workers": 0, "log_every": 2, "lr": 2e-3} | config))
        return Trainer(
            make_task(name),
            settings,
            lambda stage, index: make_source(at, images=stage.images),
            out=tmp_path / out,
            device=torch.device("cpu"),
            metadata={"license": "research-only (data)"},
        )

    return make


def raise_at(wanted: int, number: signal.Signals) -> Callable[[int], None]:
    return lambda step: os.kill(os.getpid(), number) if step == wanted else None


@pytest.mark.parametrize(
    ("name", "number", "stages", "config"),
    [
        ("zim", signal.SIGTERM, TWO, {}),
        ("sam", signal.SIGINT, ONE, {}),
        ("zim", signal.SIGINT, EDGE, {"bfloat16": True}),
        ("zim", signal.SIGTERM, PAIRS, {"accumulate": 2}),
    ],
    ids=["before_a_frozen_end", "one_stage", "on_the_boundary", "accumulated"],
)
def test_stopping_and_resuming_changes_nothing(
    make_trainer: Callable[..., Trainer],
    name: str,
    number: signal.Signals,
    stages: tuple[Stage, ...],
    config: dict[str, Any],
) -> None:
    whole = make_trainer(stages, name, out="whole", **config)
    whole.run()
    first = make_trainer(stages, name, raise_at(2, number), **config)  # while step 2 is being made; it is finished
    first.run()
    assert first.step == 3
    second = make_trainer(stages, name, **config)
    second.run()
    assert whole.step == second.step == 6
    assert differing(state_of(whole), state_of(second)) == []
    with safe_open(whole.out / "model.safetensors", "pt") as a, safe_open(second.out / "model.safetensors", "pt") as b:
        assert all(torch.equal(a.get_tensor(key), b.get_tensor(key)) for key in a.keys())


def test_signal_handlers_are_put_back(make_trainer: Callable[..., Trainer]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    make_trainer((Stage(steps=1, side=64, images=1, prompts=2),), at=raise_at(0, signal.SIGTERM)).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_keyboard_interrupt_from_anywhere_saves_a_loadable_state(make_trainer: Callable[..., Trainer]) -> None:
    def interrupt(step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    stopped = make_trainer(at=interrupt)
    stopped.run()
    going_on = make_trainer(at=interrupt)
    going_on.run()  # interrupted at once: what was loaded is saved again
    assert going_on.step == 3
    assert differing(state_of(stopped), state_of(going_on)) == []


def test_second_ctrl_c_leaves_at_once(make_trainer: Callable[..., Trainer]) -> None:
    def twice(step: int) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    trainer = make_trainer(at=twice)
    trainer.run()
    assert trainer.step == 1 and (trainer.out / "run.safetensors").is_file()


def test_finished_run_stays_as_it_is(make_trainer: Callable[..., Trainer]) -> None:
    finished = make_trainer()
    path = finished.run()
    log, weights = (finished.out / "log.jsonl").read_bytes(), read_checkpoint(path)
    again = make_trainer(at=lambda step: pytest.fail(f"asked for batch {step} of a finished run"))
    assert again.run() == path and again.step == 6
    assert differing(state_of(finished), state_of(again)) == []
    found = read_checkpoint(path)
    assert found.metadata == weights.metadata and differing(found.state_dict, weights.state_dict) == []
    assert (again.out / "log.jsonl").read_bytes() == log


@pytest.mark.parametrize("kind", ["image", "loss"])
def test_step_that_is_not_finite_leaves_no_trace(make_trainer: Callable[..., Trainer], kind: str) -> None:
    """A NaN in the image poisons batch statistics already in the forward pass."""
    trainer = make_trainer((Stage(steps=3, side=64, images=1, prompts=2),))
    trainer.run()
    before = state_of(trainer)
    trainer.model.train()
    batch = trainer.source_of(trainer.config.stages[0], 0)[3]
    if kind == "image":
        batch.image[0, 0, 5, 5] = float("nan")
    else:
        trainer.task.loss = _times(trainer.task.loss, float("nan"))  # type: ignore[method-assign]
    assert trainer._train_step(batch) == {}
    assert differing(before, state_of(trainer)) == []


def _times(loss: Any, factor: float) -> Any:
    def changed(batch: Any, progress: float) -> Any:
        value, figures = loss(batch, progress)
        return value * factor, figures

    return changed


def test_ten_bad_steps_in_a_row_end_the_run_and_spare_the_checkpoint(make_trainer: Callable[..., Trainer]) -> None:
    good = make_trainer()
    good.run()
    saved = (good.out / "run.safetensors").read_bytes()
    bad = make_trainer((Stage(steps=6 + MAX_BAD_STEPS, side=64, images=1, prompts=2),))
    bad.task.loss = _times(bad.task.loss, float("inf"))  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError, match="step 15: 10 steps in a row"):
        bad.run()
    assert (good.out / "run.safetensors").read_bytes() == saved


def test_nine_bad_steps_are_survived_and_do_not_water_down_the_log(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer((Stage(steps=13, side=64, images=1, prompts=2),), log_every=13)
    calm, losses = trainer.task.loss, []

    def mostly_bad(batch: Any, progress: float) -> Any:
        value, figures = calm(batch, progress)
        if 2 <= trainer.step < 2 + MAX_BAD_STEPS - 1:
            return value * float("nan"), {"loss": float("nan")}
        losses.append(figures["loss"])
        return value, figures

    trainer.task.loss = mostly_bad  # type: ignore[method-assign]
    trainer.run()
    (row,) = map(json.loads, (trainer.out / "log.jsonl").read_text().splitlines())
    assert row["skipped"] == 9 and len(losses) == 4
    assert row["loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_share_of_waiting_is_logged(make_trainer: Callable[..., Trainer]) -> None:
    """A source that sleeps is what the loop waits for; one that does not is not."""
    shares = {}
    for out, seconds in (("slow", 0.4), ("fast", 0.0)):
        trainer = make_trainer(at=lambda step, seconds=seconds: time.sleep(seconds), out=out, log_every=6)
        trainer.run()
        (row,) = map(json.loads, (trainer.out / "log.jsonl").read_text().splitlines())
        shares[out] = row["waiting"]
        assert row["seconds"] * row["waiting"] >= seconds and 0 <= row["waiting"] <= 1
    assert shares["slow"] > shares["fast"]


def test_other_seed_is_refused_and_more_steps_are_not(make_trainer: Callable[..., Trainer]) -> None:
    make_trainer().run()
    with pytest.raises(CheckpointError, match="run.safetensors: begun with other options .seed: the run has 0, got 4"):
        make_trainer(seed=4).run()
    longer = make_trainer((dataclasses.replace(ONE[0], steps=7),))
    longer.run()
    assert longer.step == 7


def test_slices_make_up_the_run(make_trainer: Callable[..., Trainer]) -> None:
    """Each slice sees its own steps; a later one begins with a short warm-up of its own on the run's cosine."""
    seen: list[int] = []
    stages = (Stage(steps=3, side=64, images=1, prompts=2), Stage(steps=4, side=64, images=1, prompts=2))
    for part in (1, 2):
        trainer = make_trainer(stages, at=seen.append, out=f"slice{part}", slice=(part, 2), slice_warmup=2)
        trainer.run()
    assert seen == list(range(7)) and trainer.step == 7
    whole = make_trainer(stages)
    rates = [trainer.learning_rate(step) / whole.learning_rate(step) for step in (3, 4, 5)]
    assert rates == pytest.approx([0.5, 1, 1])


def test_learning_rate_is_a_ramp_and_a_cosine(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer((Stage(steps=60, side=64, images=1, prompts=2),) * 2, lr=4.0, warmup=20)
    ramp = [trainer.learning_rate(step) for step in range(20)]
    assert ramp == pytest.approx(np.arange(1, 21) * 0.2)
    fall = [trainer.learning_rate(step) for step in range(20, 121)]
    assert fall == pytest.approx(2 + 2 * np.cos(np.linspace(0, np.pi, 101)), abs=1e-12)
    assert trainer.learning_rate(10_000) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["zim", "sam"])
def test_frozen_encoder_keeps_weights_and_batch_statistics(make_trainer: Callable[..., Trainer], name: str) -> None:
    start = Stage(steps=2, side=64, images=1, prompts=2)
    make_trainer((start,), name, weight_decay=0.5).run()
    frozen = Stage(steps=3, side=64, images=1, prompts=2, train_encoder=False)
    trainer = make_trainer((start, frozen), name, weight_decay=0.5)
    before = make_trainer((start,), name, weight_decay=0.5)
    before.run()  # loads the same checkpoint, finished
    trainer.run()
    moved = {key for key in differing(_model(before), _model(trainer))}
    assert trainer.step == 5 and moved
    assert not [key for key in moved if key.startswith("image_encoder.")]
    assert any(key.startswith("mask_decoder.") for key in moved)


def _model(trainer: Trainer) -> dict[str, torch.Tensor]:
    return dict(trainer.model.state_dict())


def test_encoder_learns_again_after_a_frozen_stage(make_trainer: Callable[..., Trainer]) -> None:
    snapshots: dict[int, torch.Tensor] = {}
    trainer = make_trainer(EDGE)
    weight = trainer.model.image_encoder.backbone.stem.down2[0].weight  # type: ignore[union-attr, index]
    step = trainer._train_step

    def watched(batch: Any) -> dict[str, float]:
        figures = step(batch)
        snapshots[trainer.step] = weight.detach().clone()  # type: ignore[operator]
        return figures

    trainer._train_step = watched  # type: ignore[method-assign]
    trainer.run()
    assert torch.equal(snapshots[0], snapshots[2]) and not torch.equal(snapshots[2], snapshots[3])


@pytest.mark.parametrize("name", ["zim", "sam"])
def test_export_is_half_precision_averages_that_load(make_trainer: Callable[..., Trainer], name: str) -> None:
    trainer = make_trainer(name=name)
    path = trainer.run()
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        types = {file.get_tensor(key).dtype for key in file.keys()}
    assert types == {torch.float16, torch.int64}  # int64: batches that the normalisation has counted
    assert metadata["license"] == "research-only (data)" and metadata["step"] == "6"
    assert json.loads(metadata["config"])["architecture"] == name
    loaded = zim.load_model(path, device="cpu") if name == "zim" else build_sam_tiny(checkpoint=path)
    averages = trainer.ema.state_dict()
    assert loaded.state_dict().keys() == averages.keys()
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, averages[key].half().to(value.dtype), rtol=0, atol=0)
    assert loaded.image_encoder.img_size == 128  # the configuration's, whatever the last stage had


@pytest.mark.parametrize("damage", ["other", "truncated", "foreign"])
def test_run_file_that_does_not_fit_is_named_and_kept(make_trainer: Callable[..., Trainer], damage: str) -> None:
    first = make_trainer(name="sam")
    path = first.run().with_name("run.safetensors")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        path.write_bytes(path.with_name("model.safetensors").read_bytes())
    kept = path.read_bytes()
    with pytest.raises(CheckpointError, match="cannot resume from it .*; move it away to start anew") as caught:
        make_trainer(name="zim" if damage == "other" else "sam").run()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == kept


def test_averages_of_a_known_walk() -> None:
    """Parameters are averaged with a decay that grows to its limit, batch statistics alike."""
    model = torch.nn.BatchNorm1d(1)
    ema, expected, mean = Ema(model, decay=0.5), 1.0, 0.0
    for step in range(12):
        with torch.no_grad():
            model.weight.fill_(step)
            model.running_mean.fill_(10 * step)  # type: ignore[union-attr, operator]
        ema.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        mean = decay * mean + (1 - decay) * 10 * step
    assert float(ema.state_dict()["weight"]) == pytest.approx(expected, rel=1e-5)
    assert float(ema.state_dict()["running_mean"]) == pytest.approx(mean, rel=1e-5)
    assert ema.state_dict()["num_batches_tracked"].dtype == torch.int64


def test_interrupted_save_keeps_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(2, 2)
    ema, optimizer = Ema(model, 0.9), torch.optim.AdamW(model.parameters())
    path = tmp_path / "run.safetensors"
    save_run(path, model, ema, optimizer, step=1)
    before = path.read_bytes()

    def broken(tensors: Any, target: Path, metadata: Any) -> None:
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run_state.save_file", broken)
    with pytest.raises(KeyboardInterrupt):
        save_run(path, model, ema, optimizer, step=2)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"stages": ()}, "stages: expected at least one"),
        ({"lr": 0.0}, "lr: expected a positive number, got 0.0"),
        ({"lr": float("nan")}, "lr: expected a positive number, got nan"),
        ({"workers": -1}, "workers: expected at least 0, got -1"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"log_every": 0}, "log_every: expected at least 1, got 0"),
        ({"accumulate": 0}, "accumulate: expected at least 1, got 0"),
        ({"slice": (3, 2)}, "slice: expected I/N with 1 <= I <= N, got 3/2"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        TrainConfig(**({"stages": ONE} | change))


@pytest.mark.parametrize("change", [{"steps": -1}, {"side": 100}, {"images": 0}, {"prompts": 0}, {"scenes": 0}])
def test_impossible_stages_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="stage: expected steps >= 0"):
        Stage(**({"steps": 1, "side": 64, "images": 1, "prompts": 1} | change))
