"""Photographs with mattes of their own: folders and data sets of exact mattes, and shards of converted labels."""

import glob
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError

from ..readers.reader import Reader
from ..readers.records import MatteRecord
from ..readers.registry import DATASETS, open_dataset
from ..readers.tar_index import tar_members
from ..sa1b_matte.shards import ConvertedImage, StoredMatte

FOLDER_READER = "matte_folder"
_TAR_HEADER = 512
_HAZE = 0.08


@dataclass(frozen=True, kw_only=True)
class MattePhoto:
    """image: (H, W, 3) uint8 RGB. mattes: at least one, (H, W) float32 in [0, 1]."""

    image: NDArray[np.uint8]
    mattes: tuple[NDArray[np.float32], ...]


def without_haze(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """A converted matte with its faint doubts taken away: up to 0.08 becomes 0, from 0.92 on 1, and what is
    between is stretched.

    A converter that answers with expected values covers the surroundings of what it is unsure of with a few percent;
    a model that learns from them learns the haze.
    """
    return np.clip((alpha - np.float32(_HAZE)) / np.float32(1 - 2 * _HAZE), 0, 1)


class MatteSource(ABC):
    """Photographs with mattes, drawn at random."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> MattePhoto:
        """A random photograph with at most `count` of its mattes.

        Raises:
            DataError: a file cannot be read; names it.
        """


class MatteFolders(MatteSource):
    """Exact mattes of one object a photograph: the user's own, or those of a data set of `training.readers`.

    folders: each a folder with `image/ + alpha/` (or another layout of `matte_folder`), or `NAME=FOLDER` with the name
        of a data set, such as `am2k=/data/AM-2k`; its training split is taken.
    max_side: a larger photograph is reduced to this long side, in pixels.
    cache: how many decoded photographs stay in memory (up to 9 MB each).

    Raises:
        ConfigError: there is no data set of that name.
        DataError: nothing was found, or a set has nothing that may be trained on.
    """

    def __init__(self, folders: Sequence[str | Path], *, max_side: int = 1600, cache: int = 64) -> None:
        if not folders:
            raise DataError("mattes: expected at least one folder, got none")
        self._readers = [_training_reader(str(folder)) for folder in folders]
        self._ends = np.cumsum([len(reader) for reader in self._readers])
        self._max_side, self._capacity = max_side, max(1, cache)
        self._cache: OrderedDict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def draw(self, rng: np.random.Generator, count: int) -> MattePhoto:
        """See `MatteSource`; there is one matte to a photograph."""
        image, alpha = self._load(int(rng.integers(len(self))))
        return MattePhoto(image=image, mattes=(alpha.astype(np.float32) / np.float32(255),))

    def _load(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        part = int(np.searchsorted(self._ends, index, side="right"))
        record: MatteRecord = self._readers[part][index - int(self._ends[part]) + len(self._readers[part])]
        image, alpha = record.load()
        pair = _reduced(image, self._max_side), _reduced((alpha * 255 + 0.5).astype(np.uint8), self._max_side)
        self._cache[index] = pair
        if len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return pair


def _training_reader(text: str) -> Reader[MatteRecord]:
    name, separator, folder = text.partition("=")
    if not separator or name not in DATASETS:
        name, folder = FOLDER_READER, text
    splits: list[str | None] = [s for s, use in DATASETS[name].SPLITS.items() if use.allowed]
    split = splits[0] if len(splits) == 1 else None
    reader = open_dataset(name, folder, split, for_training=True)
    if not isinstance(reader[0], MatteRecord):
        raise ConfigError(f"mattes: expected a data set of mattes, got {name}, which has segmentation labels")
    return reader


def _reduced(array: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    factor = max_side / max(array.shape[:2])
    if factor >= 1:
        return array
    size = (max(1, round(array.shape[1] * factor)), max(1, round(array.shape[0] * factor)))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


class _Place(NamedTuple):
    """Where the members of one photograph lie in a shard."""

    shard: int
    start: int
    end: int


class MatteShards(MatteSource):
    """SA1B-Matte shards (`training.sa1b_matte.shards`), opened at any photograph.

    Every header of every shard is read once, so that any photograph can be reached by its number: the sample of a step
    depends on the step alone. Photographs are weighed equally, whatever the size of their shard.

    patterns: files, or patterns such as `shards/*.tar`; sorted, each file once.

    Raises:
        DataError: a pattern matches nothing, a shard is no whole tar file, or there is no photograph in them.
    """

    def __init__(self, patterns: Sequence[str | Path]) -> None:
        files: set[str] = set()
        for pattern in patterns:
            found = glob.glob(str(pattern), recursive=True)
            if not found:
                raise DataError(f"shards: expected files that match {pattern}, found none")
            files.update(found)
        self._shards = [Path(file) for file in sorted(files)]
        places = [place for number, shard in enumerate(self._shards) for place in _places(number, shard)]
        if not places:
            raise DataError(f"shards: expected photographs in {', '.join(map(str, patterns))}, found none")
        self._places = np.array(places, dtype=np.int64)  # (N, 3): 24 bytes a photograph

    def __len__(self) -> int:
        return len(self._places)

    def draw(self, rng: np.random.Generator, count: int) -> MattePhoto:
        """See `MatteSource`."""
        return self.some(int(rng.integers(len(self))), rng, count)

    def some(self, index: int, rng: np.random.Generator, count: int) -> MattePhoto:
        """Photograph `index` over all shards with at most `count` of its mattes, drawn at random.

        Raises:
            DataError: it cannot be read.
        """
        converted = self.photo(index)
        chosen = rng.permutation(len(converted.mattes))[:count]
        mattes = tuple(converted.mattes[int(i)].full(converted.size_hw) for i in chosen)
        return MattePhoto(image=converted.image, mattes=mattes)

    def photo(self, index: int) -> ConvertedImage:
        """Photograph `index` over all shards, nothing decoded yet.

        Raises:
            DataError: its members are not as a shard has them.
        """
        place = _Place(*map(int, self._places[index]))
        shard = self._shards[place.shard]
        try:
            with shard.open("rb") as file:
                file.seek(place.start)
                data = file.read(place.end - place.start)
            if len(data) < place.end - place.start:
                raise ValueError("the file has become shorter")
            return _converted(data, shard)
        except (OSError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{shard}: photograph at byte {place.start} cannot be read ({error!r})") from error


def _places(number: int, shard: Path) -> list[_Place]:
    """Photographs begin at their `KEY.jpg`, whose header lies right before its bytes (names are short there)."""
    places: list[_Place] = []
    for member in tar_members(shard):
        end = member.offset + member.size + -member.size % _TAR_HEADER
        if member.name.endswith(".jpg"):
            places.append(_Place(number, member.offset - _TAR_HEADER, end))
        elif places and member.name.endswith((".json", ".png")) and not member.name.startswith("__"):
            places[-1] = places[-1]._replace(end=end)
    return places


def _converted(data: bytes, shard: Path) -> ConvertedImage:
    """The photograph whose members are these bytes of a tar file."""
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data + bytes(2 * _TAR_HEADER)), mode="r:") as tar:
        for entry in tar:
            opened = tar.extractfile(entry)
            if opened is not None:
                members[entry.name] = opened.read()
    if not members:
        raise ValueError("no member of a tar file")
    name = next(iter(members))
    key = name.removesuffix(".jpg")
    described = json.loads(members[f"{key}.json"])
    mattes = tuple(
        StoredMatte(
            **{**label, "box": tuple(label["box"])},
            png=members[f"{key}.{label['id']}.png"],
            member=f"{shard}:{key}.{label['id']}.png",
        )
        for label in described["labels"]
    )
    return ConvertedImage(
        key=key,
        size_hw=(described["height"], described["width"]),
        mattes=mattes,
        jpg=members[name],
        member=f"{shard}:{name}",
    )
