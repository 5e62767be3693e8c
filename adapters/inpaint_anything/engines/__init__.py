"""Engines that paint: OpenCV, LaMa, diffusion models."""

from pathlib import Path

import torch

from zim.errors import ConfigError

from .diffusion import MODELS, DiffusionSettings, Memory, load_diffusion_engine
from .lama import BIG_LAMA, find_lama, load_lama
from .opencv import OpenCvEngine
from .protocol import Geometry, InpaintingEngine

__all__ = ["ENGINES", "Geometry", "InpaintingEngine", "load_engine"]

ENGINES = ("cv2", "cv2-ns", "lama", *MODELS)
"""Names that `load_engine` answers, besides folders of saved pipelines."""


def load_engine(
    name: str,
    *,
    device: str | torch.device = "auto",
    lama: str | Path | None = None,
    lama_sha256: str = BIG_LAMA.sha256,
    settings: DiffusionSettings | None = None,
    dtype: str | None = None,
    memory: Memory = "none",
) -> InpaintingEngine:
    """The engine of that name.

    Args:
        name: cv2, cv2-ns, lama, sd15, sdxl, flux-fill, or a folder with a pipeline that diffusers saved.
        device: for all but cv2.
        lama: big-lama.pt or its folder; None looks into the folder of `zim download`. lama_sha256: what it must have.
        settings, dtype, memory: of diffusion models, see `load_diffusion_engine`.

    Raises:
        ConfigError: nothing answers to the name.
        CheckpointError: the weights are not there, or others than expected.
        MissingDependencyError: diffusers is needed and not installed.
    """
    if name == "cv2":
        return OpenCvEngine()
    if name == "cv2-ns":
        return OpenCvEngine("navier-stokes")
    if name == "lama":
        return load_lama(find_lama(lama) or lama or "big-lama.pt", sha256=lama_sha256, device=device)
    if name not in MODELS and not Path(name).is_dir():
        raise ConfigError(f"engine: expected one of {', '.join(ENGINES)} or a pipeline's folder, got {name!r}")
    return load_diffusion_engine(name, settings=settings, device=device, dtype=dtype, memory=memory)
