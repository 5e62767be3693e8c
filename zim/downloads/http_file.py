"""One file over HTTP: continued where it stopped, checked by size and sha256, whole or absent under its name."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from zim.errors import DataError

CHUNK = 1 << 20
TIMEOUT_S = 60.0
ATTEMPTS = 5
"""Connections that may break in a row without a byte gained before the download gives up."""

_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def fetch(url: str, path: str | Path, *, sha256: str, size: int, wait: Callable[[float], None] = time.sleep) -> Path:
    """Download a file, or find that it is there already.

    What has arrived waits in `path` + ".part"; a later call goes on from there.

    Args:
        url: its address.
        path: where it goes; folders are made.
        sha256: what the whole file must have.
        size: its bytes.
        wait: called with the seconds to pause before a broken connection is tried again.

    Returns:
        `path`.

    Raises:
        DataError: the server has no such file, is out of reach, or what came is not what was published.
        OSError: the disk is full, or the folder cannot be written.
    """
    target = Path(path)
    if target.is_file() and target.stat().st_size == size and sha256_of(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _fill(url, part, size, wait)
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise DataError(f"{url}: expected sha256 {sha256}, got {found}; what came has been removed, try again")
    os.replace(part, target)
    return target


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fill(url: str, part: Path, size: int, wait: Callable[[float], None]) -> None:
    """Bring `part` to `size` bytes, over as many connections as it takes."""
    failures = 0
    with tqdm(total=size, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar:
        while (have := _bytes_of(part)) < size:
            bar.n = have
            try:
                _receive(url, part, have, size, bar)
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                error.close()  # it is a response too, and holds the connection
                if error.code == 416:  # it will not go on from there
                    part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    raise DataError(f"{url}: expected a file, got {error.code} {error.reason}") from error
                reason = f"the server answered {error.code} {error.reason}"
            except _BROKEN as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            failures = 0 if _bytes_of(part) > have else failures + 1
            if failures >= ATTEMPTS:
                raise DataError(
                    f"{url}: {reason}; {_bytes_of(part)} of {size} bytes are kept in {part}, run it again to go on"
                )
            if failures:
                wait(2.0 ** (failures - 1))
        bar.n = size
        bar.refresh()
    if _bytes_of(part) > size:
        part.unlink()
        raise DataError(f"{url}: expected {size} bytes, got more; what came has been removed, try again")


def _receive(url: str, part: Path, have: int, size: int, bar: Any) -> None:
    """One connection: append from byte `have` on, or write anew where the server cannot go on."""
    headers = {"User-Agent": "zim-matting", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as response:
        start = _start_of(response) if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        if start not in (0, have) or (length is not None and start + int(length) != size):
            raise DataError(
                f"{url}: expected {size} bytes, the server offers "
                f"{start + int(length or 0)}{f' from byte {start} on' if start else ''}"
            )
        with part.open("ab" if start else "wb") as stream:
            bar.n = start
            while chunk := response.read1(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))


def _start_of(response: Any) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _bytes_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
