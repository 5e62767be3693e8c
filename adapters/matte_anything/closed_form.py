"""Closed-form matting with pymatting's Laplacian, on the unknown region's window, in tiles where that is large.

Levin, Lischinski & Weiss, "A Closed-Form Solution to Natural Image Matting" (TPAMI 2008): with the matting Laplacian L
and the known pixels K, the unknown alphas x_U solve

    (L_UU + lambda) x_U = lambda a_U - L_UK x_K

where `a` is the predictor's own alpha. lambda = 0 is the plain method, which forgets `a` altogether.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, MissingDependencyError

from .refiners import OnProgress
from .tiles import Tile, Tiling, blend_tiles, tiles_of, window_around
from .trimap import UNKNOWN

CLOSED_FORM_TILING = Tiling(side=1024, overlap=128)
PRIOR_WEIGHT = 1e-4
"""lambda where the predictor's alpha is more than a mask: a breath against the Laplacian's entries of about 1."""

_MARGIN = 3
_RIM = 2
_SHIFTS = (1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 10.0, 100.0)
_FILL = 40
"""Entries of the preconditioner per unknown pixel, at most; the Laplacian itself has 25."""

Pulse = Callable[[], None]
"""Called while a system is being solved."""


@dataclass(frozen=True, kw_only=True)
class ClosedFormRefiner:
    """Solves for the unknown pixels of a trimap.

    prior_weight: lambda above; with 0 the predictor's alpha is the answer only where the trimap knows no foreground or
    no background. epsilon: the Laplacian's regularisation, for colours in [0, 1]. tiling: of windows larger than one
    tile; their rims are held at the solution of the whole window shrunk to a tile, so that neighbours agree.
    tolerance, iterations: of the conjugate gradients. on_progress: see `watched`.

    Raises:
        ConfigError: a negative weight, or a number that has to be positive and is not.
    """

    prior_weight: float = PRIOR_WEIGHT
    epsilon: float = 1e-7
    tiling: Tiling = CLOSED_FORM_TILING
    tolerance: float = 1e-5
    iterations: int = 2000
    on_progress: OnProgress = lambda share: None

    def __post_init__(self) -> None:
        if not 0 <= self.prior_weight < float("inf"):
            raise ConfigError(f"prior_weight: expected a number >= 0, got {self.prior_weight}")
        for name, value in (("epsilon", self.epsilon), ("tolerance", self.tolerance), ("iterations", self.iterations)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"{name}: expected a positive number, got {value}")

    def watched(self, on_progress: OnProgress) -> "ClosedFormRefiner":
        """The same, calling `on_progress` after each tile and, with the same share again, while it solves one."""
        return replace(self, on_progress=on_progress)

    def __call__(
        self, image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The alpha of a photo.

        Args:
            image: (H, W, 3) uint8 RGB.
            trimap: (H, W) float32 of 0, 0.5, 1; known pixels stay as they are.
            alpha: (H, W) float32 in [0, 1], the predictor's.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            MissingDependencyError: pymatting is not installed.
        """
        unknown = trimap == UNKNOWN
        if not unknown.any():
            return trimap.astype(np.float32)
        if self.prior_weight == 0 and not ((trimap == 1).any() and (trimap == 0).any()):
            return np.where(unknown, alpha, trimap).astype(np.float32)
        window = window_around(unknown, _MARGIN).window
        refined = trimap.astype(np.float32)
        refined[window] = self._in_window(image[window], refined[window], alpha[window])
        return refined

    def _in_window(
        self, image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        unknown = trimap == UNKNOWN
        hw = unknown.shape
        tiles = tiles_of((hw[0], hw[1]), self.tiling)
        share = 0.0

        def pulse() -> None:
            self.on_progress(share)

        if len(tiles) == 1:
            return self._solve(image, trimap, unknown, alpha, pulse)
        coarse = self._shrunk(image, trimap, alpha, pulse)
        start = np.where(unknown, coarse, trimap)

        def estimate(tile: Tile) -> NDArray[np.float32]:
            free = unknown[tile.window] & ~_inner_rim(tile, (hw[0], hw[1]))
            return self._solve(image[tile.window], start[tile.window], free, alpha[tile.window], pulse)

        def on_tile(done: int, count: int) -> None:
            nonlocal share
            share = (1 + done) / (1 + count)  # the small copy counts as one tile
            pulse()

        blended = blend_tiles(tiles, estimate, (hw[0], hw[1]), self.tiling, unknown, on_tile)
        return np.where(unknown, blended, trimap)

    def _shrunk(
        self, image: NDArray[np.uint8], trimap: NDArray[np.float32], alpha: NDArray[np.float32], pulse: Pulse
    ) -> NDArray[np.float32]:
        """The solution of a small copy, one tile large, resized back: (H, W) float32 in [0, 1]."""
        height, width = trimap.shape
        scale = self.tiling.side / max(height, width)
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        small_image, small_trimap, small_alpha = (
            cv2.resize(array, size_wh, interpolation=cv2.INTER_AREA) for array in (image, trimap, alpha)
        )
        unknown = (small_trimap > 1e-6) & (small_trimap < 1 - 1e-6)
        known = np.where(unknown, UNKNOWN, np.rint(small_trimap)).astype(np.float32)
        prior = np.asarray(small_alpha, np.float32)
        solved = self._solve(np.asarray(small_image, np.uint8), known, unknown, prior, pulse)
        return np.clip(np.asarray(cv2.resize(solved, (width, height), interpolation=cv2.INTER_LINEAR)), 0, 1)

    def _solve(
        self,
        image: NDArray[np.uint8],
        known: NDArray[np.float32],
        unknown: NDArray[np.bool_],
        alpha: NDArray[np.float32],
        pulse: Pulse,
    ) -> NDArray[np.float32]:
        """All (h, w[, 3]): `known` with its unknown pixels solved for. Without a solution they take the alpha."""
        if not unknown.any():
            return known
        free = unknown.ravel()
        laplacian = _pymatting().cf_laplacian(image / 255.0, epsilon=self.epsilon, is_known=~unknown)[free]
        prior = alpha.ravel()[free].astype(np.float64)
        right = self.prior_weight * prior - laplacian[:, ~free] @ known.ravel()[~free].astype(np.float64)
        matrix = laplacian[:, free].tocsc()
        del laplacian
        matrix.setdiag(matrix.diagonal() + self.prior_weight)
        solved = known.ravel().copy()
        solved[free] = prior
        if np.abs(right).max() > 0:
            with contextlib.redirect_stdout(io.StringIO()):  # the factorisation prints each attempt that fails
                solved[free] = np.clip(self._conjugate_gradients(matrix, right, prior, pulse), 0, 1)
        elif not free.all():  # nothing but background around: no unique solution only where nothing is known
            solved[free] = 0
        return solved.reshape(known.shape)

    def _conjugate_gradients(
        self, matrix: Any, right: NDArray[np.float64], start: NDArray[np.float64], pulse: Pulse
    ) -> Any:
        """(N,) float64: the solution, or the last iterate where the tolerance is out of reach."""
        library, latest = _pymatting(), start
        try:
            factors = library.ichol(matrix, shifts=_SHIFTS, max_nnz=_FILL * len(right) + 1000)
        except ValueError:  # more entries than are worth it
            factors = library.jacobi(matrix)

        def note(_matrix: Any, iterate: NDArray[np.float64], *_: Any) -> None:
            nonlocal latest
            latest = iterate
            pulse()

        settings = {"x0": start, "M": factors, "rtol": self.tolerance, "maxiter": self.iterations}
        try:
            return library.cg(matrix, right, callback=note, **settings)
        except ValueError:
            return latest


def _inner_rim(tile: Tile, hw: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w) bool: the outermost pixels of a tile along the edges that lie inside the window."""
    rim = np.zeros((tile.bottom - tile.top, tile.right - tile.left), dtype=bool)
    rim[: _RIM * (tile.top > 0)] = True
    rim[len(rim) - _RIM * (tile.bottom < hw[0]) :] = True
    rim[:, : _RIM * (tile.left > 0)] = True
    rim[:, rim.shape[1] - _RIM * (tile.right < hw[1]) :] = True
    return rim


def _pymatting() -> Any:
    try:
        import pymatting
    except ImportError as error:
        raise MissingDependencyError(
            "closed-form refinement needs pymatting: pip install 'zim-matting[matting]'"
        ) from error
    return pymatting
