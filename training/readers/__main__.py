"""`python -m training.readers NAME ROOT`: what is in a copy of a data set, and whether all of it can be read."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from zim.errors import ZimError
from zim.evaluation.samples import evenly_spaced

from .quarantine import Quarantine
from .reader import Reader
from .records import ItemError
from .registry import DATASETS, open_dataset

SIZES = 200
"""Number of photographs whose headers are read for the summary."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m training.readers", description=__doc__)
    made.add_argument("name", choices=list(DATASETS), help="the data set")
    made.add_argument("root", type=Path, help="its folder; one tar file will do for sa1b")
    made.add_argument("--split", help="only this split")
    made.add_argument("--check", action="store_true", help="read every photograph and label")
    made.add_argument("--quarantine", type=Path, metavar="FILE", help="append unreadable items to this .jsonl file")
    return made


def summary(reader: Reader[Any]) -> str:
    """Count, splits, whether they may be trained on, and sizes."""
    lines = [f"{reader.name}: {len(reader)} items"]
    for split, count in reader.counts.items():
        use = reader.SPLITS[split]
        lines.append(f"  {split}: {count}, {'for training' if use.allowed else 'NOT for training'} ({use.reason})")
    absent = [split for split in reader.SPLITS if split not in reader.counts and reader.split is None]
    if absent:
        lines.append(f"  not there: {', '.join(absent)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in reader.notes), f"  {_sizes(reader)}"])


def _sizes(reader: Reader[Any]) -> str:
    sides, unreadable = [], 0
    for index in evenly_spaced(range(len(reader)), SIZES):
        try:
            sides.append(reader[index].size_hw())
        except (ItemError, OSError):
            unreadable += 1
    told = f"{len(sides)} of {len(reader)} photographs looked at"
    if unreadable:
        told += f", {unreadable} more have no readable header"
    if not sides:
        return f"size: unknown; {told}"
    ordered = sorted(sides, key=lambda side: side[0] * side[1])
    small, middle, large = (f"{w}x{h}" for h, w in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))
    return f"size: {small} to {large}, median {middle} ({told})"


def check(reader: Reader[Any], quarantine: Quarantine) -> str:
    """Load every item, with a progress bar on a terminal; what was read, in a line."""
    masks = photos = 0
    soft: list[float] = []
    for index in tqdm(range(len(reader)), desc=reader.name, unit="item", disable=None):
        loaded = quarantine.load(reader, index)
        if loaded is None:
            continue
        photos += 1
        target = loaded[1][1]
        if isinstance(target, np.ndarray):
            soft.append(float(((target > 0.02) & (target < 0.98)).mean()))
        else:
            masks += len(target)
    if soft:
        return f"  read {photos} mattes; share of soft pixels {np.mean(soft):.1%}"
    return f"  read {photos} photographs with {masks} masks"


def main(arguments: list[str] | None = None) -> int:
    """0 when all is well, 1 when an item is quarantined or the layout has a fault."""
    options = parser().parse_args(arguments)
    try:
        reader = open_dataset(options.name, options.root, options.split)
        print(summary(reader))
        if not options.check:
            return 0
        quarantine = Quarantine(options.quarantine)
        print(check(reader, quarantine))
    except (ZimError, OSError) as error:
        print(f"{options.root}: error: {error}", file=sys.stderr)
        return 1
    print(f"  {quarantine.summary()}")
    for item in quarantine.items:
        print(f"  {item.key}: {item.file}: {item.reason}")
    return 1 if len(quarantine) else 0


if __name__ == "__main__":
    sys.exit(main())
