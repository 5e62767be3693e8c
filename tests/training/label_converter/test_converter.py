"""Weights to a converter and back: same answers, same fingerprint, clear refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from training.label_converter.config import PRESETS, TEST, TINY, ConverterConfig
from training.label_converter.converter import Converter, MattingConverter, fingerprint_of, load_converter
from zim.checkpoints import save_checkpoint
from zim.errors import CheckpointError, ConfigError, DataError


@pytest.fixture
def weights(make_model: Callable, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "w.safetensors", make_model().state_dict(), config=TEST.to_dict())
    return tmp_path / "w.safetensors"


def test_a_file_gives_the_model_that_was_saved(weights: Path, make_model: Callable, make_disc: Callable) -> None:
    converter = load_converter(weights)
    assert isinstance(converter, Converter) and converter.side == 64
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    labels = np.stack([make_disc((64, 64), (32, 32), radius) for radius in (8, 14, 20)])
    alphas = converter.refine(images, labels)
    assert alphas.shape == (3, 64, 64) and alphas.dtype == np.float32
    assert 0 <= alphas.min() and alphas.max() <= 1
    direct = MattingConverter(make_model(), side=64, fingerprint="")
    np.testing.assert_array_equal(alphas, direct.refine(images, labels))
    np.testing.assert_allclose(alphas[1:2], converter.refine(images[1:2], labels[1:2]), atol=1e-5)


def test_the_fingerprint_is_that_of_the_weights(weights: Path, make_model: Callable, tmp_path: Path) -> None:
    state = make_model().state_dict()
    save_checkpoint(tmp_path / "same.safetensors", state, config=TEST.to_dict(), metadata={"date": "another"})
    first, same = load_converter(weights).fingerprint, load_converter(tmp_path / "same.safetensors").fingerprint
    assert first == same == fingerprint_of(state) and len(first) == 64
    state["head_s1.trust"] = state["head_s1.trust"] + 1e-3
    assert fingerprint_of(state) != first


def test_other_weights_are_refused(weights: Path, make_model: Callable, tmp_path: Path) -> None:
    state = make_model().state_dict()
    save_checkpoint(tmp_path / "zim.safetensors", state, config={"architecture": "zim"})
    with pytest.raises(CheckpointError, match="expected weights of a label_converter, got 'zim'"):
        load_converter(tmp_path / "zim.safetensors")
    save_checkpoint(tmp_path / "odd.safetensors", state, config={**TEST.to_dict(), "colour": 1})
    with pytest.raises(CheckpointError, match="colour"):
        load_converter(tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="nothing there"):
        load_converter(tmp_path / "missing.safetensors")


def test_inputs_are_checked(weights: Path) -> None:
    converter = load_converter(weights)
    with pytest.raises(DataError, match=r"images: expected uint8 \(1, 64, 64, 3\), got uint8 \(1, 32, 32, 3\)"):
        converter.refine(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 64), bool))
    with pytest.raises(DataError, match="labels: expected bool"):
        converter.refine(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 64, 64), np.uint8))
    assert converter.refine(np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 64, 64), bool)).shape == (0, 64, 64)


@pytest.mark.parametrize("name", list(PRESETS))
def test_configurations_survive_json(name: str) -> None:
    import json

    config = PRESETS[name]  # type: ignore[index]
    assert ConverterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_impossible_configurations_are_named() -> None:
    with pytest.raises(ConfigError, match="side: expected a positive multiple of 32, got 100"):
        ConverterConfig(side=100)
    with pytest.raises(ConfigError, match="each twice the one before for hiera"):
        ConverterConfig(backbone="hiera", widths=(8, 16, 24, 32))


def test_the_tiny_converter_is_tiny() -> None:
    from training.label_converter.builders import build_matting

    assert sum(p.numel() for p in build_matting(TINY).parameters()) < 2_000_000
    assert torch.get_default_dtype() == torch.float32
