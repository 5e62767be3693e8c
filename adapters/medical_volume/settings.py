"""Every number that decides how a volume is segmented."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zim.errors import ConfigError

BoxMode = Literal["follow", "every"]
NEARLY_CUBIC = 2.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen, and part of a result's identity.

    window: see `windowing.window_of`. axis: see `slicing.axis_of`; 2-D boxes lie on slices across it.
    context: a slice is shown as the prompt's box grown to this multiple of its size; 0 shows whole slices.
    box3d: "follow" prompts the middle slice with a 3-D box and follows the object from there; "every" prompts each
        slice with the box.
    consensus: also segment along the other two axes and average the three. None does so where it pays: for an object
        with a 3-D box that is followed, in a volume whose spacings differ by no more than NEARLY_CUBIC.
    padding: what the box of the slice before is grown by, as a share of its size, and at least a voxel.
    points: interior points of the slice before that are given along with its box. feed_mask: give its alpha too.
    stop_after: a direction ends after so many empty slices, and after a jump: area more than `max_growth` times that of
        the slice before, overlap with it (both grown by a voxel) below `min_overlap`, or values nearer to the
        surroundings' than to the object's (below `min_likeness` of the way), or, where the
        object stands out clearly (`appearance.CLEAR_CONTRAST`), in two slices one after the other not quite the
        object's (farther from them than `1 - sure_likeness` of the way, on either side): the last slice of an object is
        part surroundings, what touches it beyond its end goes on. Half of that is enough in the second of the two, in
        an object that has dwindled also in the first, and one such slice where that grows again.
    min_island, min_hole: pieces and holes of fewer millilitres are removed and filled; 0 leaves them alone.
    largest_only: keep the largest piece of every label.
    """

    window: str = "auto"
    axis: str = "auto"
    context: float = 2.0
    box3d: BoxMode = "follow"
    consensus: bool | None = None
    padding: float = 0.2
    points: int = 1
    feed_mask: bool = False
    stop_after: int = 2
    max_growth: float = 2.0
    min_overlap: float = 0.1
    min_likeness: float = 0.35
    sure_likeness: float = 0.65
    min_island: float = 0.0
    min_hole: float = 0.0
    largest_only: bool = False

    def over_three_axes(self, *, box3d: bool, spacing: Sequence[float]) -> bool:
        """Whether an object is segmented along all three axes: with a 3-D box or without, voxels of `spacing` mm."""
        if self.consensus is not None:
            return self.consensus
        return box3d and self.box3d == "follow" and max(spacing) <= NEARLY_CUBIC * min(spacing)

    def __post_init__(self) -> None:
        if self.context and self.context < 1:
            raise ConfigError(f"context: expected 0 (whole slices) or at least 1, got {self.context:g}")
        if self.box3d not in ("follow", "every"):
            raise ConfigError(f"box3d: expected follow or every, got {self.box3d!r}")
        for name, least in (("padding", 0), ("points", 0), ("stop_after", 1), ("min_island", 0), ("min_hole", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name}: expected at least {least}, got {getattr(self, name)!r}")
        if not self.max_growth > 1:
            raise ConfigError(f"max_growth: expected more than 1, got {self.max_growth!r}")
        for name in ("min_overlap", "min_likeness", "sure_likeness"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected a number in [0, 1), got {getattr(self, name)!r}")
