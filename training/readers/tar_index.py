"""Files inside an uncompressed tar file, read in place by their offset."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zim.errors import DataError

_BLOCK = 512


class TarMember(NamedTuple):
    """A file inside a tar file: `size` bytes from `offset` on."""

    shard: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.name}"

    def read(self) -> bytes:
        """The content; the tar file is opened for this read only, so members travel between processes.

        Raises:
            DataError: the tar file has become shorter than it was.
            OSError: it cannot be read.
        """
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise DataError(f"{self}: expected {self.size} bytes, got {len(data)}")
        return data


def tar_members(shard: Path) -> Iterator[TarMember]:
    """The regular files of a tar file, in its order; only headers are read.

    Raises:
        DataError: the file is no uncompressed tar file, or is cut off.
    """
    try:
        with tarfile.open(shard, "r:") as opened:
            for member in opened:
                if member.isfile():
                    yield TarMember(shard, member.name, member.offset_data, member.size)
            end = opened.offset
        with shard.open("rb") as file:
            file.seek(end)
            if file.read(_BLOCK) != bytes(_BLOCK):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError(f"no header and no end mark at byte {end}")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{shard}: expected a whole, uncompressed tar file ({error})") from error
