"""The converters that come with the project: whole, licensed, and better than the labels they are given."""

import hashlib
import json
from pathlib import Path

import pytest

from training.data.scene_export import main as export_scenes
from training.label_converter.convert import main as convert
from training.label_converter.converter import load_converter
from training.label_converter.measure import measure
from training.label_converter.shipped import CONVERTERS, FOLDER, SHIPPED, converter_weights
from zim.checkpoints import read_checkpoint
from zim.errors import CheckpointError


@pytest.mark.parametrize("name", CONVERTERS)
def test_registry_describes_the_file(name: str) -> None:
    path = converter_weights(name)
    entry = json.loads((FOLDER / "registry.json").read_text())[name]
    assert path.name == entry["file"] and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert read_checkpoint(path).metadata["license"] == entry["license"] == "research-only (data)"
    assert path.stat().st_size < (2_000_000 if name == SHIPPED else 12_000_000)
    assert (FOLDER / f"{name}.md").is_file()


@pytest.mark.parametrize(("name", "fine", "hard"), [(CONVERTERS[0], 0.9, 0.8), (CONVERTERS[1], 0.7, 0.6)])
def test_mattes_are_nearer_to_the_truth_than_labels(tmp_path: Path, name: str, fine: float, hard: float) -> None:
    """On scenes of seeds and textures that they were not trained with."""
    assert export_scenes(["--export", str(tmp_path), "--count", "6", "--seed", "4400", "--size", "160"]) == 0
    figures = measure(load_converter(converter_weights(name)), tmp_path)
    assert figures["fine"].ratio < fine and figures["hard"].ratio < hard
    assert figures["unchanged"].converted_mse < 5


def test_a_file_comes_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert converter_weights(SHIPPED).parent == FOLDER
    (tmp_path / SHIPPED).write_bytes(b"mine")
    assert converter_weights(SHIPPED) == Path(SHIPPED)


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match="expected weights of a converter or .* found nothing at x"):
        converter_weights("x")
    command = ["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--model", "x"]
    assert convert(command) == 1 and capsys.readouterr().err.startswith("convert: error: --model: expected weights")
