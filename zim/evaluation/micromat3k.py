"""Reader of MicroMat-3K: fine and coarse micro mattes with stored prompts.

Layout: `img/0002.png`, `matte/{fine,coarse}/0002_21.png`, `prompt/{fine,coarse}/0002_21.json`,
`seg/{fine,coarse}/0002_21.png` and `data_list.txt`, whose lines name image, matte, prompt and segmentation,
relative to the root.

Descriptions of the set disagree about which of `prompt` and `seg` is JSON and which is PNG, so this reader
trusts the content of the files: the one that starts like JSON is the prompt, whatever its name, folder or
column.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from zim.errors import DataError
from zim.evaluation.samples import MattingSample, Tag, checked_root, evenly_spaced, tag_of
from zim.prompts import Prompt

LIST_NAME = "data_list.txt"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
LABEL_FOLDERS = ("prompt", "seg")
LABEL_SUFFIXES = (".json", ".png")


class MicroMat3kDataset(Sequence[MattingSample]):
    """MicroMat-3K as a list of samples, each with its stored prompt (points and box, original pixels).

    Without `data_list.txt` the mattes below `matte/fine` and `matte/coarse` are listed.

    Args:
        root: The folder that holds `img`, `matte`, `prompt` and `seg`.
        tag: Keep only the fine or the coarse instances.
        limit: Keep at most this many samples, evenly spaced over the list.

    Raises:
        DataError: the folder, a listed file or a prompt is missing or malformed; names the first offending
            file.
    """

    def __init__(self, root: str | Path, *, tag: Tag | None = None, limit: int | None = None) -> None:
        self.root = checked_root(root)
        listing = self.root / LIST_NAME
        entries = _listed(listing) if listing.is_file() else _scanned(self.root)
        if tag is not None:
            entries = [entry for entry in entries if tag_of(Path(entry[1])) == tag]
        if not entries:
            raise DataError(
                f"{self.root}: expected {LIST_NAME} or mattes below matte/fine and matte/coarse, found none"
            )
        self.samples = [_sample(self.root, entry) for entry in evenly_spaced(entries, limit)]

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


def read_prompt(path: Path) -> Prompt:
    """Read `{"point": [[x, y, 1 or 0], ...], "bbox": [x1, y1, x2, y2]}`; either key may be missing or empty.

    Raises:
        DataError: the file is no such JSON object, or holds neither points nor box.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON prompt ({error})") from error
    if not isinstance(stored, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(stored).__name__}")
    points = _numbers(path, "point", stored.get("point"), columns=3)
    box = _numbers(path, "bbox", stored.get("bbox"), columns=None)
    if points is None and box is None:
        raise DataError(f"{path}: expected 'point' or 'bbox', got keys {sorted(stored)}")
    if box is not None and box.shape != (4,):
        raise DataError(f"{path}: expected 'bbox' as [x1, y1, x2, y2], got shape {box.shape}")
    if points is not None and not np.isin(points[:, 2], (0, 1)).all():
        raise DataError(f"{path}: expected point labels 0 or 1, got {sorted(set(points[:, 2].tolist()))}")
    return Prompt(
        point_coords=None if points is None else points[:, :2].copy(),
        point_labels=None if points is None else points[:, 2].astype(np.int32),
        box=box,
    )


def _numbers(path: Path, key: str, value: Any, *, columns: int | None) -> np.ndarray | None:
    if value is None or value == []:
        return None
    try:
        array = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: expected numbers under '{key}' ({error})") from error
    if not np.isfinite(array).all():
        raise DataError(f"{path}: expected finite numbers under '{key}'")
    if columns is not None and (array.ndim != 2 or array.shape[1] != columns):
        raise DataError(
            f"{path}: expected '{key}' as a list of {columns} numbers each, got shape {array.shape}"
        )
    return array


def _listed(listing: Path) -> list[tuple[str, ...]]:
    """The four columns of every line of the list: image, matte, and prompt and seg in either order."""
    entries: list[tuple[str, ...]] = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        columns = tuple(line.split())
        if not columns:
            continue
        if len(columns) != 4:
            raise DataError(
                f"{listing}, line {number}: expected 4 paths (image matte prompt seg), got {len(columns)}"
            )
        entries.append(columns)
    return entries


def _scanned(root: Path) -> list[tuple[str, ...]]:
    """As `_listed`, from the mattes that lie in the folders."""
    entries: list[tuple[str, ...]] = []
    for tag in ("fine", "coarse"):
        for matte in sorted((root / "matte" / tag).glob("*.png")):
            image = f"img/{matte.stem.rsplit('_', 1)[0]}.png"
            label = f"{tag}/{matte.stem}"
            entries.append((image, f"matte/{label}.png", f"prompt/{label}.json", f"seg/{label}.png"))
    return entries


def _sample(root: Path, entry: tuple[str, ...]) -> MattingSample:
    image, matte, *labels = (root / column for column in entry)
    image = next((p for p in (image, *(image.with_suffix(s) for s in IMAGE_SUFFIXES)) if p.is_file()), image)
    for path in (image, matte):
        if not path.is_file():
            raise DataError(f"{path}: listed in the data set, but missing")
    tag = tag_of(matte.relative_to(root))
    candidates = _label_candidates(root, labels, matte)
    prompt_path = next((p for p in candidates if _is_json(p)), None)
    if prompt_path is None:
        raise DataError(f"{labels[0]}: expected a JSON prompt for {matte.name}, found none")
    return MattingSample(
        id=f"{tag}/{matte.stem}" if tag else matte.stem,
        image_path=image,
        alpha_path=matte,
        tag=tag,
        prompt=read_prompt(prompt_path),
        seg_path=next((p for p in candidates if not _is_json(p)), None),
    )


def _label_candidates(root: Path, labels: list[Path], matte: Path) -> list[Path]:
    """Existing files that may be the prompt or the segmentation, the listed names first."""
    below = matte.relative_to(root / "matte") if matte.is_relative_to(root / "matte") else Path(matte.name)
    named = [label.with_suffix(suffix) for label in labels for suffix in (label.suffix, *LABEL_SUFFIXES)]
    usual = [
        (root / folder / below).with_suffix(suffix) for folder in LABEL_FOLDERS for suffix in LABEL_SUFFIXES
    ]
    return [path for path in dict.fromkeys(named + usual) if path.is_file()]


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"{")
