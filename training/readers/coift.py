"""COIFT: 280 photographs of birds, insects and other thin things, a test set."""

from .paired import PairedReader
from .reader import TrainingUse


class Coift(PairedReader):
    """COIFT: one finely outlined object each; the mattes are binary (tag `binary`).

    Layout, as HQ-SAM's training folder has it: `images/*.jpg` + `masks/*.png` (0 or 255); the folder above,
    `COIFT/...`, will do too.
    """

    name = "coift"
    LAYOUT = "images + masks"
    SPLITS = {"test": TrainingUse(False, "a test set, on which HQ-SAM is measured")}
    FOLDERS = {"test": [("images", "masks"), ("COIFT/images", "COIFT/masks")]}
    TAG = "binary"
