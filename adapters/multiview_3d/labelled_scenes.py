"""Captured scenes with true masks: NeRF's synthetic pictures, and the layouts of NVOS and SPIn-NeRF.

- Alphas in the pictures: an RGBA picture's fourth channel is the view's truth (nerf_synthetic).
- NVOS: SCENE/ with LLFF cameras, reference_image/ with one picture, scribbles/*pos*.png (255 on the object) or
  reference/*mask*.png, and masks/*mask*.png for the target view; file names carry the view's name.
- SPIn-NeRF: SCENE/ with LLFF or COLMAP cameras and masks under images_*/label/ or masks/, one for each view, not black
  on the object.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zim.errors import DataError, ZimError
from zim.image_io import read_gray
from zim.prompts import Prompt, box_from_alpha, points_from_scribble

from .pose_files import pictures_in
from .scene_files import open_scene
from .views import Scene

DEFAULT_VIEW = 3
"""The prompted view of scenes that name none: not the first, which is often the oddest."""

_MASK_FOLDERS = ("masks", "label", "labels", "images/label", "images_4/label", "images_8/label", "images_2/label")
_SCRIBBLE_FOLDERS = ("scribbles", "reference/scribbles", "scribble")


class LabelledScene(NamedTuple):
    """truths: for each view (H, W) float32, or None. view: the prompted one. layout: which reader found it."""

    name: str
    scene: Scene
    truths: list[NDArray[np.float32] | None]
    view: int
    prompt: Prompt
    layout: str


def open_labelled(root: Path) -> list[LabelledScene]:
    """The scene of a folder, or the scenes of the folders in it.

    Raises:
        DataError: none of them has cameras and a truth.
    """
    found, reasons = [], []
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        try:
            found.append(read_labelled(folder))
        except ZimError as error:
            reasons.append(f"{folder.name}: {error}")
        if folder == root and found:
            break
    if not found:
        raise DataError(f"{root}: expected posed scenes with true masks; {reasons[0]}")
    return found


def read_labelled(folder: Path) -> LabelledScene:
    """One scene.

    Raises:
        DataError: no cameras, no truth, or nothing to prompt with.
    """
    scene = open_scene(folder)
    truths = [_own_alpha(view.image) for view in scene.views]
    if any(truth is not None for truth in truths):
        view = min(DEFAULT_VIEW, len(scene.views) - 1)
        return LabelledScene(folder.name, scene, truths, view, _box(truths[view], folder), "alpha per view")
    scribbles = next((folder / name for name in _SCRIBBLE_FOLDERS if (folder / name).is_dir()), None)
    masks = _masks(folder, scene)
    if scribbles is not None:
        view, prompt = _scribbled(scribbles, scene)
        return LabelledScene(folder.name, scene, masks, view, prompt, "NVOS")
    view = next(i for i, truth in enumerate(masks) if truth is not None)
    return LabelledScene(folder.name, scene, masks, view, _box(masks[view], folder), "SPIn-NeRF")


def _own_alpha(image: Path | NDArray[np.uint8]) -> NDArray[np.float32] | None:
    if not isinstance(image, Path):
        return None
    with Image.open(image) as opened:
        if opened.mode != "RGBA":
            return None
        alpha = np.asarray(opened)[..., 3].astype(np.float32) / np.float32(255)
    return None if alpha.min() == 1 else alpha


def _box(truth: NDArray[np.float32] | None, folder: Path) -> Prompt:
    if truth is None or not (truth > 0.5).any():
        raise DataError(f"{folder}: the view to be prompted has no object in its true mask")
    return Prompt(box=box_from_alpha(truth, 0.5))


def _masks(folder: Path, scene: Scene) -> list[NDArray[np.float32] | None]:
    """True masks by the view's name in the file's name, scaled to the view.

    Raises:
        DataError: no mask belongs to any view.
    """
    files = [path for name in _MASK_FOLDERS for path in pictures_in(folder / name)]
    found: list[NDArray[np.float32] | None] = []
    for view in scene.views:
        stem = view.name.rpartition("/")[2]
        file = next((path for path in files if path.stem == stem), None)
        file = file or next((path for path in files if stem in path.stem), None)
        if file is None:
            found.append(None)
            continue
        mask = (read_gray(file) > 0).astype(np.float32)
        found.append(cv2.resize(mask, view.hw[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32))
    if all(mask is None for mask in found):
        raise DataError(f"{folder}: expected true masks in {', '.join(_MASK_FOLDERS[:3])}, found none for any view")
    return found


def _scribbled(folder: Path, scene: Scene) -> tuple[int, Prompt]:
    """The reference view and its scribbles as points.

    Raises:
        DataError: no file of positive scribbles that names a view.
    """
    files = pictures_in(folder)
    for file in files:
        if "pos" not in file.stem:
            continue
        fitting = [i for i, name in enumerate(scene.names) if name.rpartition("/")[2] in file.stem]
        if not fitting:
            continue
        view = scene.views[fitting[0]]
        strokes = np.full(view.hw, 128, np.uint8)
        strokes[_stroke(file, view.hw)] = 255
        negative = next((f for f in files if "neg" in f.stem and view.name.rpartition("/")[2] in f.stem), None)
        if negative is not None:
            strokes[_stroke(negative, view.hw)] = 0
        coords, labels = points_from_scribble(strokes, 16)
        return fitting[0], Prompt(point_coords=coords, point_labels=labels)
    raise DataError(f"{folder}: expected a file with 'pos' and a view's name in its name, found none")


def _stroke(file: Path, hw: tuple[int, int]) -> NDArray[np.bool_]:
    picture = read_gray(file)
    return np.asarray(cv2.resize(picture, hw[::-1], interpolation=cv2.INTER_NEAREST) > 127, np.bool_)
