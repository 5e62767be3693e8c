"""The data sets by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zim.errors import ConfigError

from .ade20k import Ade20k
from .aim500 import Aim500
from .am2k import Am2k
from .bsds500 import Bsds500
from .coco_panoptic import CocoPanoptic
from .coift import Coift
from .dis5k import Dis5k
from .him2k import Him2k
from .hrsod import Hrsod
from .label_folder import LabelFolder
from .matte_folder import MatteFolder
from .micromat3k import MicroMat3k
from .p3m10k import P3m10k
from .reader import Reader, require_training
from .refmatte import RefMatte
from .rwp636 import Rwp636
from .sa1b import Sa1b
from .thinobject5k import ThinObject5k

_MATTES: tuple[type[Reader[Any]], ...] = (
    Aim500,
    Am2k,
    P3m10k,
    Rwp636,
    Him2k,
    RefMatte,
    MicroMat3k,
    Dis5k,
    ThinObject5k,
    Coift,
    Hrsod,
    MatteFolder,
)
_SEGMENTS: tuple[type[Reader[Any]], ...] = (Ade20k, Sa1b, Bsds500, CocoPanoptic, LabelFolder)

DATASETS: Mapping[str, type[Reader[Any]]] = {reader.name: reader for reader in (*_MATTES, *_SEGMENTS)}
"""Name -> reader; those of mattes first."""


def open_dataset(
    name: str, root: str | Path, split: str | None = None, *, for_training: bool = False, **options: Any
) -> Reader[Any]:
    """Open a data set.

    Args:
        name: one of `DATASETS`.
        root: its folder (SA-1B: or one tar file).
        split: one of the reader's `SPLITS`; None takes all that are there.
        for_training: refuse what must not be trained on.
        options: what the reader takes besides, for example `pieces`.

    Raises:
        ConfigError: there is no data set, or no split, of that name.
        DataError: the layout is not there or has a fault, or `for_training` and there is a test split in it.
    """
    if name not in DATASETS:
        raise ConfigError(f"name: expected one of {', '.join(DATASETS)}, got {name!r}")
    reader = DATASETS[name](root, split, **options)
    return require_training(reader) if for_training else reader
