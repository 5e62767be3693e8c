"""Between pixels of a slice's picture, as people click them, and voxels of the file."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry
from .prompts import BoxPrompt, PointPrompt, plane_box, slices_of
from .slicing import Frame, SliceView


@dataclass(frozen=True, kw_only=True)
class ShownSlice:
    """One whole slice as a picture with square pixels.

    geometry: of the volume. view: the slices. index: canonical, of this one.
    """

    geometry: Geometry
    view: SliceView
    index: int

    @cached_property
    def frame(self) -> Frame:
        """The whole plane as a picture."""
        return self.view.frame()

    @property
    def picture_hw(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.frame.picture_hw

    def point_at(self, x: float, y: float, label: int = 1) -> PointPrompt:
        """The voxel of the file under the middle of pixel (x, y) of the picture."""
        column, row = np.floor(self.frame.xy_in_plane(np.array([x + 0.5, y + 0.5]))).astype(int)
        rows, columns = self.view.plane_hw
        middle = np.clip([column, row], 0, [columns - 1, rows - 1]) + 0.5
        i, j, k = self._stored(self.view.point_in_volume(middle, self.index))
        return PointPrompt(at=(i, j, k), label=label)

    def box_between(
        self, x1: float, y1: float, x2: float, y2: float, slices: tuple[int, int] | None = None
    ) -> BoxPrompt:
        """The voxels of the file in a box of the picture, edges rounded to the nearest edge of a voxel.

        Args:
            x1, y1, x2, y2: edges in the picture, in any order.
            slices: canonical, first and last; this slice alone where there are none.
        """
        one, other = self.frame.xy_in_plane(np.array([[x1, y1], [x2, y2]]))
        low, high = np.minimum(one, other), np.maximum(one, other)
        rows, columns = self.view.plane_hw
        limit = np.array([columns, rows])
        first = np.clip(np.rint(low), 0, limit - 1)
        last = np.clip(np.rint(high), 1, limit)
        thin = last <= first
        first = np.where(thin, np.clip(np.floor((low + high) / 2), 0, limit - 1), first)
        last = np.where(thin, first + 1, last)
        near, far = slices if slices is not None else (self.index, self.index)
        start = self._stored(self.view.point_in_volume(first + 0.5, near))
        end = self._stored(self.view.point_in_volume(last - 0.5, far))
        a, b, c = (min(pair) for pair in zip(start, end, strict=True))
        d, e, f = (max(pair) for pair in zip(start, end, strict=True))
        return BoxPrompt(corner=(a, b, c), opposite=(d, e, f))

    def point_in_picture(self, prompt: PointPrompt) -> tuple[float, float] | None:
        """xy of the pixel that a voxel's middle lies in, whole numbers at middles; None on another slice."""
        voxel = self.geometry.stored_to_canonical(np.array(prompt.at))
        if round(float(voxel[self.view.axis])) != self.index:
            return None
        x, y = self.frame.xy_in_picture(self.view.point_in_plane(voxel)) - 0.5
        return float(x), float(y)

    def box_in_picture(self, prompt: BoxPrompt) -> tuple[float, float, float, float] | None:
        """Edges of a box of voxels where it cuts this slice; None where it does not."""
        voxels = np.sort(self.geometry.stored_to_canonical(np.array([prompt.corner, prompt.opposite])), axis=0)
        corners = voxels + [[-0.5], [0.5]]
        first, last = slices_of(corners, self.view)
        if not first <= self.index <= last:
            return None
        x1, y1, x2, y2 = self.frame.xy_in_picture(plane_box(corners, self.view).reshape(2, 2)).ravel()
        return float(x1), float(y1), float(x2), float(y2)

    def _stored(self, canonical: NDArray[np.float64]) -> tuple[float, float, float]:
        i, j, k = np.rint(self.geometry.canonical_to_stored(canonical))
        return float(i), float(j), float(k)
