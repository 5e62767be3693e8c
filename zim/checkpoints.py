"""Checkpoints: safetensors with the model's config in the metadata, and SAM's `.pth` into ZIM's shared parts.

Nothing here unpickles code: ZIM's own files are safetensors, SAM's are read with `weights_only=True`.
"""

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zim.errors import CheckpointError
from zim.files import atomic_write

FORMAT = "zim-matting"
FORMAT_VERSION = "1"
RESERVED_METADATA = ("format", "format_version", "config")
MAX_LISTED_KEYS = 8

SAM_IGNORED: Mapping[str, str] = {
    "mask_decoder.output_upscaling.*": "ZIM upsamples by its pixel decoder instead",
    "pixel_mean": "normalisation constant, part of the code",
    "pixel_std": "normalisation constant, part of the code",
}
"""Keys of a SAM checkpoint that ZIM has no place for (pattern -> reason)."""

SAM_SHAPE_TOLERATED: Mapping[str, str] = {
    "mask_decoder.output_hypernetworks_mlps.*": "the last layer is as wide as ZIM's pixel decoder",
}
"""Shared keys that may differ in shape and then keep ZIM's initialisation (pattern -> reason)."""

ZIM_ONLY: Mapping[str, str] = {
    "mask_decoder.pixel_decoder.*": "the hierarchical pixel decoder has no counterpart in SAM",
    "prompt_encoder.dense_prompt_map.*": "the dense prompt map has no counterpart in SAM",
    "image_encoder.*": "beside its backbone, ZIM's encoder makes stride 2/4/8 features that SAM has not",
}
"""Keys of ZIM that no SAM checkpoint has (pattern -> reason); `image_encoder.backbone.*` is shared."""

SAM_ENCODER, ZIM_BACKBONE = "image_encoder.", "image_encoder.backbone."


class Checkpoint(NamedTuple):
    """What a ZIM checkpoint holds; weights in half precision are widened to float32."""

    state_dict: dict[str, Tensor]
    config: dict[str, Any]
    metadata: dict[str, str]
    sha256: str


class LoadReport(NamedTuple):
    """Which keys `load_into` copied, and which it was allowed to pass over."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


class SamInitReport(NamedTuple):
    """Which ZIM keys came from SAM, which keep their own initialisation, which SAM keys found no place."""

    initialised: tuple[str, ...]
    not_initialised: tuple[str, ...]
    ignored: tuple[str, ...]

    def summary(self) -> str:
        """Three lines, one for each group: how many keys, and in which parts of the model."""
        return "\n".join(
            f"{title}: {len(keys)} tensors{_by_part(keys)}"
            for title, keys in (
                ("initialised from SAM", self.initialised),
                ("not initialised", self.not_initialised),
                ("ignored in the SAM checkpoint", self.ignored),
            )
        )


def save_checkpoint(
    path: str | Path,
    state_dict: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights and the config that rebuilds their model, atomically.

    Args:
        path: the `.safetensors` file to write.
        state_dict: tensors of any device and layout in memory; they are copied.
        config: values that JSON can carry; tuples come back as lists.
        metadata: further strings (licence, model card, ...).
        dtype: floating dtype for all floating tensors, such as torch.float16; None keeps each as it is.

    Raises:
        CheckpointError: a value that the format cannot carry, or a weight that overflows in `dtype`.
    """
    extra = dict(metadata or {})
    for name, text in extra.items():
        if name in RESERVED_METADATA or not isinstance(text, str):
            raise CheckpointError(
                f"metadata: expected string values under names other than {', '.join(RESERVED_METADATA)}, "
                f"received {name!r}: {text!r}"
            )
    try:
        config_json = json.dumps(dict(config), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"config: expected what JSON can carry, received {config!r}: {error}"
        ) from error
    if dtype is not None and not dtype.is_floating_point:
        raise CheckpointError(f"dtype: expected a floating dtype or None, received {dtype}")
    _require_tensors(state_dict, "state_dict")
    tensors = {key: _storable(key, tensor, dtype) for key, tensor in state_dict.items()}
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "config": config_json, **extra}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of `save_checkpoint`.

    Raises:
        CheckpointError: the file is missing, empty, truncated, a pickle, or not a checkpoint of this format.
    """
    source = _existing_file(path)
    with source.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        with safe_open(str(source), framework="pt") as reader:
            metadata = dict(reader.metadata() or {})
            config = _config_of(metadata, source)
            state_dict = {key: _widen(reader.get_tensor(key)) for key in reader.keys()}
    except SafetensorError as error:
        raise CheckpointError(
            f"{source}: expected a safetensors checkpoint, received {_guess(source)} ({error})"
        ) from error
    return Checkpoint(state_dict=state_dict, config=config, metadata=metadata, sha256=digest)


def load_into(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    tolerated_missing: Sequence[str] = (),
    tolerated_unexpected: Sequence[str] = (),
) -> LoadReport:
    """Copy weights into `module`: strictly, except for keys that match a named pattern (fnmatch).

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ; `module` is then untouched.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state_dict]
    unexpected = [key for key in state_dict if key not in own]
    shared = [key for key in own if key in state_dict]
    differing = [key for key in shared if own[key].shape != state_dict[key].shape]
    _refuse(
        "state_dict does not fit the model",
        missing=[key for key in missing if not _matches(key, tolerated_missing)],
        unexpected=[key for key in unexpected if not _matches(key, tolerated_unexpected)],
        mismatched=[_both_shapes(key, own[key], state_dict[key]) for key in differing],
    )
    module.load_state_dict({key: state_dict[key] for key in shared}, strict=False)
    return LoadReport(loaded=tuple(shared), missing=tuple(missing), unexpected=tuple(unexpected))


