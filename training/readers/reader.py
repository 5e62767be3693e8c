"""What all readers share: splits, the rule about training on them, lazy access in a fixed order."""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, overload

from zim.errors import ConfigError, DataError
from zim.evaluation.samples import checked_root

from .records import Photo

Record = TypeVar("Record", bound=Photo, covariant=True)


class TrainingUse(NamedTuple):
    """Whether models of this project may be trained on a split, and why."""

    allowed: bool
    reason: str


class Reader(Sequence[Record]):
    """A data set on disk as a sequence of records.

    Opening lists the files and checks the layout; pixels are read when a record is loaded. The order is that of the
    splits in `SPLITS`, and within them that of the names.

    Args:
        root: the folder of the data set.
        split: one of `SPLITS`; None takes every split that is there.

    Raises:
        ConfigError: there is no split of that name.
        DataError: the layout is not there or has a fault; names the first offending file.
    """

    name: ClassVar[str]
    """As in the registry."""
    LAYOUT: ClassVar[str]
    """What an error says was expected."""
    SPLITS: ClassVar[Mapping[str, TrainingUse]]
    """The splits, and whether they may be trained on."""

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        if split is not None and split not in self.SPLITS:
            raise ConfigError(f"split: expected one of {', '.join(self.SPLITS)} for {self.name}, got {split!r}")
        self.root = self._checked_root(root)
        self.split = split
        self.notes: list[str] = []
        found = {name: self._scan(name) for name in (self.SPLITS if split is None else (split,))}
        self._parts = {name: entries for name, entries in found.items() if entries is not None}
        self._ends = list(accumulate(len(entries) for entries in self._parts.values()))
        if not self._ends or not self._ends[-1]:
            where = f"split {split!r} of {self.name}" if split else self.name
            raise DataError(f"{self.root}: expected {where} as {self.LAYOUT}, found none of it")

    @abstractmethod
    def _scan(self, split: str) -> Sequence[Any] | None:
        """The entries of a split, sorted; None when the split is not there."""

    @abstractmethod
    def _record(self, split: str, entry: Any) -> Record:
        """The record of an entry of `_scan`."""

    def _checked_root(self, root: str | Path) -> Path:
        return checked_root(root)

    @property
    def counts(self) -> dict[str, int]:
        """Number of items in each split that was found."""
        return {name: len(entries) for name, entries in self._parts.items()}

    @property
    def training_allowed(self) -> bool:
        """Whether everything in this reader may be trained on."""
        return all(self.SPLITS[name].allowed for name in self._parts)

    @property
    def training_reason(self) -> str:
        """Why, split by split."""
        return "; ".join(f"{name}: {self.SPLITS[name].reason}" for name in self._parts)

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        positions = range(len(self))[index]  # IndexError past the end, negative numbers from it
        return self._at(positions) if isinstance(positions, int) else [self._at(i) for i in positions]

    def __iter__(self) -> Iterator[Record]:
        return (self._at(i) for i in range(len(self)))

    def _at(self, position: int) -> Record:
        part = bisect_right(self._ends, position)
        split = list(self._parts)[part]
        start = self._ends[part - 1] if part else 0
        return self._record(split, self._parts[split][position - start])


def require_training(reader: Reader[Record]) -> Reader[Record]:
    """The reader itself, when all of it may be trained on.

    Raises:
        DataError: it holds a test split; says which splits may be used.
    """
    if reader.training_allowed:
        return reader
    allowed = [name for name, use in reader.SPLITS.items() if use.allowed]
    hint = f"use split {' or '.join(map(repr, allowed))}" if allowed else "it has no training split"
    raise DataError(f"{reader.name}: not for training ({reader.training_reason}); {hint}")
