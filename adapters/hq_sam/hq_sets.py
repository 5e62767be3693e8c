"""The four sets on which HQ-SAM is measured, as they are published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from zim.errors import ConfigError, DataError
from zim.evaluation.datasets import IMAGE_SUFFIXES, FolderDataset
from zim.evaluation.samples import MattingSample, checked_root, evenly_spaced


class HqSet(NamedTuple):
    """title: in tables. folders: where photographs and masks may be below a root, the first that is there is taken."""

    title: str
    folders: tuple[tuple[str, str], ...]


HQ_SETS: Mapping[str, HqSet] = {
    "dis5k_vd": HqSet("DIS5K-VD", (("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"), ("DIS-VD/im", "DIS-VD/gt"), ("im", "gt"))),
    "coift": HqSet("COIFT", (("COIFT/images", "COIFT/masks"), ("images", "masks"))),
    "hrsod": HqSet("HRSOD", (("HRSOD/images", "HRSOD/masks_max255"), ("images", "masks_max255"))),
    "thinobject5k_te": HqSet(
        "ThinObject5K-TE",
        (("ThinObject5K/images_test", "ThinObject5K/masks_test"), ("images_test", "masks_test")),
    ),
}
"""The sets by name; `thin_object_detection/` above the last three, as in HQ-SAM's own folder, is found too."""


def open_hq_set(name: str, root: str | Path, *, limit: int | None = None) -> Sequence[MattingSample]:
    """The photographs of a set with their masks.

    Args:
        name: one of `HQ_SETS`.
        root: its folder, or the folder above.
        limit: at most this many, evenly spaced.

    Raises:
        ConfigError: there is no set of that name.
        DataError: the layout is not there, or a photograph has no mask.
    """
    if name not in HQ_SETS:
        raise ConfigError(f"set: expected one of {', '.join(HQ_SETS)}, got {name!r}")
    top = checked_root(root)
    for folder in (top, top / "thin_object_detection"):
        for images, masks in HQ_SETS[name].folders:
            if (folder / images).is_dir() and (folder / masks).is_dir():
                return evenly_spaced(_paired(folder / images, folder / masks), limit)
    expected = " or ".join(f"{images} + {masks}" for images, masks in HQ_SETS[name].folders)
    raise DataError(f"{top}: expected {HQ_SETS[name].title} as {expected}, found none of it")


def sets_below(root: str | Path, *, limit: int | None = None) -> dict[str, Sequence[MattingSample]]:
    """All of the four sets that lie below a folder, by title; else its own pairs of photographs and masks.

    Raises:
        DataError: there is neither.
    """
    found: dict[str, Sequence[MattingSample]] = {}
    for name, known in HQ_SETS.items():
        try:
            found[known.title] = open_hq_set(name, root, limit=limit)
        except DataError as error:
            if "found none of it" not in str(error):
                raise
    named = {title: samples for title, samples in found.items() if not _plain(samples, Path(root))}
    return named or {Path(root).resolve().name: FolderDataset(root, limit=limit).samples}


def _plain(samples: Sequence[MattingSample], root: Path) -> bool:
    """Whether the photographs lie directly in `root/images` or the like: then nothing says which set it is."""
    return samples[0].image_path.parent.parent.resolve() == root.resolve()


def _paired(images: Path, masks: Path) -> list[MattingSample]:
    photos, truths = _by_stem(images), _by_stem(masks)
    for stem in sorted(photos.keys() ^ truths.keys()):
        lonely, other = (photos[stem], masks) if stem in photos else (truths[stem], images)
        raise DataError(f"{lonely}: found no picture of the same name in {other}")
    if not photos:
        raise DataError(f"{images}: expected photographs, found none")
    return [MattingSample(id=stem, image_path=photos[stem], alpha_path=truths[stem]) for stem in sorted(photos)]


def _by_stem(folder: Path) -> dict[str, Path]:
    paths = sorted(folder.iterdir())
    return {path.stem: path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."}
