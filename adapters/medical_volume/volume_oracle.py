"""The oracle of `adapters.oracle` for volumes: it knows the true alpha of every slice it may be shown."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..oracle import OraclePredictor
from .slicing import SliceView
from .windowing import Window


class VolumeOracle:
    """Recognises whole slices (context 0) of one volume and answers with the truth that fits the prompt best.

    voxels: (X, Y, Z) canonical. alphas: the true objects. views: the axes along which it will be asked.
    """

    def __init__(
        self,
        voxels: NDArray[np.float32],
        alphas: Sequence[NDArray[np.float32]],
        views: Sequence[SliceView],
        window: Window,
        *,
        reports_binary: bool = False,
    ) -> None:
        self._alphas, self._oracle = alphas, OraclePredictor(reports_binary=reports_binary)
        self.reports_binary = reports_binary
        self.shown = 0
        self._places: Mapping[str, tuple[SliceView, int]] = {
            _fingerprint(view.picture(voxels, index, window)): (view, index)
            for view in views
            for index in range(view.count)
        }

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """(H, W, 3) uint8: a slice of the volume."""
        view, index = self._places[_fingerprint(image)]
        frame = view.frame()
        truths = [frame.to_picture(np.ascontiguousarray(view.plane(alpha, index))) for alpha in self._alphas]
        self._oracle.expect(*truths)
        self._oracle.set_image(image)
        self.shown += 1

    def predict(self, *args: Any, **kwargs: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """See `OraclePredictor.predict`."""
        return self._oracle.predict(*args, **kwargs)


def _fingerprint(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
