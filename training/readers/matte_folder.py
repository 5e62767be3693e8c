"""Photographs and mattes of one's own."""

from zim.evaluation.datasets import FolderDataset
from zim.evaluation.samples import MattingSample

from .micromat3k import matte_record
from .reader import Reader, TrainingUse
from .records import MatteRecord


class MatteFolder(Reader[MatteRecord]):
    """All pairs of photograph and matte below a folder.

    Layout: that of `zim.evaluation.datasets.FolderDataset`, which finds the files: `image/` + `alpha/` (or another of
    the usual names) at any depth, or `NAME.jpg` + `NAME.png` side by side; a folder called `fine` or `coarse` gives
    the tag.
    """

    name = "matte_folder"
    LAYOUT = "image/ + alpha/, or NAME.jpg + NAME.png"
    SPLITS = {"all": TrainingUse(True, "your own folder: keep what you measure on out of it")}

    def _scan(self, split: str) -> list[MattingSample]:
        return FolderDataset(self.root).samples

    def _record(self, split: str, entry: MattingSample) -> MatteRecord:
        return matte_record(entry, training_allowed=self.SPLITS[split].allowed)
