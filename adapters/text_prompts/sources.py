"""Where the weights of a detector are: a folder as it is, or a model of the Hugging Face hub in the hub's cache."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zim.errors import CheckpointError

PINNED = {
    "IDEA-Research/grounding-dino-tiny": "a2bb814dd30d776dcf7e30523b00659f4f141c71",
    "IDEA-Research/grounding-dino-base": "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
    "google/owlv2-base-patch16-ensemble": "cfd3195ba4ea9592eec887ded089f4c08eff231d",
}
"""Hub name -> commit that is taken when no other is named; of other models it is `main`."""

WANTED = ("*.json", "*.txt", "*.safetensors")
UNWANTED = ("*/*",)
"""Weights in pickles are never downloaded, nor what lies in sub-folders (exports to other runtimes)."""

_log = logging.getLogger("zim")


def locate(source: str) -> Path:
    """The folder of a source; what is on the hub is downloaded once, into the hub's own cache.

    The hub's variables count: HF_HUB_OFFLINE=1 asks the cache only, HF_HOME and HF_HUB_CACHE say where it is,
    HF_ENDPOINT names another hub.

    Args:
        source: a folder with config.json, or "OWNER/MODEL" or "OWNER/MODEL@REVISION" on the hub.

    Raises:
        CheckpointError: it is neither, or on the hub and neither in the cache nor within reach.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _with_model(folder, source)
    match = re.fullmatch(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", source)
    if match is None:
        raise CheckpointError(
            f"text detector: expected a folder with a model, or a hub name OWNER/MODEL[@REVISION], got {source!r}"
        )
    repository = match["repository"]
    return _downloaded(repository, match["revision"] or PINNED.get(repository, "main"))


def _downloaded(repository: str, revision: str) -> Path:
    """The snapshot of a hub model: from the cache when it is whole there, else from the hub."""
    import huggingface_hub
    from huggingface_hub import constants

    def snapshot(local_files_only: bool) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(WANTED),
                ignore_patterns=list(UNWANTED),
                local_files_only=local_files_only,
            )
        )

    try:
        if re.fullmatch("[0-9a-f]{40}", revision):  # a commit never changes: no need to ask
            cached = snapshot(local_files_only=True)
            if is_whole(cached):
                return cached
    except OSError:
        _log.info("%s at %s is not in the cache yet", repository, revision)
    try:
        with _quiet("huggingface_hub"):
            found = snapshot(local_files_only=False)
    except Exception as error:  # the hub's client lets its HTTP library's exceptions through
        if isinstance(error, OSError) and error.errno is not None:
            raise CheckpointError(f"{repository}: cannot be kept in {constants.HF_HUB_CACHE}: {error}") from error
        raise CheckpointError(_unavailable(repository, revision, error)) from error
    if not is_whole(found):  # the hub is out of reach and the cache has a part, or nobody published the right files
        raise CheckpointError(_unavailable(repository, revision, f"no config.json or no whole .safetensors in {found}"))
    return found


def _unavailable(repository: str, revision: str, error: Exception | str) -> str:
    """What is missing, why, where was looked, and the two ways out."""
    from huggingface_hub import constants

    cause = (error.__cause__ or error) if isinstance(error, Exception) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    reason = lines[0] if lines else type(cause).__name__
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else reason.rstrip(".")
    return (
        f"text detector: the weights of {repository} at revision {revision} are not on this machine: looked in the "
        f"folder {repository} and in {constants.HF_HUB_CACHE}, and the hub gave none ({reason}). "
        f"With a connection run: hf download {repository} --revision {revision}; "
        "or give the folder of a copy: NAME:FOLDER"
    )


def _with_model(folder: Path, source: str) -> Path:
    if is_whole(folder):
        return folder
    have = sorted(path.name for path in folder.iterdir())[:8]
    raise CheckpointError(
        f"text detector: expected config.json and .safetensors weights in {folder} (for {source!r}), "
        f"got {', '.join(have) or 'an empty folder'}; weights in pickles (.bin, .pth) are not read"
    )


def is_whole(folder: Path) -> bool:
    """Configuration and weights are there; of weights in several files, that each named by the index is."""
    named = {path.name for path in folder.glob("*.safetensors")}
    needed: set[str] = set()
    try:
        for index in folder.glob("*.safetensors.index.json"):
            needed.update(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    return (folder / "config.json").is_file() and bool(named) and needed <= named


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's retries off the screen; the error at their end says what there is to say."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
