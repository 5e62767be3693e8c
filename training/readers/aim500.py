"""AIM-500: 500 natural photographs of animals, people, plants, toys, fruit, furniture and transparent things."""

from .paired import PairedReader
from .reader import TrainingUse


class Aim500(PairedReader):
    """AIM-500, a test set.

    Layout, as published: `original/o_0b7228ec.jpg`, `mask/o_0b7228ec.png` (the matte, 8 bit), `trimap/` (not read),
    either in the root or below `validation/`.
    """

    name = "aim500"
    LAYOUT = "original/ + mask/"
    SPLITS = {
        "test": TrainingUse(
            False,
            "AIM-500 is only a test set here (the paper trained its label converter on it; this project never does)",
        )
    }
    FOLDERS = {"test": [("original", "mask"), ("validation/original", "validation/mask")]}
