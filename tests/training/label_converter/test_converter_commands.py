"""The commands from end to end on a miniature: train, convert, evaluate, ablation."""

import json
from pathlib import Path

import pytest

from training.data.scene_export import export_scenes
from training.label_converter import ablation, convert, evaluate, train
from training.label_converter.converter import load_converter
from zim.checkpoints import read_checkpoint
from zim.image_io import read_image


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converter")
    assert train.main(["--preset", "smoke", "--out", str(out / "run"), "--cache", str(out / "cache")]) == 0
    return out


def test_training_writes_weights_that_say_what_they_are(run: Path) -> None:
    checkpoint = read_checkpoint(run / "run" / "model.safetensors")
    assert checkpoint.metadata["license"] == "Apache-2.0" and checkpoint.metadata["step"] == "5"
    assert json.loads(checkpoint.metadata["mix"])["stl_share"] == 0.25
    assert load_converter(run / "run" / "model.safetensors").side == 64


def test_convert(run: Path, labelled_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(run / "run" / "model.safetensors"), "--device", "cpu"]
    arguments += ["--input", str(labelled_folder), "--output", str(tmp_path / "out")]
    assert convert.main(arguments) == 0
    assert "3 mattes of 2 photographs, 0 done before" in capsys.readouterr().out
    assert convert.main([*arguments, "--margin", "0.5"]) == 1
    assert "holds another conversion (margin 0.15, now 0.5)" in capsys.readouterr().err


def test_evaluate_and_ablation(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_scenes(tmp_path / "scenes", count=2, seed=3, size=96, progress=False)
    weights = str(run / "run" / "model.safetensors")
    figures, picture = tmp_path / "f.json", tmp_path / "p.png"
    common = ["--folder", str(tmp_path / "scenes"), "--device", "cpu"]
    outputs = ["--json", str(figures), "--picture", str(picture), "--side", "96"]
    assert evaluate.main(["--model", weights, *common, *outputs]) == 0
    assert json.loads(figures.read_text())[weights]["fine"]["count"] == 2
    assert read_image(picture).shape[2] == 3
    options = ["--preset", "smoke", "--cache", str(run / "cache"), "--steps", "1", "0"]
    variants = ["--variants", "SGA and STL", "without SGA"]
    assert ablation.main(["--out", str(tmp_path / "ablation"), *common, *options, *variants]) == 0
    stored = json.loads((tmp_path / "ablation" / "ablation.json").read_text())
    assert list(stored) == ["SGA and STL", "without SGA"]
    mixes = [
        json.loads(read_checkpoint(tmp_path / "ablation" / name / "model.safetensors").metadata["mix"])["sga"]
        for name in ("SGA_and_STL", "without_SGA")
    ]
    assert mixes[0] is not None and mixes[1] is None
    assert read_image(tmp_path / "ablation" / "ablation.png").size
    assert "| without SGA |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--photos", "somewhere"], "--data-license: expected the licence"),
        (["--mattes", "am2k"], "--data-license"),
        (["--mattes", "nothing=here", "--data-license", "x"], "--mattes: expected NAME=FOLDER"),
        (["--steps", "1"], "--steps: expected 2 numbers"),
        (["--by-size", "-1"], "--by-size: expected a number in [0, 4], got -1.0"),
        (["--by-size", "nan"], "--by-size: expected a number in [0, 4], got nan"),
        (["--backbone-weights", "x"], "--backbone-weights: expected a preset with a published backbone"),
        (["--init", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--preset", "smoke", "--out", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_another_loss_is_part_of_the_run(tmp_path: Path) -> None:
    command = ["--preset", "smoke", "--steps", "1", "0", "--out", str(tmp_path)]
    assert train.main([*command, "--loss", "expected"]) == 0
    stated = json.loads(read_checkpoint(tmp_path / "model.safetensors").metadata["preset"])["loss"]
    assert (stated["gradient"], stated["cross_entropy"]) == ([1.0, 1.0], [4.0, 4.0])
    assert train.main(command) == 1  # a run goes on with what it was begun with


def test_the_licence_of_a_backbone_is_handed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--preset", "zim_cpu", "--backbone-weights", "zim_tiny", "--out", str(tmp_path)]
    assert train.main([*command, "--data-license", "Apache-2.0"]) == 1
    assert "expected 'research-only (data)'" in capsys.readouterr().err
