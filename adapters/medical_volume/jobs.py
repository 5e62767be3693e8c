"""Whole runs: one volume or a folder of them, interruptible at any moment and gone on with by the same command."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError, PromptError, ZimError
from zim.protocol import Predictor

from .answer_store import AnswerStore, EmbeddingCache
from .asking import show_directly
from .loading import SUFFIXES, load_volume, stem_of
from .outputs import REPORT, write_outputs
from .prompt_text import PromptText, by_label, volume_prompt
from .segmentation import Segmenter
from .settings import Settings
from .volume import Volume

WORK = ".unfinished"
"""Folder of answers inside an output folder; it goes when the run is finished."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read; see `loading.load_volume`."""

    time_index: int | None = None
    series: str | None = None
    nan_as_zero: bool = False


@dataclass(frozen=True, kw_only=True)
class Model:
    """predictor, and `identity`: the fingerprint of what answers. cache: of embeddings, or None."""

    predictor: Predictor
    identity: str
    cache: EmbeddingCache | None = None


def run_volume(
    path: Path,
    texts: Sequence[PromptText],
    out: Path,
    model: Model,
    *,
    settings: Settings = Settings(),
    reading: Reading = Reading(),
    previous: Path | None = None,
    asked: Callable[[], None] = lambda: None,
) -> bool:
    """Segment one volume into a folder.

    Every answer is on disk as soon as it is there; the same call after an interruption goes on from them and ends with
    the same files. A finished folder whose report has the same identity is left as it is.

    Args:
        path: the volume.
        texts: its prompts; objects are the labels, in order.
        out: folder of the results.
        model: who answers.
        settings, reading: how.
        previous: a volume on the same grid; where it is above 0.5 is the object to be refined (one label only).
        asked: called after every slice.

    Returns:
        Whether anything was done.

    Raises:
        ZimError: the volume cannot be read, or the prompts do not fit it.
        OSError: a file cannot be written.
    """
    identity = _identity(path, texts, model, settings, reading, previous)
    if _is_done(out, identity):
        return False
    if out.exists() and not out.is_dir():
        raise ConfigError(f"-o: expected a folder, got the file {out}")
    volume = load_volume(path, **asdict(reading))
    work = out / WORK
    segmenter = Segmenter(
        predictor=model.predictor,
        volume=volume,
        settings=settings,
        show=model.cache.show if model.cache else show_directly,
        answers=AnswerStore(work, model.identity),
        asked=asked,
    )
    groups = by_label(texts)
    earlier = _previous(previous, volume, groups)
    if earlier is not None and not groups:
        groups = {"object": []}
    prompts = {  # all of them are tied to the volume before the first is asked
        label: [volume_prompt(text, volume.geometry, segmenter.view.axis) for text in group]
        for label, group in groups.items()
    }
    if not prompts:
        raise PromptError("prompt: expected --box, --box3d, --point or --mask, got none")
    objects = [segmenter.segment(label, group, previous=earlier) for label, group in prompts.items()]
    write_outputs(segmenter, objects, out, identity=identity)
    shutil.rmtree(work, ignore_errors=True)
    return True


def run_folder(
    folder: Path,
    table: Mapping[str, Sequence[PromptText]],
    out: Path,
    model: Model,
    *,
    settings: Settings = Settings(),
    reading: Reading = Reading(),
    asked: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, str]]:
    """Segment the volumes of a folder that a table of prompts names, one after the other.

    A volume that fails is told and the others go on.

    Args:
        folder: of volumes.
        table: file name, or its stem -> prompts.
        out: gets a folder for each volume, named after its stem.
        model, settings, reading, asked: as in `run_volume`.

    Yields:
        (volume, "done", "already done" or an error message).

    Raises:
        DataError: the table names a volume that is not there, or two of one stem.
    """
    files = _named_files(folder, table)
    for name, path in files.items():
        try:
            worked = run_volume(
                path, table[name], out / stem_of(path), model, settings=settings, reading=reading, asked=asked
            )
            yield name, "done" if worked else "already done"
        except (ZimError, OSError) as error:
            yield name, str(error)


def _named_files(folder: Path, table: Mapping[str, Sequence[PromptText]]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of volumes, found {'a file' if folder.exists() else 'nothing'}")
    there = sorted(path for path in folder.iterdir() if path.is_dir() or path.name.lower().endswith(SUFFIXES))
    by_name: dict[str, list[Path]] = {}
    for path in there:
        for name in {path.name, stem_of(path)}:
            by_name.setdefault(name, []).append(path)
    found: dict[str, Path] = {}
    for name in table:
        matches = by_name.get(name, [])
        if len(matches) != 1:
            raise DataError(f"{folder}: expected one volume called {name!r}, found {len(matches)}")
        found[name] = matches[0]
    stems = [stem_of(path) for path in found.values()]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DataError(f"{folder}: expected volumes of different names, got {twice!r} twice")
    return found


def _previous(path: Path | None, volume: Volume, groups: Mapping[str, Any]) -> NDArray[np.float32] | None:
    if path is None:
        return None
    if len(groups) > 1:
        raise PromptError(f"--mask: expected one label beside it, got {', '.join(groups)}")
    mask = load_volume(path)
    if not mask.geometry.same_grid(volume.geometry):
        raise DataError(f"{path}: expected the grid of {volume.source}, got {mask.geometry.shape}")
    return np.clip(mask.voxels, 0, 1)


def _identity(
    path: Path,
    texts: Sequence[PromptText],
    model: Model,
    settings: Settings,
    reading: Reading,
    previous: Path | None,
) -> dict[str, Any]:
    """What a result depends on, as plain values."""
    return {
        "volume": _file_fingerprint(path),
        "mask": None if previous is None else _file_fingerprint(previous),
        "prompts": json.loads(json.dumps([asdict(text) for text in texts])),
        "model": model.identity,
        "settings": asdict(settings),
        "reading": asdict(reading),
    }


def _file_fingerprint(path: Path) -> str:
    """sha256 of a file's bytes, or of the names and sizes in a folder."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(item for item in path.iterdir() if item.is_file()):
            digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
        return digest.hexdigest()
    if not path.is_file():
        raise DataError(f"{path}: expected a volume, found nothing")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_done(out: Path, identity: Mapping[str, Any]) -> bool:
    report = out / REPORT
    if not report.is_file():
        return False
    try:
        return bool(json.loads(report.read_text(encoding="utf-8")).get("identity") == identity)
    except (OSError, ValueError, AttributeError):
        return False


def settings_with(settings: Settings, **changes: Any) -> Settings:
    """Settings with the changes that are not None."""
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})
