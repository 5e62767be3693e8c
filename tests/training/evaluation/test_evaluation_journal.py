"""What was measured survives a crash, and never mixes with what was measured otherwise."""

from pathlib import Path

import pytest

from training.evaluation.journal import Item, Journal
from training.readers.quarantine import QuarantinedItem
from zim.errors import DataError
from zim.evaluation.results import Failure, ImageRow


def row(sample: str, mse: float) -> ImageRow:
    return ImageRow(row="m", sample=sample, tag="fine", size="S", scores={"mse": mse}, prompt_seconds=0.1)


def item(index: int, **changes: object) -> Item:
    values = {"rows": [row(f"k{index}", 0.1 + index)], **changes}
    return Item(data_set="s", index=index, key=f"k{index}", outcome="measured", **values)  # type: ignore[arg-type]


SETTINGS = {"models": {"m": "abc"}, "prompt": "box", "limit": None}


def test_items_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.jsonl"
    journal = Journal(path, SETTINGS)
    written = [
        item(0),
        item(1, failures=[Failure(row="dataset", sample="k1", message="nothing to point at")]),
        Item(data_set="s", index=2, key="k2", outcome="excluded", reason="by name"),
    ]
    for each in written:
        journal.add(each)
    again = Journal(path, dict(SETTINGS))
    assert [again.known("s", i, f"k{i}") for i in range(3)] == written
    assert again.known("s", 3, "k3") is None and again.known("t", 0, "k0") is None


def test_a_line_cut_short_is_measured_again_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add(item(0))
    journal.add(item(1))
    path.write_bytes(path.read_bytes()[:-30])
    again = Journal(path, SETTINGS)
    assert again.known("s", 0, "k0") == item(0) and again.known("s", 1, "k1") is None
    again.add(item(1))
    assert Journal(path, SETTINGS).known("s", 1, "k1") == item(1)


def test_failures_of_models_and_unreadable_items_are_asked_again() -> None:
    journal = Journal(None, SETTINGS)
    journal.add(item(0, failures=[Failure(row="m", sample="k0", message="out of memory")]))
    unread = [QuarantinedItem("k1", "f", "cut off")]
    journal.add(Item(data_set="s", index=1, key="k1", outcome="quarantined", quarantined=unread))
    assert journal.known("s", 0, "k0") is None and journal.known("s", 1, "k1") is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prompt": "point"}, 'prompt was "box", now "point"'),
        ({"models": {"m": "xyz"}}, "models was"),
        ({"new": 1}, "new was null, now 1"),
    ],
)
def test_a_journal_of_other_settings_is_refused(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, SETTINGS).add(item(0))
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"j.jsonl: is the journal of another run .{text}"):
        Journal(path, {**SETTINGS, **changes})
    assert path.read_bytes() == before


def test_other_files_and_changed_data_sets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[1]\n")
    with pytest.raises(DataError, match="expected the journal of an evaluation"):
        Journal(tmp_path / "x", SETTINGS)
    journal = Journal(None, SETTINGS)
    journal.add(item(0))
    with pytest.raises(DataError, match="item 0 of s was k0 and is other now"):
        journal.known("s", 0, "other")
