"""What a label converter is to those who use it, and how weights become one."""

import hashlib
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.checkpoints import load_into, read_checkpoint
from zim.devices import resolve_device
from zim.errors import CheckpointError, ConfigError, DataError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

from .builders import build_matting
from .config import ARCHITECTURE, ConverterConfig
from .matting import MaskGuidedMatting


@runtime_checkable
class Converter(Protocol):
    """Turns coarse labels into mattes, crop by crop.

    side: of the crops that it takes, in pixels. fingerprint: sha256 (hex) of its weights.
    """

    side: int
    fingerprint: str

    def refine(self, images: NDArray[np.uint8], labels: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(N, side, side, 3) uint8 RGB and (N, side, side) bool -> (N, side, side) float32 alpha in [0, 1]."""


class MattingConverter:
    """A trained `MaskGuidedMatting` as a `Converter`."""

    def __init__(
        self, model: MaskGuidedMatting, *, side: int, fingerprint: str, device: torch.device | str = "cpu"
    ) -> None:
        self.side, self.fingerprint = side, fingerprint
        self.device = torch.device(device)
        self.model = model.eval().to(self.device)
        if self.device.type == "cpu":  # several times faster there
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def refine(self, images: NDArray[np.uint8], labels: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Mattes of a batch of crops.

        Args:
            images: (N, side, side, 3) uint8 RGB.
            labels: (N, side, side) bool.

        Returns:
            (N, side, side) float32 alpha in [0, 1].

        Raises:
            DataError: another shape or type.
        """
        expected = (len(labels), self.side, self.side)
        if images.dtype != np.uint8 or images.shape != (*expected, 3):
            raise DataError(f"images: expected uint8 {(*expected, 3)}, got {images.dtype} {images.shape}")
        if labels.dtype != np.bool_ or labels.shape != expected:
            raise DataError(f"labels: expected bool {expected}, got {labels.dtype} {labels.shape}")
        if not len(labels):
            return np.zeros(expected, np.float32)
        image = normalised(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        label = torch.from_numpy(np.ascontiguousarray(labels)).to(self.device)[:, None].float()
        alpha: NDArray[np.float32] = self.model.refined(image, label)[:, 0].float().cpu().numpy()
        return alpha


def normalised(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float with SAM's mean and deviation."""
    mean, deviation = (torch.tensor(values, device=images.device)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    return (images.permute(0, 3, 1, 2).float() - mean) / deviation


def load_converter(path: str | Path, device: str = "cpu") -> Converter:
    """The converter of a file that `training.label_converter.train` wrote.

    Args:
        path: safetensors with the configuration in the metadata.
        device: "cpu", "cuda", "cuda:N", "mps" or "auto".

    Raises:
        CheckpointError: the file is missing or damaged, or is no label converter.
        ConfigError: there is no such device.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.config.get("architecture") != ARCHITECTURE:
        found = checkpoint.config.get("architecture")
        raise CheckpointError(f"{path}: expected weights of a {ARCHITECTURE}, got {found!r}")
    try:
        config = ConverterConfig.from_dict(checkpoint.config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: expected a converter's configuration, got one with {error}") from error
    model = build_matting(config)
    load_into(model, checkpoint.state_dict)
    return MattingConverter(
        model, side=config.side, fingerprint=fingerprint_of(checkpoint.state_dict), device=resolve_device(device)
    )


def fingerprint_of(state: dict[str, Tensor]) -> str:
    """sha256 (hex) over names, shapes and values: the same weights give the same text in any file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update((value.float() if value.is_floating_point() else value).numpy().tobytes())
    return digest.hexdigest()
