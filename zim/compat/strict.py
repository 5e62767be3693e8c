"""SAM's classes and builders, answered by ZIM: bool masks, SAM's arguments, one chosen model behind every name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.compat.notices import Notices
from zim.decoding import DECODE_CHUNK, Triple
from zim.errors import ConfigError
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.registry import load_model, zim_model_registry

SAM_KEYS = ("default", "vit_h", "vit_l", "vit_b", "vit_t", "vit_tiny")
"""Every key that the registries of segment_anything, segment_anything_hq and mobile_sam know."""


class SamPredictor(ZimPredictor):
    """`segment_anything.SamPredictor` on ZIM: masks are bool, or logits with `return_logits=True`.

    `hq_token_only`, an argument of HQ-SAM, is accepted and makes no difference: ZIM has one decoder.
    """

    interm_features: Any = None
    """HQ-SAM keeps early features here; ZIM's own travel inside `features`."""

    def __init__(self, sam_model: Zim) -> None:
        super().__init__(sam_model, output="mask")

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> Triple:
        """As `ZimPredictor.predict`, (C, H, W) bool."""
        return super().predict(point_coords, point_labels, box, mask_input, multimask_output, return_logits)

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        *,
        chunk_size: int = DECODE_CHUNK,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `ZimPredictor.predict_torch`, (B, C, H, W) bool."""
        return super().predict_torch(
            point_coords, point_labels, boxes, mask_input, multimask_output, return_logits, chunk_size=chunk_size
        )


class SamOnnxModel(torch.nn.Module):
    """SAM's wrapper for ONNX export, which would re-implement SAM's prompt embedding."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        raise ConfigError("SamOnnxModel: ZIM is exported by `zim export --model NAME -o DIR`, not by SAM's wrapper")


def checked_model(model: str | Path | Zim) -> str | Path | Zim:
    """The model that was asked for, if there is such a one.

    Raises:
        ConfigError: neither a model, nor a key of `zim_model_registry`, nor an existing checkpoint.
    """
    named = isinstance(model, str | Path)
    if named and str(model) not in zim_model_registry and not Path(str(model)).exists():
        raise ConfigError(
            f"model: expected an existing checkpoint or one of {', '.join(zim_model_registry)}, got {str(model)!r}"
        )
    if not named and not isinstance(model, torch.nn.Module):
        raise ConfigError(f"model: expected a name, a path or a Zim, got {type(model).__name__}")
    return model


def builder_of(key: str, model: str | Path | Zim, notices: Notices) -> Callable[..., Any]:
    """What stands behind `sam_model_registry[key]`: whatever checkpoint it is asked for, it gives `model`.

    A `.safetensors` file that exists is a checkpoint of ZIM, and is taken.
    """

    def build(checkpoint: str | Path | None = None) -> Any:
        wanted = model
        if checkpoint is not None and Path(checkpoint).suffix == ".safetensors" and Path(checkpoint).is_file():
            wanted = checkpoint
        if isinstance(wanted, torch.nn.Module):
            notices.say("model", f"{key} with checkpoint {checkpoint} is answered by the given {type(wanted).__name__}")
            return wanted.eval()
        notices.say("model", f"{key} with checkpoint {checkpoint} is answered by ZIM's {wanted}")
        return load_model(wanted, device="cpu")

    build.__name__ = build.__qualname__ = f"build_sam_{key}"
    build.__doc__ = f"ZIM in the place of SAM's {key}."
    return build
