"""What is in an output: checked shard by shard, and listed in `manifest.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zim import __version__
from zim.errors import DataError
from zim.files import write_json_atomic

from .config import RULES
from .job import Job
from .shards import ShardSummary, read_summary
from .sources import Unit
from .worker import write_record

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A shard that is there: its file, size in bytes, sha256 (hex) and summary."""

    path: Path
    size: int
    sha256: str
    summary: ShardSummary

    def row(self) -> dict[str, Any]:
        """As the manifest lists it."""
        summary = self.summary
        return {
            "shard": self.path.name,
            "source": summary.source,
            "sha256": self.sha256,
            "bytes": self.size,
            "images_read": summary.images_read,
            "images": summary.images,
            "labels_read": summary.labels_read,
            "labels": summary.labels,
            "filtered": {rule: summary.filtered.get(rule, 0) for rule in RULES},
            "quarantined": len(summary.quarantined),
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a conversion knows when it ends.

    done: the shards. planned: how many there should be. failed: unit -> why there is no shard.
    unreadable: source -> why it could not be opened.
    """

    done: Sequence[ShardRecord]
    planned: int
    failed: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everything that was planned is there."""
        return len(self.done) == self.planned and not self.failed and not self.unreadable


def existing_shard(job: Job, unit: Unit) -> ShardRecord | None:
    """The shard of a unit, when it is there and whole.

    Its checksum is taken from the record beside it, or computed when there is none.

    Raises:
        DataError: the shard comes from another conversion, or its source has changed since.
    """
    path = job.output / f"{unit.name}.tar"
    if not path.is_file():
        return None
    record = _stored_record(job, path)
    if record is None:
        try:
            record = write_record(job, path, read_summary(path))
        except DataError:
            return None  # not whole: converted again
    found = ShardRecord(
        path=path, size=record["bytes"], sha256=record["sha256"], summary=ShardSummary.from_dict(record["summary"])
    )
    if found.summary.identity != job.digest():
        raise DataError(f"{path}: expected a shard of this converter and configuration, got another's")
    if found.summary.keys != unit.digest:
        raise DataError(f"{path}: {unit.source.path} has changed since; restore it, or take a new --output")
    return found


def _stored_record(job: Job, path: Path) -> dict[str, Any] | None:
    """What was noted when the shard was written; None when there is no note, or the file is another by now."""
    try:
        text = (job.work / "records" / f"{path.stem}.json").read_text(encoding="utf-8")
        record: dict[str, Any] = json.loads(text)
        return record if record["bytes"] == path.stat().st_size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_manifest(job: Job, outcome: Outcome) -> Path:
    """Write `manifest.json`: the same conversion gives the same bytes."""
    done = sorted(outcome.done, key=lambda record: record.path.name)
    path = job.output / MANIFEST
    quarantined = sorted({item for record in done for item in record.summary.quarantined})
    value = {
        **job.identity(),
        "zim_version": __version__,
        "complete": outcome.complete,
        "shards_planned": outcome.planned,
        "totals": totals(done),
        "unreadable_sources": dict(sorted(outcome.unreadable.items())),
        "failed_shards": dict(sorted(outcome.failed.items())),
        "quarantined": [item._asdict() for item in quarantined],
        "shards": [record.row() for record in done],
    }
    write_json_atomic(path, value)
    return path


def totals(done: Sequence[ShardRecord]) -> dict[str, Any]:
    """Sums over shards."""
    rows = [record.row() for record in done]
    names = ("bytes", "images_read", "images", "labels_read", "labels", "quarantined")
    filtered = {rule: sum(row["filtered"][rule] for row in rows) for rule in RULES}
    return {**{name: sum(row[name] for row in rows) for name in names}, "filtered": filtered}
