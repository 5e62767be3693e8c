"""A slice of a volume as the stage shows it: the picture, the objects' mattes and their outlines."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.medical_volume.montage import with_outlines
from adapters.medical_volume.pointing import ShownSlice

from .stage import COLOURS, ShownObject, cutout_url, matte_url, photo_url
from .volume_prompts import VolumeObject, shown_object


class DrawnSlice(NamedTuple):
    """key: of the picture among `assets`. outlines: key of the one with outlines. objects: as `StageValue` has them.

    assets: key -> data URL.
    """

    key: str
    outlines: str
    objects: list[ShownObject]
    assets: dict[str, str]


def draw_slice(
    shown: ShownSlice,
    picture: NDArray[np.uint8],
    objects: Sequence[tuple[VolumeObject, NDArray[np.float32] | None]],
    *,
    key: str,
    model: str,
    revision: int,
) -> DrawnSlice:
    """The slice with the objects on it.

    Args:
        picture: (h, w, 3) of the slice. key: what tells this picture from all others.
        objects: each with its alpha on the slice, (rows, columns), or None where it has none.
        model: whose alphas they are. revision: of the stage's value, which pictures that change are named after.
    """
    assets = {key: photo_url(picture)}
    drawn, planes = [], []
    for place, (one, plane) in enumerate(objects):
        mattes = {}
        if plane is not None:
            mattes = {model: f"matte-{revision}-{place}"}
            assets[mattes[model]] = matte_url(shown.frame.to_picture(np.ascontiguousarray(plane)))
        planes.append(np.zeros(shown.view.plane_hw, np.float32) if plane is None else plane)
        drawn.append(shown_object(one, shown, COLOURS[place % len(COLOURS)], mattes))
    outlines = f"outlines-{revision}"
    colours = with_outlines(picture, planes)  # not as JPEG, which blurs thin lines
    assets[outlines] = cutout_url(np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)]))
    return DrawnSlice(key, outlines, drawn, assets)
