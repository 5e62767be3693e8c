"""ThinObject5K: 5,748 pictures of thin objects, most of them composites."""

from .paired import PairedReader
from .reader import TrainingUse


class ThinObject5k(PairedReader):
    """ThinObject5K: thin objects; the mattes are binary (tag `binary`).

    Layout, as HQ-SAM's training folder has it: `images_train/*.jpg` + `masks_train/*.png` (0 or 255), and the same
    with `test`; the folder above, `ThinObject5K/...`, will do too.
    """

    name = "thinobject5k"
    LAYOUT = "images_train + masks_train, images_test + masks_test"
    SPLITS = {
        "train": TrainingUse(True, "the published training split; its labels have no transparency"),
        "test": TrainingUse(False, "a published test split, on which HQ-SAM is measured"),
    }
    FOLDERS = {
        "train": [
            ("images_train", "masks_train"),
            ("ThinObject5K/images_train", "ThinObject5K/masks_train"),
        ],
        "test": [
            ("images_test", "masks_test"),
            ("ThinObject5K/images_test", "ThinObject5K/masks_test"),
        ],
    }
    TAG = "binary"
