"""Diffusion models that paint what a text says, through diffusers: Stable Diffusion 1.5, SDXL, FLUX.1 Fill.

Their pipelines cut the mask at 0.5 themselves and change the picture outside it a little (it goes through the
autoencoder); whoever calls lays the result over the photo with the soft alpha.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zim.devices import resolve_device
from zim.errors import CheckpointError, ConfigError, DataError, MissingDependencyError

from .protocol import Geometry, check_picture, padded

Memory = Literal["none", "slicing", "offload", "sequential"]
MEMORY: tuple[Memory, ...] = ("none", "slicing", "offload", "sequential")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class DiffusionModel:
    """A published inpainting model.

    repository: on the Hugging Face hub. pipeline: class of diffusers. steps, guidance: what its authors use.
    half: dtype on CUDA. licence: of the weights.
    """

    repository: str
    pipeline: str
    geometry: Geometry
    steps: int
    guidance: float
    half: torch.dtype
    licence: str


MODELS = {
    "sd15": DiffusionModel(
        repository="stable-diffusion-v1-5/stable-diffusion-inpainting",
        pipeline="StableDiffusionInpaintPipeline",
        geometry=Geometry(native=512, largest=512, multiple=8, least=64),
        steps=50,
        guidance=7.5,
        half=torch.float16,
        licence="CreativeML Open RAIL-M",
    ),
    "sdxl": DiffusionModel(
        repository="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        pipeline="StableDiffusionXLInpaintPipeline",
        geometry=Geometry(native=1024, largest=1024, multiple=8, least=64),
        steps=30,
        guidance=8.0,
        half=torch.float16,
        licence="CreativeML Open RAIL++-M",
    ),
    "flux-fill": DiffusionModel(
        repository="black-forest-labs/FLUX.1-Fill-dev",
        pipeline="FluxFillPipeline",
        geometry=Geometry(native=1024, largest=1024, multiple=16, least=64),
        steps=50,
        guidance=30.0,
        half=torch.bfloat16,
        licence="FLUX.1 [dev] Non-Commercial License",
    ),
}


@dataclass(frozen=True, kw_only=True)
class DiffusionSettings:
    """How a model is run.

    steps, guidance: None takes the model's own. strength: in (0, 1]; below 1 the old pixels shine through.
    negative_prompt: what not to paint; FLUX has none. side: long side at which it paints; None takes the model's own.
    """

    steps: int | None = None
    guidance: float | None = None
    strength: float = 1.0
    negative_prompt: str = ""
    side: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps: expected at least 1, got {self.steps!r}")
        if self.guidance is not None and not 0 <= self.guidance <= 100:
            raise ConfigError(f"guidance: expected a number in [0, 100], got {self.guidance!r}")
        if not 0 < self.strength <= 1:
            raise ConfigError(f"strength: expected a number in (0, 1], got {self.strength!r}")
        if self.side is not None and not 64 <= self.side <= 4096:
            raise ConfigError(f"side: expected 64 to 4096 pixels, got {self.side!r}")


class DiffusionEngine:
    """A loaded inpainting pipeline of diffusers; `load_diffusion_engine` makes one.

    pipeline: called with prompt, image, mask_image (PIL), height, width, generator. model: its name in MODELS.
    """

    follows_text = True

    def __init__(self, pipeline: Callable[..., Any], model: str, settings: DiffusionSettings | None = None) -> None:
        known = _known(model)
        self.name = model
        self.settings = settings or DiffusionSettings()
        side = self.settings.side
        self.geometry = known.geometry
        if side is not None:
            self.geometry = Geometry(
                native=side, largest=side, multiple=known.geometry.multiple, least=known.geometry.least
            )
        self._pipeline, self._model = pipeline, known

    def inpaint(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], *, prompt: str = "", seed: int = 0
    ) -> NDArray[np.uint8]:
        """See `InpaintingEngine`. The noise is drawn on the CPU, so that a seed means the same on every device.

        Raises:
            DataError: the pipeline's safety checker refused the picture, or it paints another size.
        """
        check_picture(image, mask)
        wide, wide_mask = padded(image, mask, self.geometry)
        steps = self.settings.steps or self._model.steps
        arguments: dict[str, Any] = {
            "prompt": prompt,
            "image": Image.fromarray(wide),
            "mask_image": Image.fromarray(wide_mask.astype(np.uint8) * 255),
            "height": wide.shape[0],
            "width": wide.shape[1],
            "num_inference_steps": max(steps, int(np.ceil(1 / self.settings.strength))),
            "guidance_scale": self._model.guidance if self.settings.guidance is None else self.settings.guidance,
            "strength": self.settings.strength,
            "generator": torch.Generator("cpu").manual_seed(seed),
        }
        if self.settings.negative_prompt and self._model.pipeline != "FluxFillPipeline":
            arguments["negative_prompt"] = self.settings.negative_prompt
        with torch.inference_mode():
            answer = self._pipeline(**arguments)
        if any(getattr(answer, "nsfw_content_detected", None) or []):
            raise DataError(f"{self.name}: the safety checker refused what was painted; try another seed or prompt")
        painted = np.asarray(answer.images[0].convert("RGB"))
        if painted.shape != wide.shape:
            raise DataError(f"{self.name}: expected a painted picture of {wide.shape}, got {painted.shape}")
        return painted[: mask.shape[0], : mask.shape[1]].copy()


def load_diffusion_engine(
    name: str,
    *,
    source: str | Path | None = None,
    settings: DiffusionSettings | None = None,
    device: str | torch.device = "auto",
    dtype: str | None = None,
    memory: Memory = "none",
) -> DiffusionEngine:
    """Load a model, or take it from the cache of the last two.

    Args:
        name: sd15, sdxl or flux-fill; or a folder with a pipeline that diffusers saved.
        source: a folder or hub repository to take in place of the model's own.
        settings: how it is run.
        device: "auto" takes CUDA, else MPS, else the CPU.
        dtype: float32, float16 or bfloat16; None takes half precision on CUDA, float32 elsewhere.
        memory: "slicing" works in slices and tiles; "offload" keeps on the device only the part that works,
            "sequential" only the layer that works, both on accelerators only.

    Raises:
        ConfigError: an unknown name, dtype, device or memory option.
        CheckpointError: the weights are not there or do not fit.
        MissingDependencyError: diffusers is not installed.
    """
    if source is None and name not in MODELS:
        source, name = name, _model_in(Path(name))
    known = _known(name)
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if memory not in MEMORY:
        raise ConfigError(f"memory: expected one of {', '.join(MEMORY)}, got {memory!r}")
    target = resolve_device(device)
    if memory in ("offload", "sequential") and target.type == "cpu":
        raise ConfigError(f"memory: {memory} moves parts between an accelerator and the CPU; expected none or slicing")
    precision = DTYPES[dtype] if dtype else known.half if target.type == "cuda" else torch.float32
    pipeline = _pipeline(str(source or known.repository), known.pipeline, str(target), precision, memory)
    return DiffusionEngine(pipeline, name, settings)


@lru_cache(maxsize=2)
def _pipeline(source: str, class_name: str, device: str, dtype: torch.dtype, memory: str) -> Any:
    try:
        import diffusers
        import transformers  # noqa: F401  the pipelines' text encoders
    except ImportError as error:
        raise MissingDependencyError(
            "diffusion models need diffusers; install it with: pip install 'zim-matting[inpaint]'"
        ) from error
    try:
        with warnings.catch_warnings():
            # Older versions know only torch_dtype; newer ones would rather have it called dtype.
            warnings.filterwarnings("ignore", message=".*torch_dtype.*", category=FutureWarning)
            pipeline = getattr(diffusers, class_name).from_pretrained(source, torch_dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{source}: expected a {class_name} with safetensors weights: {reason}") from error
    pipeline.set_progress_bar_config(disable=True)
    if memory == "slicing":
        if hasattr(pipeline, "unet"):
            pipeline.enable_attention_slicing()
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    if memory == "offload":
        pipeline.enable_model_cpu_offload(device=device)
    elif memory == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def _known(name: str) -> DiffusionModel:
    if name not in MODELS:
        raise ConfigError(f"engine: expected one of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name]


def _model_in(folder: Path) -> str:
    """Which of MODELS a saved pipeline is."""
    index = folder / "model_index.json"
    if not index.is_file():
        expected = ", ".join(MODELS)
        raise ConfigError(f"engine: expected one of {expected} or a folder with model_index.json, got {folder}")
    try:
        pipeline = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{index}: expected the JSON of a diffusers pipeline, cannot read it") from error
    for name, model in MODELS.items():
        if model.pipeline == pipeline:
            return name
    expected = ", ".join(model.pipeline for model in MODELS.values())
    raise CheckpointError(f"{index}: expected a pipeline that inpaints ({expected}), got {pipeline!r}")
