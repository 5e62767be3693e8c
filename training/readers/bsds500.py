"""BSDS500: 500 photographs, each segmented by about five people."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from zim.errors import DataError

from ..data.segments import _bsds, _read_bsds_label
from .label_folder import LabelledFile
from .masks import LabelMasks
from .reader import Reader, TrainingUse
from .records import SegmentRecord, blaming

_CONTOURS = "its split is one of contour detection, on which nothing is reported here"


class Bsds500(Reader[SegmentRecord]):
    """BSDS500: one mask a segment of each annotator.

    Layout: that of `training.data.segments`, which finds and reads the files: `images/{train,val,test}/NAME.jpg` +
    `groundTruth/{train,val,test}/NAME.mat` at any depth; the `.mat` holds one map of segment ids an annotator.

    Args:
        root: the folder.
        split: train, val or test.
        min_area: smaller segments are left out, in pixels.
    """

    name = "bsds500"
    LAYOUT = "images/SPLIT/NAME.jpg + groundTruth/SPLIT/NAME.mat"
    SPLITS = {
        "train": TrainingUse(True, "the published training split"),
        "val": TrainingUse(True, _CONTOURS),
        "test": TrainingUse(True, _CONTOURS),
    }

    def __init__(self, root: str | Path, split: str | None = None, *, min_area: int = 1) -> None:
        super().__init__(root, split)
        self._min_area = min_area

    def _scan(self, split: str) -> Sequence[LabelledFile] | None:
        found = [
            LabelledFile(f"{split}/{entry.label.stem}", entry.image, entry.label)
            for entry in _bsds(self.root)
            if entry.label.parent.name == split
        ]
        return found or None

    def _record(self, split: str, entry: LabelledFile) -> SegmentRecord:
        return SegmentRecord(
            key=entry.key,
            image=entry.image,
            training_allowed=self.SPLITS[split].allowed,
            masks=partial(_segments, entry.label, min_area=self._min_area),
            masks_name=str(entry.label),
        )


def _segments(path: Path, *, min_area: int) -> LabelMasks:
    with blaming(path):
        try:
            labels = _read_bsds_label(path)
        except DataError as error:
            raise DataError(str(error).replace(f"segments: {path} ", "")) from error
    return LabelMasks(labels, min_area=min_area)
