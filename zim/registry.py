"""Models by name, with SAM's calling convention: shipped weights, and checkpoints from anywhere."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from zim.checkpoints import initialise_from_sam, load_into, load_sam_pth, read_checkpoint
from zim.conversion import convert_sam, shared_weights
from zim.devices import resolve_device
from zim.errors import CheckpointError, ConfigError
from zim.modeling.config import ZIM_TINY, ZIM_VIT_B, ZIM_VIT_H, ZIM_VIT_L, ZimConfig
from zim.modeling.zim import Zim, build_zim

if TYPE_CHECKING:
    from zim.onnx.model import OnnxZim

DEFAULT_MODEL = "zim_tiny"
MODEL_CONFIGS: dict[str, ZimConfig] = {
    "zim_tiny": ZIM_TINY,
    "vit_b": ZIM_VIT_B,
    "vit_l": ZIM_VIT_L,
    "vit_h": ZIM_VIT_H,
}
SHIPPED_MODELS = ("zim_tiny",)
"""Models of the registry that come with weights."""

SPECIALISED = ("zim_tiny_medical",)
"""Shipped weights for one kind of picture, on the configuration of a registry model; `load_model` knows their names."""

SAM_SUFFIXES = (".pth", ".pt")
SAM_KEY = "vit_b"
"""What a checkpoint of SAM is taken for when nothing else is said."""

_log = logging.getLogger("zim")
_licences_shown: set[str] = set()


class ShippedWeights(NamedTuple):
    """An entry of `zim/weights/registry.json`: file beside it, sha256, licence and number of parameters."""

    file: str
    sha256: str
    license: str
    parameters: int


def weights_folder() -> Traversable:
    """Where the package keeps its weights."""
    return resources.files("zim") / "weights"


def shipped_weights() -> dict[str, ShippedWeights]:
    """The shipped weights by name; empty where the package has none.

    Raises:
        CheckpointError: the list is not what it should be.
    """
    listing = weights_folder() / "registry.json"
    if not listing.is_file():
        return {}
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        return {
            name: ShippedWeights(**{field: entry[field] for field in ShippedWeights._fields})
            for name, entry in entries.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{listing}: expected a JSON list of weights, cannot read it ({error!r})") from error


def shipped_weights_path(name: str) -> Path:
    """The file of shipped weights, after its sha256 has been compared with the list's.

    Raises:
        CheckpointError: no such weights, or the file is missing or altered.
    """
    listed = shipped_weights()
    if name not in listed:
        raise CheckpointError(
            f"weights: expected one of {sorted(listed)}, got {name!r}: "
            "this installation ships no weights of that name; give a checkpoint"
        )
    with resources.as_file(weights_folder() / listed[name].file) as path:
        if not path.is_file():
            raise CheckpointError(f"weights: {path} is listed for {name} but missing; install the package again")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != listed[name].sha256:
        raise CheckpointError(
            f"weights: {path} is damaged or altered: expected sha256 {listed[name].sha256}, got {found}"
        )
    return path


def load_zim_checkpoint(path: str | Path) -> Zim:
    """Rebuild a model from a safetensors checkpoint of this package, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: the file cannot be read, holds another architecture, or does not fit its own config.
    """
    checkpoint = read_checkpoint(path)
    architecture = checkpoint.config.get("architecture", "zim")
    if architecture != "zim":
        raise CheckpointError(
            f"{path}: expected a ZIM model, got architecture {architecture!r}; zim.load_predictor takes it"
        )
    try:
        model = build_zim(ZimConfig.from_dict(checkpoint.config))
    except ConfigError as error:
        raise CheckpointError(f"{path}: expected the config of a ZIM model, got one that fails: {error}") from error
    load_into(model, checkpoint.state_dict)
    show_licence(checkpoint.metadata, checkpoint.sha256)
    return model.eval()


def show_licence(metadata: dict[str, str], sha256: str) -> None:
    """Say once per file and process that weights are for research only."""
    licence = metadata.get("license", "")
    if "research-only" in licence and sha256 not in _licences_shown:
        _licences_shown.add(sha256)
        _log.warning("these weights are licensed as: %s", licence)


def from_sam(sam: str | Path | nn.Module, key: str | None = None) -> Zim:
    """A ZIM whose shared parts (encoder, prompt encoder, transformer, tokens) are those of a SAM.

    The pixel decoder is new and random: the model has to be trained before its alphas mean anything.

    Args:
        sam: SAM's or HQ-SAM's `.pth`, which is read as tensors only, never as code; or a model of SAM's shape
            (`segment_anything`, MobileSAM, HQ-SAM, ...), see `zim.conversion`.
        key: the model of the registry that a checkpoint is for; None takes vit_b. A model object needs none.

    Raises:
        ConfigError: an unknown key, a key beside a model object, or an object of another shape.
        CheckpointError: the file cannot be read, or is of another architecture.
    """
    if not isinstance(sam, str | Path):
        if key is not None:
            raise ConfigError(f"key: expected none beside a model object, which knows its own shape, got {key!r}")
        return convert_sam(sam)
    name = SAM_KEY if key is None else key
    model = build_zim(_config_of(name))
    report = initialise_from_sam(model, shared_weights(load_sam_pth(sam)))
    _log.warning("%s from %s; train it before use\n%s", name, sam, report.summary())
    return model.eval()


def load_model(name_or_path: str | Path, device: str | torch.device = "auto", dtype: torch.dtype | None = None) -> Zim:
    """A model by registry key or checkpoint path, ready for use.

    Args:
        name_or_path: a key of `zim_model_registry`, a name of `SPECIALISED`, a `.safetensors` checkpoint of this
            package, or a folder with encoder.onnx and decoder.onnx (the official release, or of `zim export`).
        device: "auto" takes CUDA, else MPS, else the CPU; for a folder, what onnxruntime has of these.
        dtype: floating type of the weights; None keeps float32.

    Raises:
        ConfigError: neither a key nor a file, or an impossible device or dtype.
        CheckpointError: the file cannot be read or does not fit.
        MissingDependencyError: a folder was given, and onnxruntime is not installed.
    """
    if str(name_or_path) not in zim_model_registry and Path(name_or_path).is_dir():
        return _load_folder(name_or_path, device, dtype)
    target = resolve_device(device)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ConfigError(f"dtype: expected a floating torch dtype or None, got {dtype!r}")
    if str(name_or_path) in zim_model_registry:
        model = zim_model_registry[str(name_or_path)]()
    elif str(name_or_path) in SPECIALISED:
        model = load_zim_checkpoint(shipped_weights_path(str(name_or_path)))
    elif Path(name_or_path).exists():
        if Path(name_or_path).suffix in SAM_SUFFIXES:
            raise CheckpointError(
                f"{name_or_path}: expected a .safetensors checkpoint, got a .pth; "
                'SAM\'s weights only initialise a ZIM: zim.from_sam(path, key="vit_b")'
            )
        model = load_zim_checkpoint(name_or_path)
    else:
        raise ConfigError(
            f"model: expected an existing checkpoint or one of {', '.join(zim_model_registry)}, "
            f"got {str(name_or_path)!r}"
        )
    return model.to(device=target, dtype=dtype)


def _load_folder(
    folder: str | Path, device: str | torch.device, dtype: torch.dtype | None, key: str = SAM_KEY
) -> "OnnxZim":
    """A folder of ONNX graphs; a foreign one is taken for what the key says."""
    from zim.onnx.model import load_onnx_folder

    if dtype is not None:
        raise ConfigError(f"dtype: expected None for an ONNX folder, which has its own, got {dtype!r}")
    model = load_onnx_folder(folder, device=device, config=_config_of(key))
    if model.record is not None:
        digest = hashlib.sha256("".join(model.record.files.values()).encode()).hexdigest()
        show_licence({"license": model.record.license}, digest)
    return model


def _config_of(key: str) -> ZimConfig:
    name = DEFAULT_MODEL if key == "default" else key
    if name not in MODEL_CONFIGS:
        raise ConfigError(f"key: expected one of {', '.join(zim_model_registry)}, got {key!r}")
    return MODEL_CONFIGS[name]


def _build(key: str, checkpoint: str | Path | None = None) -> Zim:
    """Build a model of the registry, as `sam_model_registry` does.

    Args:
        key: which one.
        checkpoint: this package's `.safetensors`; SAM's `.pth` for the shared parts; or a folder with
            encoder.onnx and decoder.onnx. None gives the shipped weights, or, where none are shipped, random ones
            with a warning.
    """
    if checkpoint is None:
        if key in SHIPPED_MODELS:
            return load_zim_checkpoint(shipped_weights_path(key))
        warnings.warn(
            f"{key}: no weights are shipped, so they are random; give a checkpoint", UserWarning, stacklevel=2
        )
        return build_zim(_config_of(key)).eval()
    if Path(checkpoint).suffix in SAM_SUFFIXES:
        return from_sam(checkpoint, key)
    if Path(checkpoint).is_dir():
        folder = _load_folder(checkpoint, "auto", None, key)
        if folder.record is None:  # a foreign one does not say what it is
            return folder
        model: Zim = folder
    else:
        model = load_zim_checkpoint(checkpoint)
    if model.config != _config_of(key):
        raise CheckpointError(
            f"{checkpoint}: expected the weights of {key}, got those of a model with another config; "
            "zim.load_model(path) rebuilds it from the file alone"
        )
    return model


zim_model_registry: dict[str, Callable[..., Zim]] = {
    **{key: partial(_build, key) for key in MODEL_CONFIGS},
    "default": partial(_build, DEFAULT_MODEL),
}
"""`zim_model_registry[key](checkpoint=None)`; "default" is zim_tiny."""
