"""What the comparison runs on: photos with a true alpha, and the box around alpha > 0.3 as the only prompt."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.evaluation.datasets import FolderDataset
from zim.evaluation.samples import downsize
from zim.prompts import box_from_alpha

from ..fine_objects import fine_scenes

SCENES, SCENE_SIDE = 10, 320
"""Generated scenes: two of each fine kind."""

LONG_SIDE = 512
"""Photos of a folder are shrunk to this before anything is measured."""


class Sample(NamedTuple):
    """case: "fine objects", or a photo's tag. image: (H, W, 3) uint8. alpha: (H, W) float32. box: (4,) xyxy."""

    case: str
    name: str
    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    box: NDArray[np.float32]


def samples_of(data: Path | None, limit: int | None, *, seed: int = 0) -> Iterator[Sample]:
    """Photos of a folder with alphas (`image/` + `alpha/`), or scenes generated with `seed`.

    Raises:
        DataError: the folder holds no pair, or a file cannot be read.
        PromptError: an alpha without any pixel above 0.3.
    """
    if data is None:
        for index, scene in enumerate(fine_scenes(limit or SCENES, seed=seed, side=SCENE_SIDE)):
            name = f"{index}_{scene.kind}"
            yield Sample("fine objects", name, scene.image, scene.alpha, box_from_alpha(scene.alpha))
        return
    for photo in FolderDataset(data, limit=limit):
        image, alpha = downsize(*photo.load(), LONG_SIDE)
        yield Sample(photo.tag or "photos", photo.id, image, alpha, box_from_alpha(alpha))


def count_of(data: Path | None, limit: int | None) -> int:
    """How many samples there are."""
    return (limit or SCENES) if data is None else len(FolderDataset(data, limit=limit))