def load_sam_pth(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a SAM checkpoint (`.pth`), plain or under "model" or "state_dict", onto the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything that is not a tensor, code above all.
    """
    source = _existing_file(path)
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{source}: expected tensors only, received a damaged file or a pickle that would run code; "
            f"it was not executed ({_first_line(error)})"
        ) from error
    except Exception as error:  # torch raises whatever its zip or pickle reader trips over
        raise CheckpointError(
            f"{source}: expected a PyTorch state dict, received a damaged file ({_first_line(error)})"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{source}: expected a state dict with tensors, received {_describe(loaded)}")
    _require_tensors(loaded, str(source))
    return dict(loaded)


def initialise_from_sam(zim_module: nn.Module, sam_state_dict: Mapping[str, Tensor]) -> SamInitReport:
    """Copy the encoder, prompt encoder, two-way transformer, tokens and quality head of SAM into a ZIM model.

    Keys are SAM's own; SAM's `image_encoder` is ZIM's `image_encoder.backbone`. What may be left out is named
    in `SAM_IGNORED`, `SAM_SHAPE_TOLERATED` and `ZIM_ONLY`; anything else must match.

    Raises:
        CheckpointError: a shared key is missing, unexpected or of another shape; `zim_module` is untouched.
    """
    own = zim_module.state_dict()
    ignored = [key for key in sam_state_dict if _zim_key(key) not in own and _matches(key, SAM_IGNORED)]
    sam = {_zim_key(key): value for key, value in sam_state_dict.items() if key not in ignored}
    shared = [key for key in own if key in sam]
    differing = [key for key in shared if own[key].shape != sam[key].shape]
    _refuse(
        "the SAM checkpoint does not fit this ZIM model",
        missing=[key for key in own if key not in sam and not _is_zim_only(key)],
        unexpected=[key for key in sam if key not in own],
        mismatched=[
            _both_shapes(key, own[key], sam[key])
            for key in differing
            if not _matches(key, SAM_SHAPE_TOLERATED)
        ],
    )
    initialised = tuple(key for key in shared if key not in differing)
    zim_module.load_state_dict({key: sam[key] for key in initialised}, strict=False)
    return SamInitReport(
        initialised=initialised,
        not_initialised=tuple(key for key in own if key not in sam or key in differing),
        ignored=tuple(ignored),
    )


def _zim_key(sam_key: str) -> str:
    if sam_key.startswith(SAM_ENCODER):
        return ZIM_BACKBONE + sam_key.removeprefix(SAM_ENCODER)
    return sam_key


def _is_zim_only(key: str) -> bool:
    return not key.startswith(ZIM_BACKBONE) and _matches(key, ZIM_ONLY)


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _refuse(what: str, *, missing: list[str], unexpected: list[str], mismatched: list[str]) -> None:
    """Raise one error that lists every kind of disagreement, or return when there is none."""
    groups = {"missing keys": missing, "unexpected keys": unexpected, "other shapes": mismatched}
    complaints = [f"{title}: {_listing(entries)}" for title, entries in groups.items() if entries]
    if complaints:
        raise CheckpointError(f"{what}; " + "; ".join(complaints))


def _listing(entries: Sequence[str]) -> str:
    rest = len(entries) - MAX_LISTED_KEYS
    return ", ".join(entries[:MAX_LISTED_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _both_shapes(key: str, expected: Tensor, received: Tensor) -> str:
    return f"{key} (expected {tuple(expected.shape)}, received {tuple(received.shape)})"


def _by_part(keys: Sequence[str]) -> str:
    parts = Counter(".".join(key.split(".")[:2]) for key in keys)
    return f" ({', '.join(f'{part} {count}' for part, count in parts.items())})" if parts else ""


def _storable(key: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A contiguous CPU copy with memory of its own (safetensors refuses shared memory)."""
    target = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    copied = tensor.detach().to(device="cpu", dtype=target, copy=True).contiguous()
    if target != tensor.dtype and not torch.equal(copied.isfinite(), tensor.detach().cpu().isfinite()):
        raise CheckpointError(f"{key}: expected values within the range of {target}, received larger ones")
    return copied


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _require_tensors(entries: Mapping[Any, Any], what: str) -> None:
    foreign = [
        f"{key!r}: {_describe(value)}"
        for key, value in entries.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if foreign:
        raise CheckpointError(f"{what}: expected tensors under string keys, received {_listing(foreign)}")


def _existing_file(path: str | Path) -> Path:
    source = Path(path)
    if not source.is_file():
        found = "a folder" if source.is_dir() else "nothing there"
        raise CheckpointError(f"{source}: expected a checkpoint file, received {found}")
    if source.stat().st_size == 0:
        raise CheckpointError(f"{source}: expected a checkpoint, received an empty file")
    return source


def _guess(source: Path) -> str:
    """What a file that is no safetensors file seems to be; its first bytes alone would not prove that."""
    with source.open("rb") as stream:
        head = stream.read(4)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return (
            "what looks like a PyTorch pickle (.pth); weights of SAM go through "
            "zim.checkpoints.load_sam_pth and initialise_from_sam"
        )
    return "a truncated, damaged or foreign file"


def _config_of(metadata: Mapping[str, str], source: Path) -> dict[str, Any]:
    if "config" not in metadata:
        raise CheckpointError(f"{source}: expected a config in the metadata, received {sorted(metadata)}")
    found, version = metadata.get("format"), metadata.get("format_version")
    if (found, version) != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(
            f"{source}: expected format {FORMAT!r} version {FORMAT_VERSION!r}, "
            f"received {found!r} version {version!r}"
        )
    text = metadata["config"]
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{source}: expected JSON as config, received {text[:80]!r}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{source}: expected a JSON object as config, received {_describe(config)}")
    return config


def _describe(value: object) -> str:
    empty = isinstance(value, Mapping | list | tuple) and not value
    return f"an empty {type(value).__name__}" if empty else type(value).__name__


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
