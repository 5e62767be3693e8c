"""Readers of public data sets: photographs with mattes, and photographs with segmentation masks.

`open_dataset(name, root, split=None)` opens any of `DATASETS`; `Quarantine` keeps what turns out to be corrupt from
ending a run. `python -m training.readers NAME ROOT --check` reads a whole copy of a data set.
"""

from .quarantine import Quarantine, QuarantinedItem, read_all
from .reader import Reader, TrainingUse, require_training
from .records import ItemError, MatteRecord, SegmentRecord
from .registry import DATASETS, open_dataset

__all__ = [
    "DATASETS",
    "ItemError",
    "MatteRecord",
    "Quarantine",
    "QuarantinedItem",
    "Reader",
    "SegmentRecord",
    "TrainingUse",
    "open_dataset",
    "read_all",
    "require_training",
]
