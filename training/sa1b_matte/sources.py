"""Where the photographs and labels come from: SA-1B's tar files and folders, and how they are cut into shards."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

from ..readers.records import SegmentRecord
from ..readers.sa1b import Sa1b, read_masks
from .config import ConversionConfig

_FILE = re.compile(r"(sa_(0|[1-9]\d*))\.(jpg|json)")


class Source(NamedTuple):
    """name: what its output shards are named after. path: a tar file, or a folder with pairs of files in it."""

    name: str
    path: Path


class Unit(NamedTuple):
    """One output shard to be: photographs `start` to `stop` (exclusive) of those that are taken from a source.

    digest: of their keys; a source that has changed since gives another.
    """

    name: str
    source: Source
    start: int
    stop: int
    digest: str

    @property
    def images(self) -> int:
        """Number of photographs."""
        return self.stop - self.start


class SourcePlan(NamedTuple):
    """images: photographs in the source. numbers: (S,) int64, those that are taken. units: the shards to be."""

    images: int
    numbers: NDArray[np.int64]
    units: tuple[Unit, ...]


class FolderPairs(Sequence[SegmentRecord]):
    """Pairs `sa_N.jpg` + `sa_N.json` directly in a folder, by number; one that lacks its partner fails when loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = {match[1] for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))}
        self._stems = sorted(found, key=number_of)

    def __len__(self) -> int:
        return len(self._stems)

    @overload
    def __getitem__(self, index: int) -> SegmentRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[SegmentRecord]: ...
    def __getitem__(self, index: int | slice) -> SegmentRecord | list[SegmentRecord]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        stem = self._stems[index]
        labels = self._folder / f"{stem}.json"
        return SegmentRecord(
            key=stem, image=self._folder / f"{stem}.jpg", masks=partial(read_masks, labels), masks_name=str(labels)
        )


def number_of(key: str) -> int:
    """The number of a photograph `sa_N`."""
    return int(key.removeprefix("sa_"))


def find_sources(root: Path) -> list[Source]:
    """The tar files, and the folders with pairs of files, at and below `root`, by name.

    Raises:
        DataError: nothing is there, or two sources would give shards of one name.
    """
    if not root.exists():
        raise DataError(f"--input: expected SA-1B shards (*.tar) or folders, {root} does not exist")
    paths = [root] if root.is_file() else sorted(_sources_below(root))
    found: dict[str, Source] = {}
    for path in paths:
        within = path.relative_to(root if root.is_dir() else root.parent).as_posix()
        name = "folder" if within == "." else re.sub(r"[^A-Za-z0-9_-]", "_", within.removesuffix(".tar"))
        if name in found:
            raise DataError(f"--input: expected different names, got {found[name].path} and {path} for {name}")
        found[name] = Source(name, path)
    if not found:
        raise DataError(f"--input: expected sa_*.tar, or sa_N.jpg + sa_N.json, below {root}, found none")
    return list(found.values())


def _sources_below(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        here = Path(folder)
        if any(_FILE.fullmatch(file) for file in files):
            yield here
        yield from (here / file for file in files if file.endswith(".tar") and not file.startswith("."))


def open_source(source: Source) -> Sequence[SegmentRecord]:
    """Its photographs by number; only names and tar headers are read.

    Raises:
        DataError: a tar file is cut off or no tar file, or a member lacks its partner.
    """
    return Sa1b(source.path) if source.path.is_file() else FolderPairs(source.path)


def taken_records(source: Source, config: ConversionConfig) -> tuple[list[SegmentRecord], int]:
    """The photographs of the chosen fraction, by number, and how many the source has."""
    records = open_source(source)
    return [record for record in records if config.takes(record.key)], len(records)


def plan_source(source: Source, config: ConversionConfig) -> SourcePlan:
    """The shards that a source gives; they depend on its names and the configuration alone.

    Raises:
        DataError: as `open_source`.
    """
    taken, images = taken_records(source, config)
    keys = [record.key for record in taken]
    units = []
    for part, start in enumerate(range(0, len(keys), config.images_per_shard)):
        stop = min(start + config.images_per_shard, len(keys))
        units.append(Unit(f"{source.name}-{part:05d}", source, start, stop, digest_of(keys[start:stop])))
    return SourcePlan(images, np.array([number_of(key) for key in keys], np.int64), tuple(units))


def digest_of(keys: Sequence[str]) -> str:
    """A digest of names in their order."""
    return hashlib.blake2b("\n".join(keys).encode("utf-8"), digest_size=16).hexdigest()
