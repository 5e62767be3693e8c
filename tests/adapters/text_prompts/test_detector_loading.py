"""Models from folders: one per process, safetensors only, nothing random in them, no code of the folder."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.text_prompts.grounding_dino import GroundingDinoDetector
from adapters.text_prompts.loading import GROUNDING_DINO, OWLV2, load
from adapters.text_prompts.owlv2 import Owlv2Detector
from zim.errors import CheckpointError, MissingDependencyError
from zim.text_detection import load_text_detector


def copy_of(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_folder_is_loaded_once_per_process(owlv2_folder: Path, tmp_path: Path) -> None:
    first = Owlv2Detector(str(owlv2_folder), device="cpu")
    assert Owlv2Detector(str(owlv2_folder), device="cpu", nms_threshold=0.9)._loaded.model is first._loaded.model
    assert Owlv2Detector(str(copy_of(owlv2_folder, tmp_path)))._loaded.model is not first._loaded.model
    assert not first._loaded.model.training
    assert {parameter.dtype for parameter in first._loaded.model.parameters()} == {torch.float32}


def test_folders_and_names_give_the_detector_of_their_kind(grounding_dino_folder: Path, owlv2_folder: Path) -> None:
    """Through the entry points of the installed package, as the command line does."""
    assert isinstance(load_text_detector(grounding_dino_folder, "cpu"), GroundingDinoDetector)
    assert isinstance(load_text_detector(str(owlv2_folder), "cpu"), Owlv2Detector)
    assert isinstance(load_text_detector(f"owlv2:{owlv2_folder}", "cpu"), Owlv2Detector)
    with pytest.raises(CheckpointError, match="expected a model of type owlv2, got grounding-dino"):
        load_text_detector(f"owlv2:{grounding_dino_folder}", "cpu")


def test_another_kind_of_model_is_refused(owlv2_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(owlv2_folder, tmp_path)
    (folder / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(CheckpointError, match="expected a model of type grounding-dino or owlv2, got detr"):
        load_text_detector(folder, "cpu")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="expected a JSON with model_type"):
        load_text_detector(folder, "cpu")


def test_weights_in_a_pickle_are_not_opened(
    owlv2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(owlv2_folder, tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")  # good ones
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights in pickles \(.bin, .pth\) are not read"):
        load_text_detector(folder, "cpu")
    monkeypatch.setattr("adapters.text_prompts.sources.is_whole", lambda folder: True)
    with pytest.raises(CheckpointError, match="cannot be read as owlv2"):  # nor by the step after that check
        load(OWLV2, str(folder), "cpu")


def test_weights_that_are_not_there_do_not_stay_random(grounding_dino_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(grounding_dino_folder, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    assert not any(name.startswith("model.decoder.bbox_embed") for name in tensors)  # shared ones are saved once
    del tensors["model.level_embed"]
    tensors["model.query_position_embeddings.weight"] = torch.zeros(7, 64)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"2 of the .*model\.level_embed, model\.query_position_emb"):
        load(GROUNDING_DINO, str(folder), "cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_broken_or_missing_file_is_one_clear_error(owlv2_folder: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(owlv2_folder, tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"^{folder}: cannot be read as owlv2"):
        load_text_detector(folder, "cpu")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=str(folder)):
        load_text_detector(folder, "cpu")


def test_code_in_the_folder_is_not_run(owlv2_folder: Path, tmp_path: Path, portrait: np.ndarray) -> None:
    folder = copy_of(owlv2_folder, tmp_path)
    trap = tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(trap)!r}, 'w')\nclass Owlv2Config: pass\n")
    entries = {"AutoConfig": "code.Owlv2Config", "AutoTokenizer": ["code.T", "code.T"], "AutoModel": "code.M"}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": entries}))
    try:
        found = load_text_detector(folder, "cpu").detect(portrait, "cat", box_threshold=0)
        assert found.labels
    except CheckpointError as error:  # refusing is fine as well
        assert "trust_remote_code" in str(error)
    assert not trap.exists()


@pytest.mark.parametrize("library", ["transformers", "scipy"])
@pytest.mark.parametrize("name", ["grounding_dino", "owlv2", "somebody/model"])
def test_without_a_library_the_error_says_what_to_install(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is downloaded first."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, "scipy.ndimage" if library == "scipy" else library, None)
    monkeypatch.setattr("adapters.text_prompts.loading.locate", lambda source: pytest.fail("looked for weights"))
    monkeypatch.setattr("adapters.text_prompts.factories.locate", lambda source: pytest.fail("looked for weights"))
    with pytest.raises(MissingDependencyError, match=rf"need {library}, .*pip install 'zim-matting\[text\]'"):
        load_text_detector(name, "cpu")
