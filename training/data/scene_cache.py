"""Scenes rendered once and kept on disk: on a CPU the generator would otherwise cost as much as the training."""

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from zim.errors import DataError, ZimError
from zim.files import atomic_write, write_json_atomic

from .scene_photos import PhotoPool
from .scenes import GENERATOR_VERSION, Scene, SceneObject, generate_scene

ORIGIN_FILE = "photos.json"
"""Beside the scenes: which photographs they were rendered with, so that a licence never changes unseen."""

FIRST_TRAINING_SEED = 1_000_000
"""Scenes below this seed are never trained on: they are for validation and for exported test sets."""

SEEDS_PER_SIZE = 1_000_000


def first_training_seed(size: int) -> int:
    """The first seed of the training scenes of a size: each size has seeds of its own."""
    return FIRST_TRAINING_SEED + SEEDS_PER_SIZE * {256: 0, 512: 1, 1024: 2}.get(size, 3)


def _scene_path(folder: Path, size: int, seed: int) -> Path:
    return folder / f"v{GENERATOR_VERSION}_{size}" / f"{seed:08d}.npz"


def save_scene(path: Path, scene: Scene) -> None:
    """Write a scene (image uint8, alphas as uint8) atomically; alphas are rounded to 8 bit."""
    alphas = np.stack([(item.alpha * 255 + 0.5).astype(np.uint8) for item in scene.objects])
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            image=scene.image,
            alphas=alphas,
            kinds=np.array([item.kind for item in scene.objects]),
            fine=np.array([item.fine for item in scene.objects]),
            parents=np.array([-1 if item.parent is None else item.parent for item in scene.objects]),
        )


def read_scene(path: Path) -> Scene:
    """Read a scene that `save_scene` wrote.

    Raises:
        DataError: the file is not such a scene.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            rows = zip(data["alphas"], data["kinds"], data["fine"], data["parents"], strict=True)
            objects = tuple(
                SceneObject(
                    alpha=alpha.astype(np.float32) / 255,
                    kind=str(kind),
                    fine=bool(fine),
                    parent=None if parent < 0 else int(parent),
                )
                for alpha, kind, fine, parent in rows
            )
            return Scene(image=data["image"], objects=objects)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"scene cache: {path} cannot be read ({error}); delete it to have it rendered again") from error


def _fingerprint(photos: PhotoPool | None) -> dict[str, int | str]:
    """Number of photographs, and a hash of their names and sizes in order."""
    paths = () if photos is None else photos.paths
    listing = "".join(f"{path.name}:{path.stat().st_size}\n" for path in paths)
    return {"photos": len(paths), "sha256": hashlib.sha256(listing.encode()).hexdigest()}


@dataclass(frozen=True, kw_only=True)
class SceneCache:
    """Scenes `first`..`first + count - 1` of one size, rendered when first asked for.

    folder: where they are kept; None keeps nothing and renders each time.
    """

    folder: Path | None
    size: int
    first: int
    count: int
    photos: PhotoPool | None

    def check_origin(self) -> None:
        """Note in a new folder which photographs its scenes are rendered with; refuse one with others.

        Raises:
            DataError: the scenes in the folder were rendered with other photographs, or nobody knows with which.
        """
        if self.folder is None:
            return
        scenes = _scene_path(self.folder, self.size, self.first).parent
        path, wanted = scenes / ORIGIN_FILE, _fingerprint(self.photos)
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"scene cache: {path} cannot be read ({error})") from error
            if found != wanted:
                raise DataError(
                    f"scene cache: {scenes} was rendered with other photographs: expected {wanted}, got {found}; "
                    "give another cache folder"
                )
        elif self.photos is None and next(scenes.glob("*.npz"), None) is not None:
            raise DataError(f"scene cache: {scenes} may hold scenes made of photographs; give another cache folder")
        else:
            write_json_atomic(path, wanted)

    def scene(self, index: int) -> Scene:
        """Scene `first + index`."""
        seed = self.first + index
        if self.folder is None:
            return generate_scene(seed, size=self.size, photos=self.photos)
        path = _scene_path(self.folder, self.size, seed)
        if not path.exists():
            scene = generate_scene(seed, size=self.size, photos=self.photos)
            if not scene.objects:
                return scene
            save_scene(path, scene)
        return read_scene(path)


_worker_cache: SceneCache | None = None


def _start_worker(cache: SceneCache) -> None:
    global _worker_cache
    _worker_cache = cache


def _render(index: int) -> int:
    if _worker_cache is not None:
        _worker_cache.scene(index)
    return index


def render_all(cache: SceneCache, *, workers: int = 1) -> None:
    """Render whatever is missing, with a progress bar; can be interrupted and run again."""
    if cache.folder is None:
        raise DataError("scene cache: expected a folder to render into, got none")
    folder = cache.folder
    cache.check_origin()
    missing = [i for i in range(cache.count) if not _scene_path(folder, cache.size, cache.first + i).exists()]
    done: Iterable[int]
    with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(cache,)) as pool:
        done = pool.map(_render, missing, chunksize=8)
        for _ in tqdm(done, total=len(missing), desc=f"scenes {cache.size} px", unit="scene"):
            pass


def main(argv: list[str] | None = None) -> int:
    """Fill a cache ahead of a training."""
    parser = argparse.ArgumentParser(prog="python -m training.data.scene_cache", description=main.__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder to render into")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--first", type=int, help="first seed (default: that of the training scenes of this size)")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of photographs for textures")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(argv)
    first = first_training_seed(options.size) if options.first is None else options.first
    try:
        photos = PhotoPool(options.photos) if options.photos else None
        cache = SceneCache(folder=options.cache, size=options.size, first=first, count=options.count, photos=photos)
        render_all(cache, workers=options.workers)
    except (ZimError, ValueError, OSError) as error:
        print(f"scene_cache: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
