"""Matting sets that keep photographs in one folder and their mattes in another."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from zim.errors import DataError
from zim.evaluation.datasets import IMAGE_SUFFIXES

from .reader import Reader
from .records import MatteRecord, load_alpha


class Pair(NamedTuple):
    """A photograph and the file of its matte; `stem` names both."""

    stem: str
    image: Path
    alpha: Path


class PairedReader(Reader[MatteRecord]):
    """Photographs and mattes of the same names in two folders."""

    FOLDERS: ClassVar[Mapping[str, Sequence[tuple[str, str]]]]
    """Split -> where its photographs and its mattes may be, below the root; the first that is there is taken."""
    TAG: ClassVar[str] = "natural"

    def _scan(self, split: str) -> list[Pair] | None:
        for images, alphas in self.FOLDERS[split]:
            if (self.root / images).is_dir():
                return paired_files(self.root / images, self.root / alphas)
        return None

    def _record(self, split: str, entry: Pair) -> MatteRecord:
        return pair_record(entry, split, allowed=self.SPLITS[split].allowed, tag=self.TAG)


def pair_record(pair: Pair, split: str, *, allowed: bool, tag: str) -> MatteRecord:
    """The record of a photograph and its matte; `allowed`: whether it may be trained on."""
    return MatteRecord(
        key=f"{split}/{pair.stem}",
        image=pair.image,
        training_allowed=allowed,
        alpha=partial(load_alpha, pair.alpha),
        alpha_name=str(pair.alpha),
        tag=tag,
    )


def picture_files(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by stem, sorted; hidden files are passed over.

    Raises:
        DataError: the folder is missing, or two pictures have one stem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder, found {'a file' if folder.exists() else 'nothing'}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"{path}: expected one file per name, found {found[path.stem].name} beside it")
        found[path.stem] = path
    return found


def paired_files(images: Path, alphas: Path) -> list[Pair]:
    """The pictures of two folders, matched by stem.

    Raises:
        DataError: a folder is missing, or a picture has no partner; names the first one.
    """
    photos, mattes = picture_files(images), picture_files(alphas)
    for stem in sorted(photos.keys() ^ mattes.keys()):
        lonely, other = (photos[stem], alphas) if stem in photos else (mattes[stem], images)
        raise DataError(f"{lonely}: found no picture of the same name in {other}")
    return [Pair(stem, photos[stem], mattes[stem]) for stem in sorted(photos)]
