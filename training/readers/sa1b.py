"""SA-1B: 11 million photographs with about 100 masks each, as downloaded (tar shards) or unpacked."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zim.errors import DataError

from .masks import MaskInfo, RleMasks
from .reader import Reader, TrainingUse
from .records import ItemError, SegmentRecord, blaming
from .rle import parse_rle
from .tar_index import TarMember, tar_members

_NAME = re.compile(r"sa_(0|[1-9]\d*)\.(jpg|json)")
_SCORES = ("predicted_iou", "stability_score")


class Sa1b(Reader[SegmentRecord]):
    """SA-1B: photographs with run-length encoded masks; `info` of the masks has `predicted_iou`, `stability_score`.

    Layout, as published: pairs `sa_1234.jpg` + `sa_1234.json`, either files in folders at any depth, or members of
    uncompressed tar files `sa_000020.tar`. The root is a folder with either or both, or one tar file. The JSON holds
    `image` (`width`, `height`, `file_name`) and `annotations`, each with `segmentation` (COCO RLE), `id`, `area`,
    `bbox`, `predicted_iou`, `stability_score`, `crop_box`, `point_coords`.

    Opening reads names and tar headers only, and keeps 40 bytes a photograph of a tar file. Give each process of a
    large conversion its own shard as root.
    """

    name = "sa1b"
    LAYOUT = "sa_NUMBER.jpg + sa_NUMBER.json in folders or *.tar"
    SPLITS = {"all": TrainingUse(True, "published for training; SA-1B Dataset Research License")}

    def _checked_root(self, root: str | Path) -> Path:
        path = Path(root)
        return path if path.is_file() and path.suffix == ".tar" else super()._checked_root(root)

    def _scan(self, split: str) -> Sequence["_Stored"] | None:
        if self.root.is_file():
            parts: list[Sequence[_Stored]] = [_TarPart(self.root)]
        else:
            folders = [self.root, *sorted(path for path in self.root.rglob("*") if path.is_dir())]
            parts = [part for folder in folders for part in _parts_of(folder)]
        entries = _Joined([part for part in parts if len(part)])
        return entries if len(entries) else None

    def _record(self, split: str, entry: "_Stored") -> SegmentRecord:
        return SegmentRecord(
            key=entry.key,
            image=entry.image,
            training_allowed=self.SPLITS[split].allowed,
            masks=partial(read_masks, entry.masks),
            masks_name=str(entry.masks),
        )


def read_masks(source: Path | TarMember) -> RleMasks:
    """The masks of an `sa_*.json`.

    Raises:
        ItemError: it cannot be read, is no such JSON, or a mask in it is malformed.
    """
    name = str(source)
    with blaming(name):
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    try:
        stored = json.loads(data)
        size = (stored["image"]["height"], stored["image"]["width"])
        annotations = list(stored["annotations"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ItemError(name, f"expected JSON with 'image' and 'annotations' ({error!r})") from error
    rles, info = [], []
    for index, annotation in enumerate(annotations):
        try:
            rle = parse_rle(annotation["segmentation"])
            scores = {key: float(annotation[key]) for key in _SCORES if key in annotation}
            info.append(MaskInfo(name=str(annotation.get("id", index)), area=rle.area, scores=scores))
        except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error) if isinstance(error, DataError) else repr(error)
            raise ItemError(name, f"annotation {index}: {reason}") from error
        rles.append(rle)
    with blaming(name):
        return RleMasks(size, rles, info)


class _Stored(NamedTuple):
    key: str
    image: Path | TarMember
    masks: Path | TarMember


class _FolderPart(Sequence[_Stored]):
    """Pairs of files in one folder, by number."""

    def __init__(self, folder: Path, numbers: Sequence[int]) -> None:
        self._folder, self._numbers = folder, np.array(numbers, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        stem = f"sa_{self._numbers[index]}"
        return _Stored(stem, self._folder / f"{stem}.jpg", self._folder / f"{stem}.json")


class _TarPart(Sequence[_Stored]):
    """Pairs of members of one tar file, by number: where they begin and how long they are."""

    def __init__(self, shard: Path) -> None:
        found: dict[str, dict[int, TarMember]] = {"jpg": {}, "json": {}}
        prefix = ""
        for member in tar_members(shard):
            folder, _, file = member.name.rpartition("/")
            match = _NAME.fullmatch(file)
            if match is None:
                continue
            prefix = folder
            if int(match[1]) in found[match[2]]:
                raise DataError(f"{member}: expected each name once in {shard}")
            found[match[2]][int(match[1])] = member
        _check_pairs(found["jpg"].keys(), found["json"].keys(), shard)
        self._shard, self._prefix = shard, f"{prefix}/" if prefix else ""
        rows = [(n, *found["jpg"][n][2:], *found["json"][n][2:]) for n in sorted(found["jpg"])]
        self._rows = np.array(rows, np.int64).reshape(-1, 5)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        number, *places = self._rows[index].tolist()
        stem = f"sa_{number}"
        image = TarMember(self._shard, f"{self._prefix}{stem}.jpg", places[0], places[1])
        return _Stored(stem, image, TarMember(self._shard, f"{self._prefix}{stem}.json", places[2], places[3]))


class _Joined(Sequence[_Stored]):
    """Several parts, one after the other."""

    def __init__(self, parts: Sequence[Sequence[_Stored]]) -> None:
        self._parts, self._ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - (int(self._ends[part - 1]) if part else 0)]


def _parts_of(folder: Path) -> Iterator[Sequence[_Stored]]:
    numbers: dict[str, set[int]] = {"jpg": set(), "json": set()}
    shards = []
    for path in folder.iterdir():
        if match := _NAME.fullmatch(path.name):
            numbers[match[2]].add(int(match[1]))
        elif path.suffix == ".tar" and not path.name.startswith("."):
            shards.append(path)
    _check_pairs(numbers["jpg"], numbers["json"], folder)
    yield _FolderPart(folder, sorted(numbers["jpg"]))
    for shard in sorted(shards):
        yield _TarPart(shard)


def _check_pairs(photos: Any, labels: Any, place: Path) -> None:
    for number in sorted(photos ^ labels):
        have, lack = ("jpg", "json") if number in photos else ("json", "jpg")
        raise DataError(f"{place / f'sa_{number}.{have}'}: found no sa_{number}.{lack} beside it")
