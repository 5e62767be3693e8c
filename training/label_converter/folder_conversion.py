"""A folder of labelled photographs into a folder of mattes: resumable, atomic, corrupt files set aside."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import DataError
from zim.files import write_bytes_atomic, write_json_atomic
from zim.image_io import save_png

from ..readers import Quarantine, SegmentRecord
from ..readers.label_folder import LabelFolder
from ..readers.masks import MaskSet
from .converter import Converter
from .crops import convert_labels

HEADER, JOURNAL = "converter.json", "converted.jsonl"
"""In the output folder: what it was made with, and which photographs are done."""


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """What of a folder is converted.

    whole: everything labelled in a photograph as one object, rather than one object an id.
    pieces: one object a connected piece of an id. min_area: smaller labels are left out, in pixels.
    margin: surroundings of a label that the converter sees, as in `convert_labels`.
    """

    whole: bool = False
    pieces: bool = False
    min_area: int = 100
    margin: float = 0.15
    batch_size: int = 16


class Conversion(NamedTuple):
    """photos: converted now. skipped: done before. mattes: written now. empty: labels whose matte came out empty."""

    photos: int
    skipped: int
    mattes: int
    empty: int


def convert_folder(
    converter: Converter,
    source: str | Path,
    target: str | Path,
    config: ConversionConfig = ConversionConfig(),
    *,
    progress: bool = True,
) -> Conversion:
    """Write `image/NAME_ID.* + alpha/NAME_ID.png` for every labelled object below `source`.

    Args:
        converter: makes the mattes.
        source: `image/ + label/` folders at any depth; the depth is kept.
        target: made as needed; a run that was interrupted goes on. Photographs are linked where the file system can,
            else copied. What cannot be read is listed in `quarantine.jsonl`.

    Raises:
        DataError: `source` has no such folders, or `target` was made with other weights or settings.
    """
    reader = LabelFolder(source, pieces=config.pieces, min_area=config.min_area)
    out = Path(target)
    _check_header(out, {"converter": converter.fingerprint, "side": converter.side, **asdict(config)})
    done = _done(out / JOURNAL)
    quarantine = Quarantine(out / "quarantine.jsonl")
    photos = skipped = mattes = empty = 0
    with tqdm(total=len(reader), desc="converting", unit="photo", disable=not progress) as bar:
        for index in range(len(reader)):
            if reader[index].key in done:
                skipped += 1
            else:
                loaded = quarantine.load(reader, index)
                if loaded is not None:
                    record, (image, masks) = loaded
                    written, lost = _convert_photo(converter, record, image, masks, out, config)
                    _note(out / JOURNAL, record.key, written)
                    photos, mattes, empty = photos + 1, mattes + written, empty + lost
            bar.update()
            bar.set_postfix(mattes=mattes, quarantined=len(quarantine))
    return Conversion(photos, skipped, mattes, empty)


def _convert_photo(
    converter: Converter,
    record: SegmentRecord,
    image: NDArray[np.uint8],
    masks: MaskSet,
    out: Path,
    config: ConversionConfig,
) -> tuple[int, int]:
    """Number of mattes written, and of labels whose matte is empty."""
    if not isinstance(record.image, Path):
        raise DataError(f"{record.key}: expected a photograph in a file of its own")
    labels: Sequence[NDArray[np.bool_]] = masks
    names = _names(masks)
    if config.whole and len(masks):
        labels, names = [np.logical_or.reduce(list(masks))], [""]
    folder, stem = out / Path(record.key).parent, Path(record.key).name
    size_hw = (image.shape[0], image.shape[1])
    written = 0
    for name, matte in zip(
        names,
        convert_labels(converter, image, labels, margin=config.margin, batch_size=config.batch_size),
        strict=True,
    ):
        if matte.alpha.any():
            _link(record.image, folder / "image" / f"{stem}{name}{record.image.suffix}")
            save_png(folder / "alpha" / f"{stem}{name}.png", matte.full(size_hw))  # last: complete when it is there
            written += 1
    return written, len(names) - written


def _names(masks: MaskSet) -> list[str]:
    """`_ID`, or `_ID_1`, `_ID_2`, ... where several masks have one id."""
    counts = Counter(info.name for info in masks.info)
    seen: Counter[str] = Counter()
    names = []
    for info in masks.info:
        seen[info.name] += 1
        names.append(f"_{info.name}" if counts[info.name] == 1 else f"_{info.name}_{seen[info.name]}")
    return names


def _link(source: Path, target: Path) -> None:
    """The same file under another name where the file system can, else a copy of it; whole or absent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        os.link(source.resolve(), temporary)
        os.replace(temporary, target)
    except OSError:
        write_bytes_atomic(target, source.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)  # still there when the target was the same file already


def _check_header(out: Path, header: dict[str, Any]) -> None:
    path = out / HEADER
    if not path.is_file():
        write_json_atomic(path, header)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); give another folder") from error
    changed = [name for name in header if name != "batch_size" and found.get(name) != header[name]]
    if changed:
        name = changed[0]
        raise DataError(
            f"{out}: holds another conversion ({name} {found.get(name)!r}, now {header[name]!r}); give another folder"
        )


def _done(journal: Path) -> set[str]:
    """Keys of the photographs that are finished; a line cut short by a crash does not count."""
    keys = set()
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []:
        try:
            keys.add(str(json.loads(line)["key"]))
        except (ValueError, KeyError, TypeError):
            continue
    return keys


def _note(journal: Path, key: str, mattes: int) -> None:
    with journal.open("a+", encoding="utf-8") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        cut_short = file.read(1) not in ("", "\n")
        file.write(("\n" if cut_short else "") + json.dumps({"key": key, "mattes": mattes}) + "\n")
