"""HIM-2K: 2,000 photographs of groups of people, a matte for each person."""

from pathlib import Path

from zim.errors import DataError

from .paired import Pair, pair_record, picture_files
from .reader import Reader, TrainingUse
from .records import MatteRecord

_UNSPLIT = (
    "published as one benchmark without a training split and part of the paper's training data; a model trained on it"
    " must not be measured on it"
)
_FOLDERS = {"natural": "natural", "synthetic": "comp"}


class Him2k(Reader[MatteRecord]):
    """HIM-2K: one record a person.

    Layout, as published: `images/natural/NAME.jpg` + `alphas/natural/NAME/00.png`, `01.png`, ... (8 bit, one person
    each), and the same below `images/comp` and `alphas/comp` for composited photographs.
    """

    name = "him2k"
    LAYOUT = "images/{natural,comp}/NAME.jpg + alphas/{natural,comp}/NAME/00.png"
    SPLITS = {"natural": TrainingUse(True, _UNSPLIT), "synthetic": TrainingUse(True, _UNSPLIT)}

    def _scan(self, split: str) -> list[Pair] | None:
        images, alphas = (self.root / part / _FOLDERS[split] for part in ("images", "alphas"))
        if not images.is_dir():
            return None
        return [
            Pair(f"{stem}/{number}", photo, alpha)
            for stem, photo, folder in _photos(images, alphas)
            for number, alpha in picture_files(folder).items()
        ]

    def _record(self, split: str, entry: Pair) -> MatteRecord:
        return pair_record(entry, split, allowed=self.SPLITS[split].allowed, tag=split)


def _photos(images: Path, alphas: Path) -> list[tuple[str, Path, Path]]:
    """Name, photograph and folder of mattes of each photograph."""
    photos = picture_files(images)
    if not alphas.is_dir():
        raise DataError(f"{alphas}: expected a folder of mattes beside {images}, found nothing")
    folders = {path.name: path for path in alphas.iterdir() if path.is_dir() and not path.name.startswith(".")}
    for name in sorted(photos.keys() ^ folders.keys()):
        if name in photos:
            raise DataError(f"{photos[name]}: found no folder of mattes {alphas / name}")
        raise DataError(f"{folders[name]}: found no photograph of this name in {images}")
    for name in sorted(folders):
        if not picture_files(folders[name]):
            raise DataError(f"{folders[name]}: expected mattes 00.png, 01.png, ..., found none")
    return [(name, photos[name], folders[name]) for name in sorted(photos)]
