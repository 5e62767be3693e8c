"""Corrupt items are listed once, written whole, and never lost."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.readers import Quarantine, QuarantinedItem, open_dataset, read_all
from zim.errors import MissingDependencyError


def stored(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_items_are_listed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "quarantine.jsonl"
    quarantine = Quarantine(path)
    assert quarantine.summary() == "no item quarantined" and not path.exists()
    quarantine.add("a", "a.png", "broken\nin two lines")
    quarantine.add("b/ü", tmp_path / "b.png", "gone")
    quarantine.add("a", "a.png", "broken again")
    assert stored(path) == [
        {"key": "a", "file": "a.png", "reason": "broken in two lines"},
        {"key": "b/ü", "file": f"{tmp_path}/b.png", "reason": "gone"},
    ]
    assert len(quarantine) == 2 and "a" in quarantine
    assert quarantine.summary() == f"2 items quarantined, listed in {path}"


def test_a_later_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path).add("a", "a.png", "broken")
    with path.open("a") as file:
        file.write('{"key": "torn", "fi')  # killed while writing
    again = Quarantine(path)
    again.add("a", "a.png", "broken")
    again.add("b", "b.png", "broken")
    assert [item.key for item in again.items] == ["a", "b"] == [item.key for item in Quarantine(path).items]
    assert path.read_text().count('"a"') == 1


def test_writers_share_a_list(tmp_path: Path) -> None:
    """Each has an object of its own, as a process would, and appends through a descriptor of its own."""
    path = tmp_path / "quarantine.jsonl"
    here = Quarantine(path)

    def add_many(name: str) -> None:
        quarantine = Quarantine(path)
        for number in range(20):
            quarantine.add(f"{name}{number}", "x.png", "y" * 500)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add_many, "abc"))
    assert len(stored(path)) == 60 == len(here)


def test_a_list_that_cannot_be_written_is_kept_and_told(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    quarantine = Quarantine(tmp_path / "taken" / "quarantine.jsonl")
    quarantine.add("a", "a.png", "broken")
    quarantine.add("b", "b.png", "broken")
    assert len(quarantine) == 2 and "NOT all listed" in quarantine.summary()
    assert capsys.readouterr().err.count("cannot be written") == 1
    (tmp_path / "taken").unlink()
    assert quarantine.flush() and len(stored(tmp_path / "taken" / "quarantine.jsonl")) == 2
    assert "NOT" not in quarantine.summary()


def test_reading_goes_on_past_corrupt_items(mini: Any, tmp_path: Path) -> None:
    mini.pairs("image", "alpha", ["a", "b", "c", "d"])
    mini.cut("image/b.jpg")
    mini.gray("alpha/c.png", size=(5, 5))
    quarantine = Quarantine(tmp_path / "quarantine.jsonl")
    reader = open_dataset("rwp636", mini.root)
    assert [record.key for record, _ in read_all(reader, quarantine)] == ["all/a", "all/d"]
    assert [(item.key, Path(item.file).name) for item in quarantine.items] == [("all/b", "b.jpg"), ("all/c", "c.png")]
    assert [record.key for record, _ in read_all(reader, Quarantine(), [3, 1, 0])] == ["all/d", "all/a"]


def test_any_damage_is_read_or_quarantined(mini: Any) -> None:
    """Flipped, cut and exchanged bytes: no exception gets out, and the figures add up."""
    mini.pairs("image", "alpha", ["a"])
    files = [mini.root / "image/a.jpg", mini.root / "alpha/a.png"]
    whole = [file.read_bytes() for file in files]
    reader = open_dataset("rwp636", mini.root)
    rng = np.random.default_rng(0)
    read = quarantined = 0
    for trial in range(80):
        damaged = np.frombuffer(whole[trial % 2], np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        files[trial % 2].write_bytes(damaged[: rng.integers(1, len(damaged) + 1)].tobytes())
        quarantine = Quarantine()
        read += len(list(read_all(reader, quarantine)))
        quarantined += len(quarantine)
        files[trial % 2].write_bytes(whole[trial % 2])
    assert read + quarantined == 80 and quarantined > 40


def test_surprises_are_items_but_missing_libraries_are_not(mini: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mini.pairs("image", "alpha", ["a"])
    reader = open_dataset("rwp636", mini.root)

    def fail(error: Exception) -> Any:
        def load(path: Path) -> None:
            raise error

        return load

    monkeypatch.setattr("training.readers.records.read_image", fail(ZeroDivisionError("deep inside")))
    quarantine = Quarantine()
    assert quarantine.load(reader, 0) is None
    assert quarantine.items == [
        QuarantinedItem("all/a", f"{mini.root}/image/a.jpg", "ZeroDivisionError('deep inside')")
    ]
    monkeypatch.setattr("training.readers.records.read_image", fail(MissingDependencyError("scipy: install it")))
    with pytest.raises(MissingDependencyError):
        Quarantine().load(reader, 0)
