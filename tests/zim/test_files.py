"""Files are whole or absent, whatever happens while they are written."""

import json
import math
import os
from pathlib import Path

import pytest

from zim.files import atomic_folder, atomic_write, write_bytes_atomic, write_json_atomic, write_text_atomic


def names(folder: Path) -> list[str]:
    """Every entry, hidden ones too."""
    return sorted(entry.name for entry in folder.iterdir())


def test_success_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old", "readers see the old file until the end"
        assert temporary.parent == target.parent, "another folder may be another disk, where renaming copies"
        assert temporary.suffix == ".txt" and temporary != target
    assert target.read_text() == "new" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(failure), atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_failure_without_an_old_file_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk"), atomic_write(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("disk full")
    assert names(tmp_path) == []


def test_a_rename_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_bytes_atomic(target, b"x")
    assert names(tmp_path) == ["folder"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.bin"):
        pass
    assert names(tmp_path) == []


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as first, atomic_write(str(target)) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first", "the outer one ends last"
    assert names(tmp_path) == ["a.txt"]


def test_folders_are_made(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    write_text_atomic(target, "Käse\n")
    assert target.read_bytes() == "Käse\n".encode()


def test_json_round_trip_in_the_order_given(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": {"é": "ü"}}
    write_json_atomic(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value and text.endswith("}\n")
    assert text.index('"b"') < text.index('"a"')


@pytest.mark.parametrize("value", [{"x": math.nan}, [math.inf], {"x": object()}])
def test_what_json_cannot_say_leaves_the_old_file(tmp_path: Path, value: object) -> None:
    target = tmp_path / "a.json"
    target.write_text("{}")
    with pytest.raises((ValueError, TypeError)):
        write_json_atomic(target, value)
    assert target.read_text() == "{}" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_is_as_readable_as_any_other_new_one(tmp_path: Path, umask: int, mode: int) -> None:
    old = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a.bin") as temporary:
            temporary.touch(mode=0o600)  # as safetensors does
    finally:
        os.umask(old)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == mode


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as folder:
        (folder / "first").write_text("1")
    with pytest.raises(RuntimeError, match="stop"):
        with atomic_folder(target) as folder:
            (folder / "second").write_text("2")
            raise RuntimeError("stop")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "first"]
    with atomic_folder(target) as folder:
        (folder / "second").write_text("2")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "second"]


def test_a_folder_comes_back_when_the_run_was_killed_between_the_renames(tmp_path: Path) -> None:
    (tmp_path / ".out.former").mkdir()
    (tmp_path / ".out.former" / "kept").write_text("1")
    (tmp_path / ".out.partial").mkdir()
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(tmp_path / "out"):
        raise RuntimeError("stop")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "out"]
