"""Corrupt items: skipped, listed and counted, so that they neither end a run nor vanish from it."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

try:
    import fcntl
except ImportError:  # Windows, which has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

from zim.errors import DataError, ImageError, MissingDependencyError

from .reader import Reader
from .records import ItemError, MatteRecord, SegmentRecord

Record = TypeVar("Record", MatteRecord, SegmentRecord)


class QuarantinedItem(NamedTuple):
    """key: the item, as its reader names it. file: what could not be read. reason: why."""

    key: str
    file: str
    reason: str


class Quarantine:
    """The list of items that could not be read, kept as `quarantine.jsonl`.

    Lines are appended whole, so several processes may share one file, and a run that goes on adds to the list of the
    one before. When the list itself cannot be written, items are kept in memory, written with the next one, and
    `summary` says so.

    Args:
        path: the list; made with its folder when the first item comes. None keeps the list in memory.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._here = {} if self.path is None else {item.key: item for item in _listed(self.path)}
        self._unwritten: list[QuarantinedItem] = []
        self._failure = ""

    def add(self, key: str, file: str | Path, reason: str) -> None:
        """Put an item on the list; one that is on it already stays as it was."""
        if key in self:
            return
        item = QuarantinedItem(key, str(file), " ".join(reason.split()))
        self._here[key] = item
        if self.path is not None:
            self._unwritten.append(item)
            self.flush()

    def flush(self) -> bool:
        """Write what is not on the disk yet; False when that failed (the reason is in `summary`)."""
        if self.path is None or not self._unwritten:
            return True
        text = "".join(json.dumps(item._asdict(), ensure_ascii=False) + "\n" for item in self._unwritten)
        try:
            _append(self.path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            if not self._failure:
                print(f"quarantine: {self.path} cannot be written ({error}); kept in memory", file=sys.stderr)
            self._failure = str(error)
            return False
        self._unwritten, self._failure = [], ""
        return True

    @property
    def items(self) -> list[QuarantinedItem]:
        """Everything on the list, from this process and, by way of the file, from others; each key once."""
        found = {item.key: item for item in _listed(self.path)} if self.path is not None else {}
        return list((found | self._here).values())

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, key: object) -> bool:
        return key in self._here

    def summary(self) -> str:
        """One line: how many items, and where their list is."""
        count = len(self)
        if not count:
            return "no item quarantined"
        named = f"{count} item{'s' if count > 1 else ''} quarantined"
        if self.path is None:
            return named
        if self._failure:
            return f"{named}, NOT all listed in {self.path}: {self._failure}"
        return f"{named}, listed in {self.path}"

    def load(self, reader: Reader[Record], index: int) -> tuple[Record, Any] | None:
        """Item `index` with its pixels, as (record, record.load()); None when it had to be quarantined.

        Raises:
            MissingDependencyError: a library is missing; that is no fault of the item.
        """
        key, file = f"{reader.name}[{index}]", str(reader.root)
        try:
            record = reader[index]
            key, file = record.key, record.image_name
            return record, record.load()
        except MissingDependencyError:
            raise
        except ItemError as error:
            self.add(key, error.file, error.reason)
        except (DataError, ImageError, OSError) as error:
            self.add(key, file, str(error))
        except Exception as error:  # decoders raise whatever they trip over
            self.add(key, file, repr(error))
        return None


def read_all(
    reader: Reader[Record], quarantine: Quarantine, indices: Iterable[int] | None = None
) -> Iterator[tuple[Record, Any]]:
    """Every readable item of a reader, or those of `indices`, in order; the others go to the quarantine."""
    for index in range(len(reader)) if indices is None else indices:
        loaded = quarantine.load(reader, index)
        if loaded is not None:
            yield loaded


def _append(path: Path, data: bytes) -> None:
    """Append whole lines with one write; a line that a crash cut short is closed first.

    The lock keeps a line that another writer is in the middle of from being taken for such a one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # closing gives it back
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        if os.write(descriptor, data) != len(data):
            raise OSError(f"only a part of the list could be written to {path}")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(path: Path) -> Iterator[QuarantinedItem]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            stored = json.loads(line)
            yield QuarantinedItem(str(stored["key"]), str(stored["file"]), str(stored["reason"]))
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a crash: its item will be met, and listed, again
