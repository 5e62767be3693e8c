"""DIS5K: 5,470 photographs with one very finely outlined object each."""

from .paired import PairedReader
from .reader import TrainingUse

_TEST = "a published test split"


class Dis5k(PairedReader):
    """DIS5K: finely outlined objects; the mattes are binary (tag `binary`).

    Layout, as published: `DIS-TR/im/*.jpg` + `DIS-TR/gt/*.png` (0 or 255), and the same below `DIS-VD` and `DIS-TE1` to
    `DIS-TE4`.
    """

    name = "dis5k"
    LAYOUT = "DIS-TR/im + DIS-TR/gt, and so on for DIS-VD and DIS-TE1 to DIS-TE4"
    SPLITS = {
        "train": TrainingUse(True, "the published training split; its labels have no transparency"),
        "validation": TrainingUse(False, "the published validation split, on which results are reported"),
        "test1": TrainingUse(False, _TEST),
        "test2": TrainingUse(False, _TEST),
        "test3": TrainingUse(False, _TEST),
        "test4": TrainingUse(False, _TEST),
    }
    FOLDERS = {
        "train": [("DIS-TR/im", "DIS-TR/gt")],
        "validation": [("DIS-VD/im", "DIS-VD/gt")],
        "test1": [("DIS-TE1/im", "DIS-TE1/gt")],
        "test2": [("DIS-TE2/im", "DIS-TE2/gt")],
        "test3": [("DIS-TE3/im", "DIS-TE3/gt")],
        "test4": [("DIS-TE4/im", "DIS-TE4/gt")],
    }
    TAG = "binary"
