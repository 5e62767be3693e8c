"""A conversion as workers get it, and what makes two outputs of it comparable."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zim.errors import ConfigError, DataError
from zim.files import write_json_atomic

from ..label_converter.converter import load_converter
from .config import ConversionConfig
from .shards import FORMAT


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a worker needs; small, and the same for all workers.

    source_root: what names in the quarantine are relative to. output: folder of the shards. model: weights of the
    converter, of this fingerprint and side. device: as for `load_converter`.
    """

    source_root: Path
    output: Path
    model: Path
    fingerprint: str
    side: int
    config: ConversionConfig
    device: str = "auto"

    @property
    def work(self) -> Path:
        """Folder for what is not part of the result: progress, attempts, checksums."""
        return self.output / ".work"

    def identity(self) -> dict[str, Any]:
        """What must be the same for all shards of an output."""
        converter = {"fingerprint": self.fingerprint, "side": self.side}
        return {"format": FORMAT, "converter": converter, "config": self.config.to_dict()}

    def digest(self) -> str:
        """The identity as a short text, which each shard carries."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def make_job(source_root: Path, output: Path, model: Path, config: ConversionConfig, device: str = "auto") -> Job:
    """A job with the fingerprint of the weights.

    Raises:
        CheckpointError: the weights cannot be read, or are no label converter.
        ConfigError: the output lies in the input.
    """
    if source_root.is_dir() and output.resolve().is_relative_to(source_root.resolve()):
        raise ConfigError(f"--output: expected a folder outside of --input {source_root}, got {output}")
    converter = load_converter(model, "cpu")
    return Job(
        source_root=source_root,
        output=output,
        model=model,
        fingerprint=converter.fingerprint,
        side=converter.side,
        config=config,
        device=device,
    )


def claim_output(job: Job) -> None:
    """Write `conversion.json` into a new output, or compare with the one that is there.

    Raises:
        ConfigError: the output was begun with another converter or configuration; says what differs.
        DataError: `conversion.json` cannot be read, or there are shards without it.
    """
    path = job.output / "conversion.json"
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            differences = list(_differences("", stored, job.identity()))
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path}: expected JSON of a conversion ({error})") from error
        if differences:
            raise ConfigError(f"{job.output}: begun with other settings, {'; '.join(differences)}; take a new --output")
        return
    if job.output.is_dir() and any(job.output.glob("*.tar")):
        raise DataError(f"{job.output}: expected an empty folder or one with conversion.json, found shards without it")
    write_json_atomic(path, job.identity())


def _differences(name: str, stored: Any, given: Any) -> list[str]:
    if isinstance(given, dict) and isinstance(stored, dict):
        found: list[str] = []
        for key in [*given, *(key for key in stored if key not in given)]:
            found += _differences(f"{name}.{key}".lstrip("."), stored.get(key), given.get(key))
        return found
    return [] if stored == given else [f"{name}: {stored!r} there, {given!r} given"]
