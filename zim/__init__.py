"""ZIM: zero-shot image matting, a drop-in for Segment Anything that answers with alphas.

The names below are loaded when they are first used, so that `import zim` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "ZimAutomaticMaskGenerator": "zim.automatic_mask_generator",
    "ZimPredictor": "zim.predictor",
    "zim_model_registry": "zim.registry",
    "load_model": "zim.registry",
    "from_sam": "zim.registry",
    "load_predictor": "zim.loading",
    "predict_alpha": "zim.alpha",
}

__all__ = [
    "ZimAutomaticMaskGenerator",
    "ZimPredictor",
    "__version__",
    "cutout",
    "from_sam",
    "load_model",
    "load_predictor",
    "predict_alpha",
    "zim_model_registry",
]

if TYPE_CHECKING:
    from zim import cutout
    from zim.alpha import predict_alpha
    from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
    from zim.loading import load_predictor
    from zim.predictor import ZimPredictor
    from zim.registry import from_sam, load_model, zim_model_registry


def __getattr__(name: str) -> Any:
    if name == "cutout":  # the module is callable, and importing it binds it here
        return import_module("zim.cutout")
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
