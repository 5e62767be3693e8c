"""What a run has measured so far, a line an item, so that an interrupted run goes on where it was."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zim.errors import DataError
from zim.evaluation.results import Failure, ImageRow

from ..readers.quarantine import QuarantinedItem, _append

VERSION = 1
Outcome = Literal["measured", "excluded", "quarantined"]


@dataclass(kw_only=True)
class Item:
    """What became of one record of one data set.

    rows, failures: of its samples. reason: why it was excluded. quarantined: what could not be read.
    """

    data_set: str
    index: int
    key: str
    outcome: Outcome
    rows: list[ImageRow] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    reason: str = ""
    quarantined: list[QuarantinedItem] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether asking again would be a waste: not so when an item was unreadable or a model failed."""
        unsettled = any(failure.row != "dataset" for failure in self.failures)
        return self.outcome != "quarantined" and not unsettled

    def to_json(self) -> dict[str, Any]:
        """What `from_json` turns back into an equal item."""
        return {
            **vars(self),
            "rows": [vars(row) for row in self.rows],
            "failures": [vars(failure) for failure in self.failures],
            "quarantined": [item._asdict() for item in self.quarantined],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Item":
        """Raises KeyError, TypeError or ValueError for anything that `to_json` does not give."""
        lists = {
            "rows": [ImageRow(**row) for row in stored["rows"]],
            "failures": [Failure(**failure) for failure in stored["failures"]],
            "quarantined": [QuarantinedItem(**item) for item in stored["quarantined"]],
        }
        return cls(**{**stored, **lists})


class Journal:
    """The journal of one run: its settings in the first line, then an item a line.

    Args:
        path: the file; None keeps nothing.
        settings: everything that the numbers depend on, ready for JSON.

    Raises:
        DataError: the file is the journal of other settings, or no journal; names the first difference.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps({"version": VERSION, **settings}))
        self.items: dict[tuple[str, int], Item] = {}
        if path is None:
            return
        if path.is_file() and path.stat().st_size:
            self._read(path)
        else:
            _append(path, (json.dumps(self.settings) + "\n").encode())

    def _read(self, path: Path) -> None:
        first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            found = json.loads(first)
            found["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected the journal of an evaluation; move it away to start anew") from error
        names = [name for name in {**self.settings, **found} if found.get(name) != self.settings.get(name)]
        if names:
            before, now = found.get(names[0]), self.settings.get(names[0])
            raise DataError(
                f"{path}: is the journal of another run ({names[0]} was {_short(before)}, now {_short(now)}); "
                "give another --json, or delete it to start anew"
            )
        for line in lines:
            try:
                item = Item.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # cut short by a crash: the item is measured again
            self.items[item.data_set, item.index] = item

    def known(self, data_set: str, index: int, key: str) -> Item | None:
        """What an earlier run found of an item; None when it must be measured.

        Raises:
            DataError: another item had this place then.
        """
        item = self.items.get((data_set, index))
        if item is None or not item.settled:
            return None
        if item.key != key:
            raise DataError(
                f"{self.path}: item {index} of {data_set} was {item.key} and is {key} now: the data set has changed; "
                "delete the journal to start anew"
            )
        return item

    def add(self, item: Item) -> None:
        """Keep an item, on the disk at once."""
        self.items[item.data_set, item.index] = item
        if self.path is not None:
            _append(self.path, (json.dumps(item.to_json()) + "\n").encode())


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
