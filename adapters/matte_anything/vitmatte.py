"""ViTMatte, a transformer that turns a photo and its trimap into an alpha, through transformers; in tiles where large.

Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers" (2023). Published weights:
hustvl/vitmatte-{small,base}-{composition-1k,distinctions-646}.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zim.cutout import trimap_to_uint8
from zim.devices import resolve_device
from zim.errors import CheckpointError, ConfigError, MissingDependencyError

from .refiners import OnProgress
from .tiles import Tile, Tiling, blend_tiles, tiles_of, window_around
from .trimap import UNKNOWN

DEFAULT_VITMATTE = "hustvl/vitmatte-small-composition-1k"
VITMATTE_TILING = Tiling(side=1024, overlap=256)
_CONTEXT = 128
"""Pixels around the unknown region that the model sees too."""


class VitMatteRefiner:
    """Asks a ViTMatte model about the unknown pixels of a trimap.

    Args:
        model: `transformers.VitMatteForImageMatting`.
        processor: its image processor, which pads to multiples of 32.
        tiling: of windows larger than one tile. Memory grows with the fourth power of a tile's side.
        device: where the model is put.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        tiling: Tiling = VITMATTE_TILING,
        device: str | torch.device = "cpu",
    ) -> None:
        self.tiling = tiling
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._processor = processor
        self._on_progress: OnProgress = lambda share: None

    def watched(self, on_progress: OnProgress) -> "VitMatteRefiner":
        """The same model, calling `on_progress` after each tile."""
        other = copy.copy(self)
        other._on_progress = on_progress
        return other

    def __call__(
        self, image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The alpha of a photo.

        Args:
            image: (H, W, 3) uint8 RGB.
            trimap: (H, W) float32 of 0, 0.5, 1; known pixels stay as they are.
            alpha: (H, W) float32; not looked at.

        Returns:
            (H, W) float32 in [0, 1].
        """
        unknown = trimap == UNKNOWN
        refined = trimap.astype(np.float32)
        if not unknown.any():
            return refined
        window = window_around(unknown, _CONTEXT).window
        inside = unknown[window]
        hw = int(inside.shape[0]), int(inside.shape[1])

        def estimate(tile: Tile) -> NDArray[np.float32]:
            return self._ask(image[window][tile.window], trimap[window][tile.window])

        def on_tile(done: int, count: int) -> None:
            self._on_progress(done / count)

        blended = blend_tiles(tiles_of(hw, self.tiling), estimate, hw, self.tiling, inside, on_tile)
        refined[window] = np.where(inside, np.clip(blended, 0, 1), refined[window])
        return refined

    @torch.inference_mode()
    def _ask(self, image: NDArray[np.uint8], trimap: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w, 3) uint8 and (h, w) -> (h, w) float32; padding is cut off."""
        height, width = trimap.shape
        values = self._processor(
            images=np.ascontiguousarray(image),
            trimaps=trimap_to_uint8(trimap),
            return_tensors="pt",
            input_data_format="channels_last",
        )["pixel_values"]  # (1, 4, h padded to 32, w padded to 32)
        alphas = self._model(pixel_values=values.to(self._device)).alphas
        return np.asarray(alphas[0, 0, :height, :width].float().cpu().numpy())


def load_vitmatte(
    source: str | Path = DEFAULT_VITMATTE, *, tiling: Tiling = VITMATTE_TILING, device: str | torch.device = "auto"
) -> VitMatteRefiner:
    """A ViTMatte of a hub name or of a local folder in transformers' layout.

    Raises:
        MissingDependencyError: transformers is not installed.
        CheckpointError: the weights are not there, cannot be downloaded or are of another model.
        ConfigError: an empty name, or an unknown device.
    """
    if not str(source).strip():
        raise ConfigError("vitmatte: expected a hub name or a folder, got an empty name")
    model_class, processor_class = _transformers()
    try:
        model = model_class.from_pretrained(str(source))
        processor = processor_class.from_pretrained(str(source))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"vitmatte: {source} cannot be loaded as a ViTMatte model ({reason})") from error
    return VitMatteRefiner(model, processor, tiling=tiling, device=resolve_device(device))


def _transformers() -> tuple[Any, Any]:
    """The model's class and that of its image processor, the one without torchvision."""
    try:
        import transformers

        processor_class = getattr(transformers, "VitMatteImageProcessorPil", None)  # since transformers 5
        return transformers.VitMatteForImageMatting, processor_class or transformers.VitMatteImageProcessor
    except ImportError as error:
        raise MissingDependencyError(
            "ViTMatte refinement needs transformers: pip install 'zim-matting[matting]'"
        ) from error
