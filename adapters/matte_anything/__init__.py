"""Matte-Anything with any predictor: clicks, boxes or words -> predictor -> trimap -> refiner -> alpha."""

from .closed_form import ClosedFormRefiner
from .detections import Found, TextDetector
from .matting import Matte, MatteAnything
from .modes import MODES, Mode
from .refiners import Refiner, watched
from .tiles import Tiling
from .transparency import TRANSPARENT
from .trimap import KernelTrimap, MatteTrimap
from .vitmatte import VitMatteRefiner, load_vitmatte

__all__ = [
    "MODES",
    "TRANSPARENT",
    "ClosedFormRefiner",
    "Found",
    "KernelTrimap",
    "Matte",
    "MatteAnything",
    "MatteTrimap",
    "Mode",
    "Refiner",
    "TextDetector",
    "Tiling",
    "VitMatteRefiner",
    "load_vitmatte",
    "watched",
]
