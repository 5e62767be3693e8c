"""Where weights come from: folders, the hub's cache laid out by hand, and a hub that is out of reach."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from adapters.text_prompts.sources import PINNED, is_whole, locate
from zim.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def _store(cache: Path, repository: str, commit: str, source: Path) -> Path:
    """What a download leaves behind."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = Path(shutil.copytree(source, root / "snapshots" / commit))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return snapshot


def test_a_folder_is_taken_as_it_is(owlv2_folder: Path, cache: Path) -> None:
    assert locate(str(owlv2_folder)) == owlv2_folder
    assert not cache.exists()


@pytest.mark.parametrize("source", ["somebody/model", f"somebody/model@{COMMIT}", "somebody/model@main"])
def test_what_was_downloaded_is_found_without_a_connection(owlv2_folder: Path, cache: Path, source: str) -> None:
    snapshot = _store(cache, "somebody/model", COMMIT, owlv2_folder)
    assert locate(source).samefile(snapshot)


def test_offline_the_error_says_what_where_and_how(cache: Path) -> None:
    name = "IDEA-Research/grounding-dino-tiny"
    with pytest.raises(CheckpointError) as caught:
        locate(name)
    message = str(caught.value)
    assert str(cache) in message and "HF_HUB_OFFLINE is set" in message
    assert f"hf download {name} --revision {PINNED[name]}" in message
    assert "NAME:FOLDER" in message


def test_half_a_download_is_not_a_model(owlv2_folder: Path, cache: Path) -> None:
    snapshot = _store(cache, "somebody/model", COMMIT, owlv2_folder)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"hf download somebody/model --revision 0123456789"):
        locate(f"somebody/model@{COMMIT}")


def test_of_weights_in_parts_every_part_is_needed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert not is_whole(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    parts = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(parts))
    assert not is_whole(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert is_whole(tmp_path)


def test_a_download_is_pinned_and_of_safetensors_only(
    owlv2_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the hub, first of its cache; and no second question when the cache is whole."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.append({"repository": repository, **options})
        if options["local_files_only"]:
            raise FileNotFoundError("not there yet")
        return str(owlv2_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    name = "google/owlv2-base-patch16-ensemble"
    assert locate(name) == owlv2_folder
    assert [question["local_files_only"] for question in asked] == [True, False]
    assert {question["revision"] for question in asked} == {PINNED[name]}
    assert asked[-1]["allow_patterns"] == ["*.json", "*.txt", "*.safetensors"]
    assert all(len(commit) == 40 for commit in PINNED.values())
    asked.clear()
    locate("somebody/model")  # main may have moved
    assert [(question["revision"], question["local_files_only"]) for question in asked] == [("main", False)]


def test_a_full_disk_and_a_lost_connection_are_told_apart(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    errors = [OSError(28, "No space left on device"), RuntimeError("the proxy says no")]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(errors[0]))
    with pytest.raises(CheckpointError, match=r"cannot be kept in .*No space left"):
        locate("somebody/model")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(errors[1]))
    with pytest.raises(CheckpointError, match=r"the proxy says no\)\. With a connection run"):
        locate("somebody/model")


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a folder with a model, or a hub name"):
        locate(str(tmp_path / "nowhere" / "at" / "all"))
    with pytest.raises(CheckpointError, match="got an empty folder"):
        locate(str(tmp_path))
