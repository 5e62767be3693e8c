"""Volumes that come in: uploads whose header is looked at before a voxel is read, and the made-up examples."""

import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from adapters.medical_volume.loading import load_shape, load_volume
from adapters.medical_volume.scenes import Kind, volume_scene
from adapters.medical_volume.volume import Volume
from zim.errors import DataError, ZimError

from .errors import LimitError
from .limits import MAX_UPLOAD_BYTES, short
from .outbox import Outbox, safe_name

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
MAX_VOXELS = 512 * 512 * 400
"""Of all time steps together: 0.4 GB while it is worked on."""
KEPT_VOXELS = 4 * MAX_VOXELS
"""Volumes of all people that stay in memory, one at least; others are read again when they are asked for."""


class Example(NamedTuple):
    """A synthetic volume (`adapters.medical_volume.scenes.volume_scene`)."""

    kind: Kind
    seed: int = 0
    shape: tuple[int, int, int] = (80, 80, 32)
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)


EXAMPLES = {
    "organs": Example("organs"),
    "bodies": Example("bodies", seed=6, shape=(144, 144, 24), spacing=(1.0, 1.0, 3.0)),
    "vessels": Example("vessels"),
    "shell": Example("shell"),
}

_made: dict[str, Path] = {}
_examples_box = Outbox()
_examples_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class VolumeFile:
    """A file that was checked. name: for people, with its suffix. step: of time, None where there is no time."""

    path: Path
    name: str
    step: int | None = None

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        ends = [end for end in SUFFIXES if self.name.lower().endswith(end)]
        return self.name[: -len(max(ends, key=len))] if ends else self.name


def check_volume(path: str | Path | None, name: str | None = None) -> tuple[VolumeFile, int]:
    """Look at size and header only.

    Returns:
        The file, and its number of time steps (1 where there is no time).

    Raises:
        LimitError: more than 20 MB, or more voxels than `MAX_VOXELS`.
        DataError: no file, another format, damaged, or one that points to another file.
    """
    if not isinstance(path, str | Path) or not path:
        raise DataError(f"volume: expected a file ({', '.join(SUFFIXES)}), got {short(path)}")
    file = VolumeFile(path=Path(path), name=name or Path(path).name)
    if not file.path.is_file():
        raise DataError(f"volume: expected a file ({', '.join(SUFFIXES)}), got nothing at {file.name}")
    if not file.name.lower().endswith(SUFFIXES):
        raise DataError(f"volume: expected a name that ends in {', '.join(SUFFIXES)}, got {short(file.name)}")
    size = file.path.stat().st_size
    if size > MAX_UPLOAD_BYTES:
        most = MAX_UPLOAD_BYTES >> 20
        raise LimitError(f"volume: expected at most {most} MB, got {size / 2**20:.1f} MB in {file.name}")
    try:
        shape = load_shape(file.path)
    except ZimError as error:
        raise _named(error, file) from error
    count = 1
    for side in shape:
        count *= side
    if count > MAX_VOXELS:
        promised = " x ".join(map(str, shape))
        raise LimitError(
            f"volume: expected at most 512 x 512 x 400 voxels ({MAX_VOXELS // 1_000_000} million), "
            f"{file.name} promises {promised}"
        )
    return file, shape[3] if len(shape) > 3 else 1


def at_step(file: VolumeFile, step: int | None, steps: int) -> VolumeFile:
    """The file at one of its time steps.

    Raises:
        DataError: a step that is not there, or none of several.
    """
    if steps <= 1:
        return file
    if step is None or not 0 <= step < steps:
        got = "none" if step is None else step
        raise DataError(f"time: expected a step from 0 to {steps - 1} of {file.name}, got {got}")
    return replace(file, step=step)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedFile:
    """A file that a person works on. steps: of time. box: holds a copy of an upload, and earlier answers."""

    file: VolumeFile
    steps: int
    box: Outbox


def taken(path: str | Path | None, name: str | None = None, *, copy: bool = True) -> OpenedFile:
    """A checked file; `copy` keeps one of the person's own, for uploads are swept away before a long session ends.

    Raises:
        ZimError: as `check_volume`.
    """
    file, steps = check_volume(path, name)
    box = Outbox()
    if copy:
        kept = box.path(f"volume{file.name[len(file.stem) :].lower()}")
        shutil.copyfile(file.path, kept)
        file = replace(file, path=kept)
    return OpenedFile(file=file, steps=steps, box=box)


class VolumeShelf:
    """Volumes that were read, shared by everyone, the longest unused given up first."""

    def __init__(self, most: int = KEPT_VOXELS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[VolumeFile, Volume] = OrderedDict()

    def volume(self, file: VolumeFile) -> Volume:
        """The file's voxels; those that are no numbers count as 0. One file at a time is read.

        Raises:
            DataError: a file that is not what its header promises.
        """
        with self._lock:
            found = self._kept.pop(file, None)
            if found is None:
                try:
                    found = load_volume(file.path, time_index=file.step, nan_as_zero=True)
                except ZimError as error:
                    raise _named(error, file) from error
                found = replace(found, source=file.name)
            self._kept[file] = found
            while len(self._kept) > 1 and sum(one.voxels.size for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
            return found

    def forget(self, file: VolumeFile | None) -> None:
        """Give up a volume that nobody needs any more."""
        with self._lock:
            if file is not None and file.path not in _made.values():
                self._kept.pop(file, None)


def example_volume(name: str) -> Path:
    """The file of an example, written at its first use.

    Raises:
        DataError: no example of that name.
    """
    if name not in EXAMPLES:
        raise DataError(f"example: expected one of {', '.join(EXAMPLES)}, got {short(name)}")
    with _examples_lock:
        if name not in _made or not _made[name].is_file():
            one = EXAMPLES[name]
            scene = volume_scene(one.kind, seed=one.seed, shape=one.shape, spacing=one.spacing)
            path = _examples_box.beside(safe_name(f"{name}.nii.gz"))
            scene.volume.save(path, scene.volume.voxels)
            _made[name] = path
        return _made[name]


def _named(error: ZimError, file: VolumeFile) -> DataError:
    """The same line with the file's name in place of where it lies on the server."""
    return DataError(str(error).replace(str(file.path), file.name))
