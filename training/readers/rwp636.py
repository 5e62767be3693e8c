"""RealWorldPortrait-636: portraits of every kind, with fine hair."""

from .paired import PairedReader
from .reader import TrainingUse


class Rwp636(PairedReader):
    """RealWorldPortrait-636, published without splits.

    Layout, as published: `image/*.jpg` + `alpha/*.png` (8 bit), and `detailmap/` (not read). Some copies say `images/`.
    """

    name = "rwp636"
    LAYOUT = "image/ + alpha/"
    SPLITS = {
        "all": TrainingUse(
            True,
            "published without splits and part of the paper's training data; a model trained on it must not be"
            " measured on it",
        )
    }
    FOLDERS = {"all": [("image", "alpha"), ("images", "alpha")]}
