"""Weights enter the package only when they fit their name and the limits of what is shipped."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch

from training import publish as publish_module
from training.label_converter.builders import build_matting
from training.label_converter.config import TEST
from training.publish import main
from zim.checkpoints import save_checkpoint
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.zim import build_zim


def write_zim(path: Path, config: ZimConfig = ZIM_TEST) -> Path:
    torch.manual_seed(0)
    state = build_zim(config).state_dict()
    save_checkpoint(path, state, config=config.to_dict(), metadata={"license": "Apache-2.0"}, dtype=torch.float16)
    return path


def test_published_weights_are_copied_with_checksum_licence_and_size(tmp_path: Path) -> None:
    source = write_zim(tmp_path / "model.safetensors")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "registry.json").write_text('{"sam_tiny": {"file": "kept"}}')
    assert main([f"zim_tiny={source}", "--folder", str(folder)]) == 0
    registry = json.loads((folder / "registry.json").read_text())
    assert registry["sam_tiny"] == {"file": "kept"}
    entry = registry["zim_tiny"]
    assert entry["sha256"] == hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
    assert (folder / entry["file"]).read_bytes() == source.read_bytes()
    assert entry["license"] == "Apache-2.0"
    assert entry["parameters"] == sum(p.numel() for p in build_zim(ZIM_TEST).parameters())


@pytest.mark.parametrize("arguments", [["sam_tiny={}"], ["other={}"], ["{}"], ["zim_tiny=missing.safetensors"]])
def test_what_does_not_fit_changes_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_zim(tmp_path / "model.safetensors")
    folder = tmp_path / "weights"
    assert main([a.format(source) for a in arguments] + ["--folder", str(folder)]) == 1
    assert not folder.exists()
    assert capsys.readouterr().err.startswith("publish: error: ")


def test_too_many_parameters_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    big = dataclasses.replace(ZIM_TEST, transformer_mlp_dim=8000)
    source = write_zim(tmp_path / "model.safetensors", big)
    assert main([f"zim_tiny={source}", "--folder", str(tmp_path / "weights")]) == 1
    assert "expected at most 6000000 parameters" in capsys.readouterr().err


def test_a_converter_goes_to_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry there gets the entry; a ZIM under its name is refused."""
    path = tmp_path / "converter.safetensors"
    model = build_matting(TEST)
    save_checkpoint(path, model.state_dict(), config=TEST.to_dict(), metadata={"license": "Apache-2.0"})
    monkeypatch.setitem(publish_module.FOLDERS, "converter_tiny", tmp_path / "weights")
    assert main([f"converter_tiny={path}"]) == 0
    entry = json.loads((tmp_path / "weights" / "registry.json").read_text())["converter_tiny"]
    assert entry["parameters"] == sum(p.numel() for p in model.parameters()) and entry["license"] == "Apache-2.0"
    assert (tmp_path / "weights" / "converter_tiny.safetensors").read_bytes() == path.read_bytes()
    zim = write_zim(tmp_path / "zim.safetensors")
    assert main([f"converter_tiny={zim}"]) == 1
