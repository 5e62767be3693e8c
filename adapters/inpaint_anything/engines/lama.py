"""LaMa (Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier Convolutions", WACV 2022) as TorchScript.

The file `big-lama.pt` takes an image (1, 3, H, W) in [0, 1] and a mask (1, 1, H, W) of 0 and 1, both sides multiples
of 8, and answers with the painted image (1, 3, H, W) in [0, 1]. TorchScript can hold arbitrary operations, so a file is
loaded only when its sha256 is the expected one.
"""

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zim.devices import resolve_device
from zim.downloads.catalogue import PublishedFile, default_folder
from zim.errors import CheckpointError

from .protocol import Geometry, check_picture, padded

BIG_LAMA = PublishedFile(
    url="https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt",
    sha256="344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9",
    size=205_669_692,
    licence="Apache-2.0 (https://github.com/advimman/lama)",
)


class LamaEngine:
    """A module of LaMa's signature; `load_lama` reads one from a file."""

    name = "lama"
    follows_text = False

    def __init__(self, module: Callable[..., torch.Tensor], *, device: str | torch.device = "cpu") -> None:
        self.geometry = Geometry(largest=1024, multiple=8, least=64)
        self._module = module
        self._device = torch.device(device)

    def inpaint(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], *, prompt: str = "", seed: int = 0
    ) -> NDArray[np.uint8]:
        """See `InpaintingEngine`.

        Raises:
            CheckpointError: the module fails, or does not answer with such an image.
        """
        check_picture(image, mask)
        wide, wide_mask = padded(image, mask, self.geometry)
        pixels = torch.from_numpy(wide.astype(np.float32) / 255).permute(2, 0, 1)[None].to(self._device)
        hole = torch.from_numpy(wide_mask.astype(np.float32))[None, None].to(self._device)
        try:
            with torch.inference_mode():
                answer: Any = self._module(pixels, hole)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise CheckpointError(f"lama: the model fails on a {tuple(pixels.shape)} image: {reason}") from error
        if not isinstance(answer, torch.Tensor) or answer.shape != pixels.shape or not torch.isfinite(answer).all():
            shape = tuple(getattr(answer, "shape", ()))
            raise CheckpointError(f"lama: expected a finite image of shape {tuple(pixels.shape)}, got shape {shape}")
        painted = answer[0].permute(1, 2, 0).clamp(0, 1).float().cpu().numpy()  # (H, W, 3)
        return (painted[: mask.shape[0], : mask.shape[1]] * 255 + 0.5).astype(np.uint8)


def load_lama(path: str | Path, *, sha256: str = BIG_LAMA.sha256, device: str | torch.device = "auto") -> LamaEngine:
    """Read LaMa from a TorchScript file.

    Args:
        path: the file.
        sha256: what the file must have; the published big-lama.pt unless said otherwise.
        device: "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        CheckpointError: the file is missing, another one than expected, or no TorchScript.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"lama: expected a TorchScript file, got {file}, which does not exist; {HOW_TO_GET}")
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise CheckpointError(
            f"lama: expected sha256 {sha256} in {file}, got {found}; "
            "a file of your own needs its own sha256 (--lama_sha256)"
        )
    target = resolve_device(device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # LaMa is published as TorchScript and nothing else
            module = torch.jit.load(io.BytesIO(content), map_location=target).eval()
    except RuntimeError as error:
        raise CheckpointError(f"lama: {file} is no TorchScript file: {str(error).strip().splitlines()[-1]}") from error
    return LamaEngine(module, device=target)


def find_lama(given: str | Path | None) -> Path | None:
    """Where big-lama.pt is: the given file, big-lama.pt in the given folder, or in the folder of `zim download`."""
    places = [] if given is None else [Path(given), Path(given) / "big-lama.pt"]
    return next((place for place in [*places, default_folder() / "big-lama.pt"] if place.is_file()), None)


HOW_TO_GET = f"download {BIG_LAMA.url} ({BIG_LAMA.size / 1e6:.0f} MB, {BIG_LAMA.licence})"
