"""Scenes as .zip: looked through before anything is unpacked."""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from zim.errors import DataError

from .errors import LimitError
from .limits import MAX_UPLOAD_BYTES, short

SUFFIXES = (".json", ".txt", ".bin", ".npy", ".log", ".ply", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""What scenes are made of; other files stay in the archive."""
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LONGEST_NAME = 200
_DEEPEST = 8
_BYTES_AT_ONCE = 1 << 20


class ArchiveLimits(NamedTuple):
    """files: in the archive. unpacked: bytes of all together."""

    files: int = 500
    unpacked: int = 200 * 2**20


def unpack_scene(archive: str | Path | None, folder: Path, limits: ArchiveLimits | None = None) -> Path:
    """Unpack a scene into a folder.

    Returns:
        The scene's own folder: `folder`, or the one in it that holds everything.

    Raises:
        DataError: no .zip, a damaged or encrypted one, or names that lead out of the folder.
        LimitError: larger than it may be, packed or unpacked.
    """
    limits = limits or ArchiveLimits()
    if not archive or not isinstance(archive, str | Path) or not Path(archive).is_file():
        raise DataError(f"scene: expected a .zip file, got {short(archive) if archive else 'none'}")
    file = Path(archive)
    size = file.stat().st_size
    if size > MAX_UPLOAD_BYTES:
        raise LimitError(f"scene: expected at most {MAX_UPLOAD_BYTES >> 20} MB, got {size / 2**20:.1f} MB")
    try:
        with zipfile.ZipFile(file) as opened:
            wanted = _checked(opened.infolist(), limits)
            left = limits.unpacked
            for info in wanted:
                left -= _unpack(opened, info, folder, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, DataError | LimitError):
            raise
        raise DataError(f"scene: expected a .zip file, and {file.name} is none or is damaged") from error
    return _inner(folder)


def _checked(listed: list[zipfile.ZipInfo], limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    """The files to unpack; nothing has been written when this raises."""
    if len(listed) > limits.files:
        raise LimitError(f"scene: expected at most {limits.files} files, got {len(listed)}")
    wanted, seen = [], set[str]()
    for info in listed:
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"scene: expected files and folders only, got a link or device: {short(info.filename)}")
        _check_name(info.filename)
        name = PurePosixPath(info.filename)
        if info.is_dir() or name.parts[0] == "__MACOSX" or name.name.startswith("."):
            continue
        if name.suffix.lower() not in SUFFIXES:
            continue
        if info.flag_bits & 1:
            raise DataError("scene: expected a .zip without a password")
        if info.compress_type not in PACKINGS:
            raise DataError(f"scene: expected plain zip packing, got another for {short(info.filename)}")
        if str(name).lower() in seen:
            raise DataError(f"scene: expected every file once, got {short(info.filename)} twice")
        seen.add(str(name).lower())
        wanted.append(info)
    total = sum(info.file_size for info in wanted)
    if total > limits.unpacked:
        raise LimitError(f"scene: expected at most {limits.unpacked >> 20} MB unpacked, got {total / 2**20:.0f} MB")
    if not wanted:
        raise DataError(f"scene: found no pictures and cameras in the .zip; expected files such as {SUFFIXES[:5]}")
    return wanted


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    outside = not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]
    if outside or len(name) > _LONGEST_NAME or len(parts) > _DEEPEST:
        raise DataError(f"scene: expected names of files inside the scene's folder, got {short(name)}")


def _unpack(opened: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, most: int) -> int:
    """Write one file; counts what really comes, whatever the archive says of it."""
    target = folder / info.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(info) as source, target.open("xb") as sink:
        while chunk := source.read(_BYTES_AT_ONCE):
            written += len(chunk)
            if written > most:
                raise LimitError("scene: there is more in the .zip than its list says")
            sink.write(chunk)
    return written


def _inner(folder: Path) -> Path:
    """Down to where something lies: archives often hold one folder."""
    while True:
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]
