import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import zim
from zim.checkpoints import save_checkpoint
from zim.devices import resolve_device
from zim.errors import CheckpointError, ConfigError
from zim.evaluation.sam_baseline import SamBaselinePredictor, build_sam_tiny
from zim.loading import load_predictor
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.protocol import Predictor

BOX = np.array([20.0, 10.0, 110.0, 70.0])


class Outsider:
    """Somebody else's predictor."""

    def set_image(self, image: Any, image_format: str = "RGB") -> None:
        del image_format
        self.hw = image.shape[:2]

    def predict(self, *_: Any, multimask_output: bool = True, **__: Any) -> Any:
        count = 3 if multimask_output else 1
        return (
            np.zeros((count, *self.hw), np.float32),
            np.ones(count),
            np.zeros((count, 256, 256), np.float32),
        )


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("outside_predictors")
    vars(module).update(make=Outsider, silent=object, number=3, fails=lambda: 1 / 0)
    monkeypatch.setitem(sys.modules, "outside_predictors", module)
    return module


def test_a_zim_checkpoint(tiny_zim: Zim, photo: np.ndarray, predictor: ZimPredictor, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_zim.state_dict(), config=tiny_zim.config.to_dict())
    for name in (path, str(path)):
        loaded = load_predictor(name, device="cpu")
        loaded.set_image(photo)
        assert np.array_equal(loaded.predict(box=BOX)[0], predictor.predict(box=BOX)[0])


def test_a_registry_key(tiny_zim: Zim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zim.zim_model_registry, "zim_tiny", lambda: tiny_zim)
    loaded = load_predictor("zim_tiny", device="cpu")
    assert isinstance(loaded, ZimPredictor) and loaded.model is tiny_zim


def test_a_baseline_checkpoint_is_known_by_its_config(photo: np.ndarray, tmp_path: Path) -> None:
    config = dataclasses.replace(ZIM_TEST, architecture="sam", prompt_attention="none", pixel_decoder="sam")
    sam = build_sam_tiny(config=config)
    save_checkpoint(tmp_path / "sam.safetensors", sam.state_dict(), config=config.to_dict())
    loaded, expected = load_predictor(tmp_path / "sam.safetensors", device="cpu"), SamBaselinePredictor(sam)
    assert isinstance(loaded, SamBaselinePredictor)
    for each in (loaded, expected):
        each.set_image(photo)
    ours, theirs = (each.predict(box=BOX, return_logits=True)[0] for each in (loaded, expected))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "kind"), [("grabcut", "GrabCutPredictor"), ("grabcut+cf", "GrabCutClosedFormPredictor")]
)
def test_peers_without_weights(name: str, kind: str) -> None:
    loaded = load_predictor(name)
    assert type(loaded).__name__ == kind
    assert isinstance(loaded, Predictor)


def test_an_outside_factory(outside: ModuleType, photo: np.ndarray) -> None:
    loaded = load_predictor("outside_predictors:make")
    loaded.set_image(photo)
    alpha = zim.predict_alpha(loaded, box=BOX)
    assert alpha.shape == (90, 160)
    assert (alpha == 0.5).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "sam_huge",
            r"expected a model \(zim_tiny, .*, default\), sam_tiny, grabcut, grabcut\+cf, .* got 'sam_huge'",
        ),
        ("no_such_module:make", "no module 'no_such_module' for 'no_such_module:make'; expected a model"),
        ("zim.no_such:make", "no module 'zim.no_such'"),
        (":make", "expected a model .* got ':make'"),
        ("outside_predictors:absent", "expected a callable 'absent' in outside_predictors, got None"),
        ("outside_predictors:number", "expected a callable 'number' in outside_predictors, got 3"),
        (
            "outside_predictors:silent",
            "expected an object with set_image and predict from 'outside_predictors:silent', got object",
        ),
        ("", "got ''"),
    ],
)
def test_what_does_not_answer(outside: ModuleType, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"predictor: .*{message}"):
        load_predictor(name)


def test_errors_of_a_factory_are_its_own(outside: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        load_predictor("outside_predictors:fails")
    (tmp_path / "needs_more.py").write_text("import a_library_that_is_absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_absent"):
        load_predictor("needs_more:make")


def test_files_that_are_no_checkpoint(tiny_zim: Zim, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="received a folder"):
        load_predictor(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="weights.safetensors: expected a safetensors checkpoint"):
        load_predictor(tmp_path / "weights.safetensors")
    save_checkpoint(tmp_path / "other.safetensors", tiny_zim.state_dict(), config={"architecture": "unet"})
    with pytest.raises(CheckpointError, match='expected architecture "zim" or "sam", got .unet.'):
        load_predictor(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(expected)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ConfigError, match="device: 'cuda:1' is not present on this machine"):
        resolve_device("cuda:1")
    with pytest.raises(ConfigError, match="device: expected auto, cpu, cuda, cuda:N or mps, got 'gpu'"):
        load_predictor("grabcut", device="gpu")
    with pytest.raises(ConfigError, match="expected one that computes, got 'meta'"):
        resolve_device("meta")


def test_a_backend_that_torch_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("Torch not compiled with XPU enabled")

    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(ConfigError, match="device: 'xpu' cannot be used here .Torch not compiled with XPU"):
        resolve_device("xpu")
