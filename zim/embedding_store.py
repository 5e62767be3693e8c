"""Image features on disk: safetensors, whole or absent, bound to the image and to its encoder."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zim.errors import CheckpointError, DataError
from zim.features import PredictorFeatures
from zim.files import atomic_write
from zim.modeling.features import ImageFeatures
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD, Zim

FORMAT = "zim-embedding"
FORMAT_VERSION = "1"


def image_sha256(resized: NDArray[np.uint8], original_size: tuple[int, int]) -> str:
    """The fingerprint of an image: pixels in the input frame, (h, w, 3) uint8, and original (H, W)."""
    digest = hashlib.sha256(json.dumps([list(original_size), list(resized.shape)]).encode())
    digest.update(np.ascontiguousarray(resized).data)
    return digest.hexdigest()


def model_sha256(model: Zim) -> str:
    """The fingerprint of everything that shapes the features: the encoder's tensors, input size and normalisation.

    A model with another decoder on the same encoder may use the same features.
    """
    digest = hashlib.sha256(str(model.image_encoder.img_size).encode())
    for name, usual in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
        values = getattr(model, name).detach().float().cpu().flatten()
        if not torch.allclose(values, torch.tensor(usual), atol=0.5, rtol=0):  # half precision rounds them
            digest.update(f"{name} {values.tolist()}".encode())
    for name, tensor in sorted(model.image_encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def save_features(path: str | Path, features: PredictorFeatures, *, model_hash: str) -> None:
    """Write one image's features, sizes, memory layout and fingerprints, atomically."""
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in features._asdict().items()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "original_size": json.dumps(features.original_size),
        "input_size": json.dumps(features.input_size),
        "model_sha256": model_hash,
        "image_sha256": features.image_sha256 or "",
        "channels_last": json.dumps([name for name, tensor in features._asdict().items() if _is_channels_last(tensor)]),
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_features(path: str | Path, *, model_hash: str, image_hash: str | None = None) -> PredictorFeatures:
    """Read what `save_features` wrote.

    Args:
        path: the file.
        model_hash: `model_sha256` of the model that is to decode.
        image_hash: `image_sha256` of the image that is to be decoded; None trusts the file.

    Raises:
        DataError: the file is missing, damaged or of another kind, or belongs to another image.
        CheckpointError: the features were made by another image encoder.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f"embedding: expected an existing file, got {source}")
    try:
        with safe_open(str(source), framework="pt") as reader:
            metadata = dict(reader.metadata() or {})
            _check_format(metadata, source)
            tensors = {name: reader.get_tensor(name) for name in ImageFeatures._fields}
        for name in json.loads(metadata.get("channels_last", "[]")):
            tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
        features = PredictorFeatures.of(
            ImageFeatures(**tensors),
            original_size=json.loads(metadata["original_size"]),
            input_size=json.loads(metadata["input_size"]),
            image_sha256=metadata.get("image_sha256") or None,
        )
    except DataError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"embedding: {source} is damaged or not a file of save_embedding ({error})") from error
    if metadata.get("model_sha256") != model_hash:
        raise CheckpointError(
            f"embedding: {source} was made by another image encoder (or dtype) than this predictor's: "
            f"expected model {model_hash[:12]}, got {metadata.get('model_sha256', 'none')[:12]}; "
            "call set_image again"
        )
    made_of = features.image_sha256
    if image_hash is not None and made_of != image_hash:
        got = made_of[:12] if made_of else "none recorded (the image came in as a tensor)"
        raise DataError(f"embedding: {source} belongs to another image: expected {image_hash[:12]}, got {got}")
    return features


def _check_format(metadata: dict[str, str], source: Path) -> None:
    found = (metadata.get("format"), metadata.get("format_version"))
    if found != (FORMAT, FORMAT_VERSION):
        raise DataError(
            f"embedding: expected a file of save_embedding ({FORMAT} {FORMAT_VERSION}), got {source} with {found}"
        )


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether a map lies in memory channels last, which decides the last bits of what is computed from it."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
