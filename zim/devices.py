"""Which device a model goes to."""

import torch

from zim.errors import ConfigError


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn "auto" into the best device present: CUDA, else MPS, else the CPU; take anything else literally.

    Raises:
        ConfigError: torch does not know such a device, or it is not present.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r}") from error
    absent = (resolved.type == "cuda" and not torch.cuda.is_available()) or (
        resolved.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ConfigError(f"device: {device!r} is not present on this machine; expected auto or cpu")
    if resolved.type == "meta":
        raise ConfigError("device: expected one that computes, got 'meta'")
    try:
        torch.empty(0, device=resolved)
    except Exception as error:  # an absent backend or index: RuntimeError, AssertionError, NotImplementedError...
        raise ConfigError(f"device: {str(device)!r} cannot be used here ({error}); expected auto or cpu") from error
    return resolved
