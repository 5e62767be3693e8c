"""From measured values to grey levels: one window for a whole volume, never one for a slice."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

_SAMPLED = 4_000_000
"""Percentiles are taken over at most about this many voxels, evenly spaced."""


class Window(NamedTuple):
    """Values from `lower` (black) to `upper` (white)."""

    lower: float
    upper: float

    def grey(self, plane: NDArray[np.floating]) -> NDArray[np.uint8]:
        """(H, W) values -> (H, W) grey levels; what is not a number is black."""
        scaled = (plane.astype(np.float32) - np.float32(self.lower)) * np.float32(255 / (self.upper - self.lower))
        return (np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0, 255) + 0.5).astype(np.uint8)


def _centred(level: float, width: float) -> Window:
    return Window(level - width / 2, level + width / 2)


PRESETS: dict[str, Window] = {
    "soft_tissue": _centred(40, 400),
    "lung": _centred(-600, 1500),
    "bone": _centred(400, 1800),
    "brain": _centred(40, 80),
    "liver": _centred(50, 150),
}
"""Common CT windows, in Hounsfield units."""

PERCENTILES = (0.5, 99.5)


def percentile_window(voxels: NDArray[np.floating], percentiles: tuple[float, float] = PERCENTILES) -> Window:
    """The window between two percentiles.

    A volume without negative values (MR) is measured over its voxels above 0, so that an empty background does not
    count, and 0 stays black. One with negative values (CT, normalised MR) is measured over all.

    Raises:
        ConfigError: percentiles that are not 0 <= lower < upper <= 100.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ConfigError(f"percentiles: expected 0 <= lower < upper <= 100, got {low:g} {high:g}")
    step = max(1, int(np.ceil((voxels.size / _SAMPLED) ** (1 / 3))))
    sample = voxels[::step, ::step, ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size and float(sample.min()) >= 0 and (sample > 0).any():
        sample = sample[sample > 0]
    if not sample.size:
        return Window(0.0, 1.0)
    lower, upper = (float(value) for value in np.percentile(sample, percentiles))
    if upper <= lower:
        lower, upper = float(sample.min()), float(sample.max())
    return Window(lower, upper) if upper > lower else Window(lower - 1, lower + 1)


def window_of(text: str, voxels: NDArray[np.floating]) -> Window:
    """The window that a word asks for.

    Args:
        text: "auto" (percentiles 0.5 to 99.5), a preset's name, "LOWER,UPPER" in the volume's values, or
            "LOWER%,UPPER%".
        voxels: the whole volume.

    Raises:
        ConfigError: none of these.
    """
    if text == "auto":
        return percentile_window(voxels)
    if text in PRESETS:
        return PRESETS[text]
    parts = text.split(",")
    try:
        if len(parts) != 2:
            raise ValueError(text)
        if all(part.strip().endswith("%") for part in parts):
            low, high = (float(part.strip()[:-1]) for part in parts)
            return percentile_window(voxels, (low, high))
        lower, upper = (float(part) for part in parts)
        if not (np.isfinite([lower, upper]).all() and lower < upper):
            raise ValueError(text)
    except ConfigError:
        raise
    except ValueError as error:
        names = ", ".join(PRESETS)
        raise ConfigError(f"window: expected auto, {names}, LOWER,UPPER or LOWER%,UPPER%, got {text!r}") from error
    return Window(lower, upper)
