"""HRSOD: photographs of high resolution with salient objects; the test part that HQ-SAM is measured on."""

from .paired import PairedReader
from .reader import TrainingUse


class Hrsod(PairedReader):
    """HRSOD: salient objects in photographs of 2,000 pixels and more; the mattes are binary (tag `binary`).

    Layout, as HQ-SAM's training folder has it: `images/*.jpg` + `masks_max255/*.png` (0 or 255); the folder above,
    `HRSOD/...`, will do too.
    """

    name = "hrsod"
    LAYOUT = "images + masks_max255"
    SPLITS = {"test": TrainingUse(False, "a test set, on which HQ-SAM is measured")}
    FOLDERS = {"test": [("images", "masks_max255"), ("HRSOD/images", "HRSOD/masks_max255")]}
    TAG = "binary"
