"""The benchmark's contact sheet: photo with prompt, truth, and the alpha of every model."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import MissingDependencyError
from zim.evaluation.results import GalleryEntry
from zim.evaluation.samples import downsize
from zim.files import atomic_write
from zim.prompts import Prompt

THUMBNAIL = 320  # px, long side
_CELL_INCHES = 2.1
_POSITIVE, _NEGATIVE, _BOX = (64, 224, 64), (255, 64, 64), (255, 208, 0)


def thumbnail(
    image: NDArray[np.uint8], alpha: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A photo and an alpha of one size, at most THUMBNAIL pixels long."""
    return downsize(image, alpha, THUMBNAIL)


def draw_prompt(image: NDArray[np.uint8], prompt: Prompt) -> NDArray[np.uint8]:
    """A copy of an (H, W, 3) uint8 photo with box, positive (green) and negative (red) points drawn in."""
    canvas = np.ascontiguousarray(image).copy()
    radius = max(2, round(max(image.shape[:2]) / 80))
    if prompt.box is not None:
        x1, y1, x2, y2 = (round(v) for v in prompt.box.tolist())
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _BOX, thickness=max(1, radius // 2))
    if prompt.point_coords is not None and prompt.point_labels is not None:
        for (x, y), label in zip(prompt.point_coords.tolist(), prompt.point_labels.tolist(), strict=True):
            centre = (round(x), round(y))
            cv2.circle(canvas, centre, radius + 1, (255, 255, 255), thickness=-1)
            cv2.circle(canvas, centre, radius, _POSITIVE if label == 1 else _NEGATIVE, thickness=-1)
    return canvas


def save_figure(gallery: list[GalleryEntry], rows: list[str], path: str | Path) -> None:
    """Write the sheet, one sample per line and one column per row name, with the per-image MSE as captions.

    Raises:
        ValueError: the gallery is empty.
        MissingDependencyError: matplotlib is not installed.
    """
    if not gallery:
        raise ValueError("gallery: expected at least one sample to draw, got none")
    figure_class, canvas_class = _matplotlib()
    columns = 2 + len(rows)
    figure = figure_class(
        figsize=(_CELL_INCHES * columns, (_CELL_INCHES + 0.3) * len(gallery)), layout="constrained"
    )
    canvas_class(figure)
    grid = figure.subplots(len(gallery), columns, squeeze=False)
    for line, entry in zip(grid, gallery, strict=True):
        _show(line[0], draw_prompt(entry.image, entry.prompt), entry.sample)
        _show(line[1], entry.truth, "truth")
        for axes, row in zip(line[2:], rows, strict=True):
            alpha = entry.alphas.get(row)
            _show(axes, alpha, f"{row}\nMSE {entry.mse[row]:.1f}" if alpha is not None else f"{row}\nfailed")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _show(axes: Any, picture: NDArray | None, title: str) -> None:
    axes.set_axis_off()
    axes.set_title(title if len(title) < 60 else "..." + title[-57:], fontsize=7)
    if picture is not None:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)


def _matplotlib() -> tuple[Any, Any]:
    """Figure and Agg canvas, without pyplot: no global state, no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "the benchmark's figure needs matplotlib; install it with: pip install 'zim-matting[dev]'"
        ) from error
    return Figure, FigureCanvasAgg
