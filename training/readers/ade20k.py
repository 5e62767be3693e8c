"""ADE20K (scene parsing, 150 classes): masks of coarse objects, for Selective Transformation Learning."""

from functools import partial
from pathlib import Path

from .ade20k_classes import COARSE_CLASSES, LEFT_OUT
from .label_folder import label_masks
from .paired import Pair, paired_files
from .reader import Reader, TrainingUse
from .records import SegmentRecord

CLASS_COUNT = len(COARSE_CLASSES) + len(LEFT_OUT)
_FOLDERS = {"train": "training", "validation": "validation"}


class Ade20k(Reader[SegmentRecord]):
    """ADE20K scene parsing: one mask a coarse class (`COARSE_CLASSES`) of a photograph, named by it.

    Layout, as published in `ADEChallengeData2016.zip`: `images/training/ADE_train_00000001.jpg` +
    `annotations/training/ADE_train_00000001.png` (8-bit grey, 0 other, 1 to 150 as in `objectInfo150.txt`), and the
    same for `validation`. A photograph without a coarse object has an empty set of masks.

    Args:
        root: the unpacked folder.
        split: train or validation.
        pieces: one mask a connected piece, rather than one a class: separate objects, where they do not touch.
        min_area: smaller masks are left out, in pixels.
        all_classes: masks of all 150 classes.
    """

    name = "ade20k"
    LAYOUT = "images/training + annotations/training"
    SPLITS = {
        "train": TrainingUse(True, "the published training split"),
        "validation": TrainingUse(False, "the published validation split, on which results are reported"),
    }

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        pieces: bool = False,
        min_area: int = 1,
        all_classes: bool = False,
    ) -> None:
        super().__init__(root, split)
        wanted = COARSE_CLASSES | LEFT_OUT if all_classes else COARSE_CLASSES
        self._names = {number: row.name for number, row in wanted.items()}
        self._pieces, self._min_area = pieces, min_area

    def _scan(self, split: str) -> list[Pair] | None:
        images, labels = (self.root / part / _FOLDERS[split] for part in ("images", "annotations"))
        return paired_files(images, labels) if images.is_dir() else None

    def _record(self, split: str, entry: Pair) -> SegmentRecord:
        return SegmentRecord(
            key=f"{split}/{entry.stem}",
            image=entry.image,
            training_allowed=self.SPLITS[split].allowed,
            masks=partial(
                label_masks,
                entry.alpha,
                names=self._names,
                highest=CLASS_COUNT,
                pieces=self._pieces,
                min_area=self._min_area,
            ),
            masks_name=str(entry.alpha),
        )
