"""A comparison's pictures and curves as one PNG."""

from pathlib import Path
from typing import Any

import numpy as np

from zim.errors import MissingDependencyError
from zim.files import atomic_write

from .comparison import Comparison, Curve, Tile

_TILE_INCHES = 2.2
_CURVE_INCHES = (5.0, 3.4)


def save_comparison_figure(comparison: Comparison, path: str | Path) -> bool:
    """Write curves above and lines of pictures below; False when there is neither, and nothing is written.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lines = [list(line) for line in comparison.tiles if line]
    if not lines and not comparison.curves:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "figures need matplotlib; install it with: pip install 'zim-matting[train]'"
        ) from error
    columns = max((len(line) for line in lines), default=1)
    width = max(_TILE_INCHES * columns, _CURVE_INCHES[0] * len(comparison.curves))
    shares = [_CURVE_INCHES[1]] * bool(comparison.curves) + [_line_height(line) for line in lines]
    figure = Figure(figsize=(width, sum(shares) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    parts: list[Any] = list(np.ravel(figure.subfigures(len(shares), 1, height_ratios=shares, squeeze=False)))
    if comparison.curves:
        axes = parts.pop(0).subplots(1, len(comparison.curves), squeeze=False)[0]
        for axis, curve in zip(axes, comparison.curves, strict=True):
            _plot(axis, curve)
    for part, line in zip(parts, lines, strict=True):
        for axis, tile in zip(part.subplots(1, columns, squeeze=False)[0], [*line, *[None] * columns], strict=False):
            _show(axis, tile)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return True


def _line_height(line: list[Tile]) -> float:
    """Inches that the tallest picture of a line needs."""
    return max(_TILE_INCHES * tile.image.shape[0] / tile.image.shape[1] for tile in line) + 0.4


def _plot(axis: Any, curve: Curve) -> None:
    for name, ys in curve.series.items():
        axis.plot(curve.x, ys, marker="o", markersize=3, label=name)
    axis.set_title(curve.title, fontsize=9)
    axis.set_xlabel(curve.x_title, fontsize=8)
    axis.set_ylabel(curve.y_title, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)


def _show(axis: Any, tile: Tile | None) -> None:
    axis.set_axis_off()
    if tile is None:
        return
    axis.set_title(tile.caption, fontsize=7)
    axis.imshow(tile.image, cmap="gray", vmin=0, vmax=255 if tile.image.dtype == np.uint8 else 1)
