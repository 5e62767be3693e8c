"""`zim_export.json`: what an exported folder is, where it comes from, and the hashes of its files."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zim.errors import CheckpointError, ConfigError
from zim.files import write_json_atomic
from zim.modeling.config import ZimConfig
from zim.onnx.file_format import RECORD_FILE

FORMAT, FORMAT_VERSION = "zim-onnx", "1"


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """`files` has for each file its sha256; `max_alpha_difference` is what the export measured against torch."""

    name: str
    license: str
    config: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]
    max_alpha_difference: float | None = None

    @property
    def zim_config(self) -> ZimConfig:
        """The configuration of the model that was exported."""
        return ZimConfig.from_dict(self.config)


def hashes_of(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder but the record itself, by name."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != RECORD_FILE:
            with file.open("rb") as stream:
                found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def write_record(folder: Path, record: ExportRecord) -> None:
    """Write a record into its folder, atomically."""
    write_json_atomic(
        folder / RECORD_FILE, {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(record)}
    )


def read_record(folder: Path) -> ExportRecord | None:
    """The record of a folder, or None for a foreign one.

    Raises:
        CheckpointError: the record is unreadable, or a file that it lists is missing or altered.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = (values.pop("format", None), values.pop("format_version", None))
        record = ExportRecord(**values) if found == (FORMAT, FORMAT_VERSION) else None
        if record is not None:
            _ = record.zim_config
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"{path}: expected a record of `zim export`, cannot read it ({error})") from error
    if record is None:
        raise CheckpointError(f"{path}: expected {FORMAT} {FORMAT_VERSION}, got {found[0]} {found[1]}")
    present = hashes_of(folder)
    for name, sha256 in record.files.items():
        if present.get(name) != sha256:
            raise CheckpointError(
                f"{folder / name}: damaged or altered: expected sha256 {sha256}, got {present.get(name, 'no file')}"
            )
    return record
