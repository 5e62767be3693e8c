"""AM-2K: 2,000 natural photographs of animals of 20 kinds."""

from .paired import PairedReader
from .reader import TrainingUse


class Am2k(PairedReader):
    """AM-2K: 1,800 photographs to train on, 200 to test on.

    Layout, as published: `train/original/m_0a6c2018.jpg`, `train/mask/m_0a6c2018.png` (the matte, 8 bit), and the same
    below `validation/`, with `trimap/` (not read). Folders that users generate (`fg`, `bg`, `*_denoise`) are not read.
    """

    name = "am2k"
    LAYOUT = "train/original + train/mask and validation/original + validation/mask"
    SPLITS = {
        "train": TrainingUse(True, "the published training split"),
        "test": TrainingUse(False, "the published validation split, on which results are reported"),
    }
    FOLDERS = {
        "train": [("train/original", "train/mask")],
        "test": [("validation/original", "validation/mask")],
    }
