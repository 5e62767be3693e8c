"""Engines for measurements: one that knows what is behind the object, and a small module with LaMa's signature."""

import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from zim.downloads.http_file import sha256_of
from zim.errors import ImageError
from zim.files import write_bytes_atomic

from .engines.lama import LamaEngine, load_lama
from .engines.protocol import Geometry


class TrueBackgroundEngine:
    """Answers with the true background of whole pictures of one size: what a perfect inpainting model would paint."""

    name = "oracle"
    follows_text = True

    def __init__(self, background: NDArray[np.uint8]) -> None:
        long_side = max(background.shape[:2])
        self.geometry = Geometry(native=long_side, largest=long_side)
        self._background = background

    def inpaint(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], *, prompt: str = "", seed: int = 0
    ) -> NDArray[np.uint8]:
        """See `InpaintingEngine`.

        Raises:
            ImageError: the picture has another size than the background.
        """
        if image.shape != self._background.shape:
            raise ImageError(f"image: expected the background's shape {self._background.shape}, got {image.shape}")
        return self._background.copy()


class PullPush(nn.Module):
    """Smooth inpainting with LaMa's signature: averages of the known pixels of coarser and coarser levels."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """image (1, 3, H, W) in [0, 1] and mask (1, 1, H, W) of 0 and 1 -> (1, 3, H, W), the image outside the mask."""
        weight = 1.0 - mask
        colours = [image * weight]
        weights = [weight]
        while colours[-1].size(2) > 1 or colours[-1].size(3) > 1:
            size = [(colours[-1].size(2) + 1) // 2, (colours[-1].size(3) + 1) // 2]
            share = F.interpolate(weights[-1], size=size, mode="area")
            gain = torch.clamp(4.0 * share, max=1.0) / torch.clamp(share, min=1e-6)
            colours.append(F.interpolate(colours[-1], size=size, mode="area") * gain)
            weights.append(share * gain)
        filled = colours[-1] / torch.clamp(weights[-1], min=1e-6)
        for level in range(len(colours) - 2, -1, -1):
            size = [colours[level].size(2), colours[level].size(3)]
            wide = F.interpolate(filled, size=size, mode="bilinear", align_corners=False)
            filled = colours[level] + (1.0 - weights[level]) * wide
        return image * weight + filled * mask


def save_pull_push(path: str | Path) -> str:
    """Write `PullPush` as a TorchScript file; returns its sha256."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; big-lama.pt is published in it
        torch.jit.save(torch.jit.script(PullPush().eval()), buffer)
    write_bytes_atomic(path, buffer.getvalue())
    return sha256_of(Path(path))


def lama_shaped_engine() -> LamaEngine:
    """`PullPush` through the loading code of LaMa, on the CPU."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pull_push.pt"
        return load_lama(path, sha256=save_pull_push(path), device="cpu")
