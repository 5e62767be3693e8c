"""Averages of weights: exact means, one configuration, no licence lost."""

import dataclasses
from pathlib import Path

import pytest
import torch

from training.average import main
from zim.checkpoints import read_checkpoint, save_checkpoint
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.zim import build_zim


def write(path: Path, seed: int, license_: str = "Apache-2.0", config: ZimConfig = ZIM_TEST) -> Path:
    torch.manual_seed(seed)
    state = build_zim(config).state_dict()
    metadata = {"license": license_, "step": "7"}
    save_checkpoint(path, state, config=config.to_dict(), metadata=metadata, dtype=torch.float16)
    return path


def test_shares_weigh_every_tensor(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    out = tmp_path / "out.safetensors"
    assert main([*map(str, paths), "--shares", "3", "1", "--out", str(out)]) == 0
    first, second, mean = (read_checkpoint(path) for path in (*paths, out))
    assert mean.config == first.config and mean.metadata["license"] == "Apache-2.0"
    assert "step" in second.metadata and "step" not in mean.metadata  # no one run's number
    for key, tensor in mean.state_dict.items():
        if tensor.is_floating_point():
            wanted = 0.75 * first.state_dict[key] + 0.25 * second.state_dict[key]
            torch.testing.assert_close(tensor, wanted, rtol=1e-3, atol=1e-3)
        else:
            assert torch.equal(tensor, second.state_dict[key])


def test_what_does_not_go_together_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "a.safetensors", 0)
    other = write(tmp_path / "b.safetensors", 0, config=dataclasses.replace(ZIM_TEST, transformer_mlp_dim=48))
    research = write(tmp_path / "c.safetensors", 0, "research-only (data)")
    out = tmp_path / "out.safetensors"
    cases = [
        ([first], "two or more weights"),
        ([first, other], "one configuration, got another as number 2"),
        ([first, first, "--shares", "1"], "a share for each"),
        ([first, first, "--shares", "1", "-1"], "at least 0"),
        ([first, first, "--shares", "0", "0"], "one of them above"),
        ([first, research], "--data-license: expected one that holds for"),
        ([first, research, "--data-license", "mine"], "expected the words 'research-only (data)'"),
        ([first, tmp_path / "none.safetensors"], "none.safetensors"),
    ]
    for arguments, message in cases:
        assert main([*map(str, arguments), "--out", str(out)]) == 1
        assert message in capsys.readouterr().err
    assert not out.exists()
    assert main([str(first), str(research), "--data-license", "research-only (data)", "--out", str(out)]) == 0
    assert read_checkpoint(out).metadata["license"] == "research-only (data)"
