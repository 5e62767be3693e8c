"""The ablation command as a user runs it, on a budget of seconds."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from training.ablation import __main__ as command
from training.ablation import runs as runs_module
from training.ablation.budgets import SMOKE
from training.ablation.variants import AXES
from training.data.batches import Batch, BatchSource
from training.trainer import Trainer
from zim.checkpoints import read_checkpoint

ARGUMENTS = ["--axis", "image_to_token", "data", "--smoke", "--seeds", "0", "--threads", "1"]


@pytest.fixture(scope="module", autouse=True)
def thread_counts() -> Iterator[None]:
    """The command sets the number of threads of this process."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two axes of one finished ablation; tests leave it as it is."""
    out = tmp_path_factory.mktemp("ablation") / "out"
    assert command.main([*ARGUMENTS, "--out", str(out)]) == 0
    return out


def summary_of(path: Path) -> Any:
    report = json.loads(path.read_text())
    return report["summary"], [run["seed"] for run in report["runs"]]


def test_reports_and_runs_are_written(finished: Path) -> None:
    for axis in ("image_to_token", "data"):
        summary, seeds = summary_of(finished / f"{axis}.json")
        names = [variant.name for variant in AXES[axis]]
        assert list(summary) == names and seeds == [0] * len(names)
        assert all(0 < summary[name]["box"]["fine"]["mse"]["mean"] < 1000 for name in names)
        text = (finished / f"{axis}.md").read_text()
        assert all(f"| {name} " in text for name in names) and "smoke budget, the same for all: 2 steps" in text
        assert (finished / f"{axis}.png").read_bytes().startswith(b"\x89PNG")
    slugs = {variant.slug for axis in ("image_to_token", "data") for variant in AXES[axis]}
    assert {path.name for path in (finished / "runs").iterdir()} == {f"{slug}-seed0" for slug in slugs}
    assert len(slugs) == 4, "the two axes share a run"


def test_every_run_has_the_same_budget_and_its_own_switches(finished: Path) -> None:
    stored = [json.loads(path.read_text()) for path in (finished / "runs").glob("*/settings.json")]
    assert all(settings["budget"] == stored[0]["budget"] for settings in stored)
    assert stored[0]["budget"]["steps"] == SMOKE.steps
    checkpoint = read_checkpoint(finished / "runs" / "additive-hierarchical-both-micro-seed0" / "model.safetensors")
    assert checkpoint.config["mask_image_to_token"] is True and checkpoint.config["img_size"] == SMOKE.side
    assert checkpoint.metadata["step"] == str(SMOKE.steps) and "not for publishing" in checkpoint.metadata["license"]


def test_a_finished_ablation_is_not_done_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = summary_of(finished / "data.json")

    def never(self: Trainer) -> Path:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "run", never)
    assert command.main([*ARGUMENTS, "--out", str(finished)]) == 0
    assert summary_of(finished / "data.json") == before


def test_runs_of_other_settings_are_refused(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main([*ARGUMENTS, "--out", str(finished), "--steps", "3"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ablation: error: ") and "settings.json: belongs to a run of other settings (budget" in line
    result = finished / "runs" / "additive-hierarchical-tokens-whole-seed0" / "result.json"
    before = result.read_text()
    try:
        result.write_text(before[:40])
        assert command.main(["--axis", "data", *ARGUMENTS[3:], "--out", str(finished)]) == 1
        assert "result.json: cannot be read" in capsys.readouterr().err
    finally:
        result.write_text(before)


def test_a_stopped_ablation_goes_on(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped while the second of two runs is at its first step; the figures are those of one that was not."""
    out = tmp_path / "out"
    given = ["--axis", "data", *ARGUMENTS[3:], "--out", str(out), "--heldout", str(finished / "heldout_64")]
    given += ["--cache", str(finished / "scenes")]
    original: Callable[[BatchSource, int], Batch] = BatchSource.__getitem__
    asked: list[int] = []

    def stop(self: BatchSource, step: int) -> Batch:
        asked.append(step)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step)

    monkeypatch.setattr(BatchSource, "__getitem__", stop)
    assert command.main(given) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert len(summary_of(out / "data.json")[0]) == 1, "the finished run is in the report already"
    monkeypatch.setattr(BatchSource, "__getitem__", original)
    seen: list[int] = []
    monkeypatch.setattr(
        BatchSource, "__getitem__", lambda self, step: (seen.append(step), original(self, step))[1]
    )
    assert command.main(given) == 0
    assert seen == [1] and summary_of(out / "data.json") == summary_of(finished / "data.json")


def test_a_model_that_fails_on_a_scene_ends_it_with_one_line(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __init__(self, model: object) -> None: ...

        def set_image(self, image: object) -> None:
            raise RuntimeError("broken")

    monkeypatch.setattr(runs_module, "ZimPredictor", Broken)
    given = ["--axis", "data", *ARGUMENTS[3:], "--out", str(tmp_path), "--heldout", str(finished / "heldout_64")]
    assert command.main([*given, "--cache", str(finished / "scenes")]) == 1
    assert "RuntimeError: broken" in capsys.readouterr().err.splitlines()[-1]


def test_a_scene_with_nothing_to_click_on_is_left_out(finished: Path, tmp_path: Path) -> None:
    """The figures are those of the other scenes alone."""
    summaries = []
    for name in ("faint", "missing"):
        heldout = Path(shutil.copytree(finished / "heldout_64", tmp_path / name))
        alpha = next(path for path in sorted((heldout / "fine" / "alpha").iterdir()))
        if name == "faint":
            cv2.imwrite(str(alpha), cv2.imread(str(alpha), cv2.IMREAD_GRAYSCALE) // 8)
        else:
            for part in ("alpha", "image"):
                next((heldout / "fine" / part).glob(alpha.stem + ".*")).unlink()
        out = tmp_path / f"{name}_out"
        given = [*ARGUMENTS[:2], *ARGUMENTS[3:], "--out", str(out), "--heldout", str(heldout)]
        assert command.main([*given, "--cache", str(finished / "scenes")]) == 0
        summaries.append(summary_of(out / "image_to_token.json"))
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--seeds", "0,x"], "--seeds: expected different numbers >= 0"),
        (["--seeds", "1,1"], "--seeds: expected different numbers >= 0"),
        (["--side", "100"], "side that 16 divides"),
        (["--init", "nowhere.safetensors"], "--init: expected a checkpoint, found nothing at nowhere"),
        (["--heldout", "nowhere"], "nowhere: expected a dataset folder"),
        (["--device", "abacus"], "device: expected auto, cpu"),
        (["--workers", "-1"], "--workers: expected at least 0"),
        (["--heldout-count", "0"], "heldout: expected at least 1 scene"),
        (["--lr", "0"], "lr: expected a positive number"),
    ],
)
def test_faults_are_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    heldout = [] if "--heldout" in arguments else ["--heldout", str(finished / "heldout_64")]
    assert command.main(["--axis", "data", "--smoke", "--out", str(tmp_path), *heldout, *arguments]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ablation: error: ") and text in line
