"""P3M-10k: 10,421 portraits, faces blurred for privacy."""

from .paired import PairedReader
from .reader import TrainingUse


class P3m10k(PairedReader):
    """P3M-10k: 9,421 blurred portraits to train on, 500 blurred ones (P) and 500 of celebrities (NP) to test on.

    Layout, as published: `train/blurred_image/*.jpg` + `train/mask/*.png` (the matte, 8 bit),
    `validation/P3M-500-P/{blurred_image,mask,trimap}`, `validation/P3M-500-NP/{original_image,mask,trimap}`; the first
    release called these `validation1` and `validation2`. `trimap`, `fg`, `bg` and face masks are not read.
    """

    name = "p3m10k"
    LAYOUT = "train/blurred_image + train/mask and validation/P3M-500-{P,NP}"
    SPLITS = {
        "train": TrainingUse(True, "the published training split"),
        "test_p": TrainingUse(False, "P3M-500-P, on which results are reported"),
        "test_np": TrainingUse(False, "P3M-500-NP, on which results are reported"),
    }
    FOLDERS = {
        "train": [("train/blurred_image", "train/mask")],
        "test_p": [
            ("validation/P3M-500-P/blurred_image", "validation/P3M-500-P/mask"),
            ("validation1/blurred_image", "validation1/mask"),
        ],
        "test_np": [
            ("validation/P3M-500-NP/original_image", "validation/P3M-500-NP/mask"),
            ("validation2/original_image", "validation2/mask"),
        ],
    }
