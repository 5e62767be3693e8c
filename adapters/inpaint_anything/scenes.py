"""Objects of known alpha and colours before known backgrounds: removal and replacement with a known answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.compositing import blend, cover
from zim.errors import DataError
from zim.image_io import read_image
from zim.matte_files import PICTURE_SUFFIXES

from ..fine_objects import FINE_KINDS, FineScene, fine_scene

SIDE = 512


class KnownScene(NamedTuple):
    """name: kind and number. scene: object, alpha, and the picture with the object in front of its background.
    new_background: (S, S, 3) uint8, another one. replaced: (S, S, 3) uint8, the object before it, exactly."""

    name: str
    scene: FineScene
    new_background: NDArray[np.uint8]
    replaced: NDArray[np.uint8]


def known_scenes(count: int, *, photos: Path | None = None, seed: int = 0, side: int = SIDE) -> Iterator[KnownScene]:
    """`count` scenes, the fine kinds in turn.

    Args:
        count: how many.
        photos: a folder, searched with its sub-folders: backgrounds are photographs cut to squares. None generates
            textures.
        seed: of the objects; photographs are taken in an order that it decides.
        side: of the squares.

    Raises:
        DataError: fewer than two photographs.
    """
    files = _photographs(photos, seed) if photos is not None else []
    for index in range(count):
        kind = FINE_KINDS[index % len(FINE_KINDS)]
        scene = fine_scene(kind, seed=seed * 100_003 + index, side=side)
        other = fine_scene(kind, seed=seed * 100_003 + 50_000 + index, side=side).background
        if files:
            background = _square(files[2 * index % len(files)], side)
            other = _square(files[(2 * index + 1) % len(files)], side)
            image = blend(scene.foreground, scene.alpha, background)
            scene = scene._replace(background=background, image=image)
        yield KnownScene(f"{kind} {index}", scene, other, blend(scene.foreground, scene.alpha, other))


def _photographs(folder: Path, seed: int) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    if len(found) < 2:
        raise DataError(f"--data: expected a folder with at least two photographs, got {len(found)} in {folder}")
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def _square(path: Path, side: int) -> NDArray[np.uint8]:
    return np.asarray(cover(read_image(path), (side, side)), np.uint8)
