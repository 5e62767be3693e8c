"""`zim export`, with the exporter's work replaced: what it is asked for, what is said, which exit code comes."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import zim.onnx.convert
import zim.onnx.export
from zim.checkpoints import save_checkpoint
from zim.cli import app
from zim.errors import CheckpointError, MissingDependencyError
from zim.modeling.zim import Zim
from zim.onnx.record import ExportRecord
from zim.registry import shipped_weights


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the exporter was asked for, call by call."""
    calls: list[dict[str, Any]] = []

    def export_folder(model: Zim, folder: Path, **options: Any) -> ExportRecord:
        calls.append({"model": model, "folder": folder, **options})
        return ExportRecord(
            name=options["name"],
            license=options["licence"],
            config=model.config.to_dict(),
            versions={},
            files={"encoder.onnx": "1", "decoder.onnx": "2"},
            max_alpha_difference=3e-6,
        )

    monkeypatch.setattr(zim.onnx.export, "export_folder", export_folder)
    return calls


def _zim(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_shipped_model_with_its_licence(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = _zim("export", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    names = ("encoder.onnx", "decoder.onnx", "zim_export.json")
    assert result.stdout.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert "3e-06" in result.stderr
    (call,) = asked
    assert (call["name"], call["licence"]) == ("zim_tiny", shipped_weights()["zim_tiny"].license)
    assert call["folder"] == tmp_path / "out" and call["with_mask_input"] is False


def test_checkpoint_with_mask_input(asked: list[dict[str, Any]], tiny_zim: Zim, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, tiny_zim.state_dict(), config=tiny_zim.config.to_dict(), metadata={"license": "mine"})
    result = _zim("export", "--model", path, "--with-mask-input", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert call["licence"] == "mine" and call["with_mask_input"] is True
    assert call["model"].config == tiny_zim.config


@pytest.mark.parametrize("name", ["vit_b", "sam_tiny", "grabcut", "nowhere.safetensors", ""])
def test_models_without_weights_are_misuse(asked: list[dict[str, Any]], tmp_path: Path, name: str) -> None:
    result = _zim("export", "--model", name, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "zim: error: --model: expected zim_tiny or a .safetensors checkpoint" in result.stderr
    assert not asked


def test_folder_with_other_files_is_misuse(tiny_zim: Zim, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, tiny_zim.state_dict(), config=tiny_zim.config.to_dict())
    result = _zim("export", "--model", path, "-o", tmp_path)
    assert result.exit_code == 2
    assert "expected a new or empty folder" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]


def test_failures_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise CheckpointError("export: graphs differ")

    monkeypatch.setattr(zim.onnx.export, "export_folder", fails)
    result = _zim("export", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "zim: error: export: graphs differ")

    def absent() -> None:
        raise MissingDependencyError("export: pip install 'zim-matting[onnx]'")

    monkeypatch.setattr(zim.onnx.convert, "require_exporter", absent)
    result = _zim("export", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "zim-matting[onnx]" in result.stderr
