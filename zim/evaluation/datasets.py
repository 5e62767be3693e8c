"""Datasets of photos with alphas on disk: folders of pairs, and MicroMat-3K."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from zim.errors import DataError
from zim.evaluation.micromat3k import MicroMat3kDataset
from zim.evaluation.samples import MattingSample, checked_root, evenly_spaced, tag_of

__all__ = ["FolderDataset", "MattingSample", "MicroMat3kDataset"]

IMAGE_FOLDERS = ("image", "images", "img", "imgs", "original", "originals")
ALPHA_FOLDERS = ("alpha", "alphas", "matte", "mattes", "mask", "masks", "gt")
PHOTO_SUFFIXES = (".jpg", ".jpeg")
IMAGE_SUFFIXES = (*PHOTO_SUFFIXES, ".png", ".bmp", ".webp", ".tif", ".tiff")


class FolderDataset(Sequence[MattingSample]):
    """All photo / alpha pairs below a folder.

    A folder counts when it has an image folder and an alpha folder (`image/` + `alpha/`, or one of the usual
    other names, see IMAGE_FOLDERS and ALPHA_FOLDERS); files belong together when their stems are equal. A
    folder that itself holds `NAME.jpg` + `NAME.png` pairs counts too: the JPEG is the photo, the PNG its
    alpha. Folders nest freely, and one called `fine` or `coarse` on the way down (the root included) tags
    what lies below it.

    Args:
        root: The folder to search.
        limit: Keep at most this many samples, evenly spaced over the sorted list.

    Raises:
        DataError: the root is no folder, holds no pair, or a file has no partner; names the first such file.
    """

    def __init__(self, root: str | Path, *, limit: int | None = None) -> None:
        self.root = checked_root(root)
        samples = [sample for folder in _folders(self.root) for sample in _pairs_of(folder, self.root)]
        if not samples:
            raise DataError(
                f"{self.root}: expected image/ + alpha/ folders or NAME.jpg + NAME.png pairs, "
                "found no photo with an alpha"
            )
        self.samples = evenly_spaced(samples, limit)

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> MattingSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[MattingSample]: ...
    def __getitem__(self, index: int | slice) -> MattingSample | list[MattingSample]:
        return self.samples[index]

    def __iter__(self) -> Iterator[MattingSample]:
        return iter(self.samples)


def _folders(root: Path) -> Iterator[Path]:
    """The root and all folders below it, sorted; image and alpha folders of a pair are not entered."""
    yield root
    pair = _image_and_alpha_folder(root) or ()
    for child in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if child not in pair:
            yield from _folders(child)


def _pairs_of(folder: Path, root: Path) -> list[MattingSample]:
    pair = _image_and_alpha_folder(folder)
    if pair is not None:
        images, alphas = (_files_by_stem(p, IMAGE_SUFFIXES) for p in pair)
    else:
        images, alphas = _files_by_stem(folder, PHOTO_SUFFIXES), _files_by_stem(folder, (".png",))
        if not images.keys() & alphas.keys():
            return []  # pictures of another kind, e.g. those of a README
    for stem in sorted(images.keys() ^ alphas.keys()):
        lonely, wanted = (images[stem], "alpha") if stem in images else (alphas[stem], "photo")
        raise DataError(f"{lonely}: found no {wanted} of the same name")
    prefix = folder.relative_to(root).as_posix()
    return [
        MattingSample(
            id=stem if prefix == "." else f"{prefix}/{stem}",
            image_path=images[stem],
            alpha_path=alphas[stem],
            tag=tag_of(root.resolve().name / folder.relative_to(root)),
        )
        for stem in sorted(images)
    ]


def _image_and_alpha_folder(folder: Path) -> tuple[Path, Path] | None:
    children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    image = next((children[name] for name in IMAGE_FOLDERS if name in children), None)
    alpha = next((children[name] for name in ALPHA_FOLDERS if name in children), None)
    return None if image is None or alpha is None else (image, alpha)


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise DataError(f"{path}: expected one file per name, found {found[path.stem].name} beside it")
        found[path.stem] = path
    return found
