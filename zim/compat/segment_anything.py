"""The only door to the `segment_anything` library; it opens without a working torchvision too.

`segment_anything` imports torchvision for a few functions and declares no dependency on it. Where torchvision
is absent or broken, those functions are lent for the duration of the import and taken away again: left in
`sys.modules`, they would mislead other libraries that probe for torchvision.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
from PIL import Image

from zim.compat.module_swap import swapped_back
from zim.errors import MissingDependencyError
from zim.nms import batched_nms, box_area

LIBRARY = "segment_anything"
SUBMODULES = (
    "modeling",
    "build_sam",
    "predictor",
    "automatic_mask_generator",
    "utils.transforms",
    "utils.amg",
    "utils.onnx",
)
STAND_INS = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.ops",
    "torchvision.ops.boxes",
)
TORCHVISION_IN_USE = ("torchvision.transforms.functional", "torchvision.ops.boxes")

_lock = threading.RLock()
_library: ModuleType | None = None


def import_segment_anything() -> ModuleType:
    """Import the real `segment_anything` with all the submodules in use; later calls return the same module.

    Raises:
        MissingDependencyError: the library is not installed.
    """
    global _library
    with _lock:
        if _library is None:
            with swapped_back(LIBRARY):
                _library = _import_library()
        return _library


def _import_library() -> ModuleType:
    if LIBRARY not in sys.modules and importlib.util.find_spec(LIBRARY) is None:
        raise MissingDependencyError(
            "segment_anything: expected the library to be installed, found nothing; "
            'install it with: pip install "zim-matting[sam]"'
        )
    try:
        return _import_with_submodules()
    except Exception:
        _forget(LIBRARY)
        if _torchvision_works():
            raise  # the fault lies elsewhere
    with _torchvision_stand_ins():
        return _import_with_submodules()


def _import_with_submodules() -> ModuleType:
    library = importlib.import_module(LIBRARY)
    for name in SUBMODULES:
        importlib.import_module(f"{LIBRARY}.{name}")
    return library


def _torchvision_works() -> bool:
    """Whether what `segment_anything` needs of torchvision imports; leaves no ruins when it does not.

    A broken torchvision fails with whatever comes up: RuntimeError, OSError, AttributeError, ImportError.
    """
    try:
        for name in TORCHVISION_IN_USE:
            importlib.import_module(name)
    except Exception:
        _forget("torchvision")
        return False
    return True


def _forget(*packages: str) -> None:
    """Drop packages and all their submodules from `sys.modules`."""
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]


@contextmanager
def _torchvision_stand_ins() -> Iterator[None]:
    modules = {name: ModuleType(name) for name in STAND_INS}
    for name, module in modules.items():
        module.__path__ = []  # a package, so that submodules are looked up
        module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    functional, boxes = modules["torchvision.transforms.functional"], modules["torchvision.ops.boxes"]
    vars(functional).update(resize=_resize, to_pil_image=_to_pil_image)
    vars(boxes).update(batched_nms=batched_nms, box_area=box_area)
    sys.modules.update(modules)
    try:
        yield
    finally:
        _forget("torchvision")


def _resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """torchvision's `resize` for a PIL image and `size` = (H, W)."""
    return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _to_pil_image(image: np.ndarray) -> Image.Image:
    """torchvision's `to_pil_image` for (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8."""
    return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
