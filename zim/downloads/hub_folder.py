"""A folder of the Hugging Face hub: its client resumes and renames, this checks size and sha256 afterwards."""

import re
from pathlib import Path

from zim.downloads.catalogue import HubFolder
from zim.downloads.http_file import sha256_of
from zim.errors import DataError


def fetch_folder(source: HubFolder, out: str | Path, *, endpoint: str | None = None) -> Path:
    """Download the files of a folder to `out`/`source.folder`.

    Args:
        source: the repository and its files.
        out: the folder to put it in.
        endpoint: the hub's address; None takes huggingface_hub's (environment variable HF_ENDPOINT).

    Returns:
        The folder.

    Raises:
        DataError: the hub is out of reach, has no such file, or what came is not what it published.
        OSError: the folder cannot be written.
    """
    import huggingface_hub

    for name in source.files:
        filename = f"{source.folder}/{name}"
        url = huggingface_hub.hf_hub_url(
            source.repository, filename, revision=source.revision, endpoint=endpoint
        )
        try:
            published = huggingface_hub.get_hf_file_metadata(url, endpoint=endpoint)
            path = Path(
                huggingface_hub.hf_hub_download(
                    source.repository, filename, revision=source.revision, local_dir=out, endpoint=endpoint
                )
            )
        except OSError as error:
            if error.errno is not None:  # the disk's, not the network's
                raise
            raise _unavailable(url, error) from error
        except Exception as error:  # the hub's client lets its HTTP library's exceptions through
            raise _unavailable(url, error) from error
        _check(path, url, published.size, published.etag)
    return Path(out) / source.folder


def _check(path: Path, url: str, size: int | None, etag: str | None) -> None:
    """Compare a file with what the hub publishes; large files have their sha256 as etag. A wrong one is removed."""
    found_size = path.stat().st_size
    wrong = f"{size} bytes, got {found_size}" if size is not None and size != found_size else ""
    if not wrong and etag is not None and re.fullmatch(r"[0-9a-f]{64}", etag):
        found = sha256_of(path)
        wrong = f"sha256 {etag}, got {found}" if found != etag else ""
    if wrong:
        path.unlink()
        raise DataError(f"{url}: expected {wrong}; what came has been removed, try again")


def _unavailable(url: str, error: Exception) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return DataError(f"{url}: expected a file on the hub, got none ({reason}); run it again to go on")
