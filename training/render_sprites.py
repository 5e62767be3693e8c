"""Render a sprite library: `python -m training.render_sprites --out DIR --count 1000 --photos DIR --segments DIR`.

Mattes that `training.convert_sa1b` made come by `--shards` (photographs with them) and `--objects` (whole objects, cut
out with them).
"""

import argparse
import glob
import hashlib
import json
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from zim.errors import ConfigError, DataError, ZimError
from zim.files import write_json_atomic

from .data.mattes import MatteShards
from .data.scene_photos import PhotoPool
from .data.scenes import GENERATOR_VERSION
from .data.segments import LabelledPhoto, SegmentPool
from .data.sprites import FAMILIES, FORMAT_VERSION, MANIFEST, SpriteShard, write_photos, write_sprites
from .data.sprites_codec import CELL
from .data.sprites_photos import background_photo, build_shard, reduced, reduced_mattes
from .data.sprites_render import Sprite, cut_matte, cut_sprite, render_sprite

OWN_LICENSE = "Apache-2.0"
"""Licence of a library without photographs."""

_NOTICE_LENGTH = 2000
_MATTES_EACH = 3
"""Most mattes of a photograph that are kept."""


@dataclass(frozen=True, kw_only=True)
class LibraryConfig:
    """What a library holds.

    count: sprites, `cutouts` of which are cut out of photographs along labels and `matte_cutouts` with mattes.
    size: side of a sprite's frame in pixels. backgrounds: pictures without labels; labelled: photographs with labels;
    matted: photographs with mattes. photo_side: their long side. fine_share: of the fine family among the procedural
    sprites. quality: JPEG's scale, of all colours. shard: sprites or photographs to a file.
    """

    count: int
    cutouts: int = 0
    size: int = 256
    backgrounds: int = 64
    labelled: int = 0
    matted: int = 0
    matte_cutouts: int = 0
    photo_side: int = 384
    fine_share: float = 0.65
    quality: int = 85
    shard: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        least_of = {"count": 1, "cutouts": 0, "matte_cutouts": 0, "backgrounds": 1, "labelled": 0, "matted": 0}
        least_of.update(shard=1, seed=0)
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.cutouts + self.matte_cutouts >= self.count:
            got = self.cutouts + self.matte_cutouts
            raise ConfigError(f"cutouts, matte_cutouts: expected fewer than count {self.count} together, got {got}")
        for name in ("size", "photo_side"):
            if getattr(self, name) < 64 or getattr(self, name) % CELL:
                raise ConfigError(f"{name}: expected a multiple of {CELL} from 64 on, got {getattr(self, name)}")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"quality: expected 1 to 100, got {self.quality}")

    @property
    def pictures(self) -> int:
        """Photographs of all kinds."""
        return self.backgrounds + self.labelled + self.matted


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a library is made of; None where there is none.

    photos: textures and backgrounds. segments: labelled photographs. shards: photographs with mattes. objects: those
    whose mattes are of whole objects, to cut out.
    """

    photos: PhotoPool | None = None
    segments: SegmentPool | None = None
    shards: MatteShards | None = None
    objects: MatteShards | None = None


def render_library(
    out: Path,
    config: LibraryConfig,
    material: Material,
    *,
    origin: dict[str, Any],
    workers: int = 0,
) -> dict[str, Any]:
    """Write a library; finished shards of an earlier try are kept. Returns the manifest.

    origin: `license` and `sources` for the manifest. workers: processes, a shard each; 0 works in this one. The bytes
    are the same with any number.

    Raises:
        DataError: `out` holds a library of other arguments, or a photograph cannot be read.
        ConfigError: cut-outs or photographs of a kind that `material` lacks.
    """
    if material.segments is None and (config.cutouts or config.labelled):
        raise ConfigError("cutouts, labelled: expected 0 without --segments")
    if material.shards is None and config.matted:
        raise ConfigError(f"matted: expected 0 without --shards, got {config.matted}")
    if material.objects is None and config.matte_cutouts:
        raise ConfigError(f"matte_cutouts: expected 0 without --objects, got {config.matte_cutouts}")
    recipe = {"format": FORMAT_VERSION, "generator": GENERATOR_VERSION, **origin, **vars(config)}
    recipe = json.loads(json.dumps(recipe))
    path = out / MANIFEST
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if any(earlier.get(key) != value for key, value in recipe.items()):
            raise DataError(f"sprites: {out} holds a library of other arguments; give another folder")
    elif out.is_dir() and any(out.glob("*_????.npz")):
        raise DataError(f"sprites: {out} holds shards without a manifest; give another folder")
    write_json_atomic(path, {**recipe, "complete": False})
    sprites = [f"sprites_{k:04d}.npz" for k in range(-(-config.count // config.shard))]
    total = config.pictures
    pictures = [f"photos_{k:04d}.npz" for k in range(-(-total // config.shard))]
    left = [name for name in (*sprites, *pictures) if not (out / name).exists()]
    done = config.count + total - sum(len(_rows_of(name, config)) for name in left)
    with tqdm(total=config.count + total, initial=done, desc="library", unit="picture") as bar:
        for name in _in_processes(_Shards(out, config, material), left, workers):
            bar.update(len(_rows_of(name, config)))
    sizes = {name: (out / name).stat().st_size for name in (*sprites, *pictures)}
    manifest = {
        **recipe,
        "complete": True,
        "sprite_shards": sprites,
        "photo_shards": pictures,
        "bytes": sum(sizes.values()),
        "bytes_per_sprite": round(sum(sizes[name] for name in sprites) / config.count),
        "bytes_per_photo": round(sum(sizes[name] for name in pictures) / total),
    }
    write_json_atomic(path, manifest)
    return manifest


@dataclass(frozen=True)
class _Shards:
    """Writes a shard of the library by its name."""

    out: Path
    config: LibraryConfig
    material: Material

    def __call__(self, name: str) -> str:
        rows = _rows_of(name, self.config)
        if name.startswith("photos"):
            _write_photos(self.out / name, rows, self.config, self.material)
        else:
            made = [_sprite(index, self.config, self.material) for index in rows]
            write_sprites(self.out / name, _stacked(made), self.config.quality)
        return name


def _rows_of(name: str, config: LibraryConfig) -> range:
    """Sprites, or photographs, of a shard."""
    kind, number = name.removesuffix(".npz").split("_")
    total = config.pictures if kind == "photos" else config.count
    first = int(number) * config.shard
    return range(first, min(total, first + config.shard))


def _in_processes(write: Callable[[str], str], names: Sequence[str], workers: int) -> Iterator[str]:
    """`write` each, in any order; yields what is done."""
    if workers == 0 or not names:
        yield from map(write, names)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(names)), _start_worker) as pool:
        yield from pool.imap_unordered(write, names)


def _start_worker() -> None:
    """One thread a process; Ctrl-C ends the process that waits for it, and the pool with it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _sprite(index: int, config: LibraryConfig, material: Material) -> Sprite:
    """Sprite `index`: cut-outs are spread evenly among the procedural ones."""
    rng = np.random.default_rng([config.seed, 1, index])
    cutouts = config.cutouts + config.matte_cutouts
    before, after = (k * cutouts // config.count for k in (index, index + 1))
    if after > before:
        with_matte = after * config.matte_cutouts // cutouts > before * config.matte_cutouts // cutouts
        if with_matte and material.objects is not None:
            return cut_matte(rng, size=config.size, mattes=material.objects)
        if material.segments is not None:
            return cut_sprite(rng, size=config.size, segments=material.segments)
    return render_sprite(rng, size=config.size, fine=bool(rng.random() < config.fine_share), photos=material.photos)


def _stacked(sprites: list[Sprite]) -> SpriteShard:
    return SpriteShard(
        colour=np.stack([s.colour for s in sprites]),
        alpha=np.stack([s.alpha for s in sprites]),
        part=np.stack([s.part for s in sprites]),
        family=np.array([FAMILIES.index(s.family) for s in sprites], np.uint8),
        upright=np.array([s.upright for s in sprites]),
        bust=np.array([s.bust for s in sprites]),
        kind=np.array([s.kind for s in sprites]),
        nominal=np.array([s.nominal for s in sprites], np.float32),
    )


def _write_photos(path: Path, rows: range, config: LibraryConfig, material: Material) -> None:
    """A shard of pictures: backgrounds, then labelled photographs, then those with mattes, each picked by the seed."""
    orders = {
        stream: None if pool is None else np.random.default_rng([config.seed, stream]).permutation(len(pool))
        for stream, pool in ((2, material.photos), (3, material.segments), (5, material.shards))
    }
    images: list[np.ndarray] = []
    labelled: list[LabelledPhoto | None] = []
    mattes: list[list[np.ndarray]] = []
    for row in rows:
        photo: LabelledPhoto | None = None
        alphas: list[np.ndarray] = []
        if row >= config.backgrounds + config.labelled and material.shards is not None:
            index = _turn(orders[5], row - config.backgrounds - config.labelled)
            rng = np.random.default_rng([config.seed, 6, row])
            image, alphas = reduced_mattes(material.shards.some(index, rng, _MATTES_EACH), config.photo_side)
        elif row >= config.backgrounds and material.segments is not None:
            index = _turn(orders[3], row - config.backgrounds)
            photo = reduced(material.segments.photo(index), config.photo_side)
            image = photo.image
        else:
            rng = np.random.default_rng([config.seed, 4, row])
            procedural = material.photos is None or rng.random() < 0.1
            backdrop = None if procedural else _turn(orders[2], row)
            image = background_photo(rng, config.photo_side, material.photos, backdrop)
        images.append(image)
        labelled.append(photo)
        mattes.append(alphas)
    write_photos(path, build_shard(images, labelled, config.photo_side, mattes), config.quality)


def _turn(order: np.ndarray | None, position: int) -> int:
    """The photograph whose turn it is, going round."""
    return 0 if order is None else int(order[position % len(order)])


def describe_sources(folders: Iterable[Path], files: Iterable[Path] = ()) -> list[dict[str, Any]]:
    """Name, files and the terms found in the NOTICE.txt files of each folder, and of the folders that single files lie
    in; no absolute paths.
    """
    found = {folder: sorted(path for path in folder.rglob("*") if path.is_file()) for folder in sorted(set(folders))}
    for file in sorted(set(files)):
        found.setdefault(file.parent, []).append(file)
    sources = []
    for folder, members in found.items():
        listing = "".join(f"{p.relative_to(folder).as_posix()}:{p.stat().st_size}\n" for p in members)
        notices = [*folder.rglob("NOTICE.txt"), *(p for p in (folder.parent / "NOTICE.txt",) if p.is_file())]
        texts = {p.parent.name: p.read_text(encoding="utf-8")[:_NOTICE_LENGTH] for p in sorted(notices)}
        digest = hashlib.sha256(listing.encode()).hexdigest()
        sources.append({"name": folder.name, "files": len(members), "sha256": digest, "notices": texts})
    return sources


def _files(options: argparse.Namespace) -> set[Path]:
    """Shards that the options name."""
    patterns = (*options.shards, *options.objects)
    return {Path(file) for pattern in patterns for file in glob.glob(pattern, recursive=True)}


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    options = argparse.ArgumentParser(prog="python -m training.render_sprites", description=main.__doc__)
    options.add_argument("--out", type=Path, required=True, help="folder of the library; an unfinished one goes on")
    options.add_argument("--count", type=int, default=1000, help="sprites")
    options.add_argument("--cutouts", type=int, help="how many of them are cut out of photographs (a fifth, if any)")
    options.add_argument("--size", type=int, default=256, help="side of a sprite in pixels")
    options.add_argument("--backgrounds", type=int, default=200, help="pictures to put behind them")
    options.add_argument("--labelled", type=int, help="labelled photographs (400, if there are any)")
    options.add_argument("--photo-side", type=int, default=384, help="long side of photographs in pixels")
    options.add_argument("--quality", type=int, default=85, help="of colours, on JPEG's scale")
    options.add_argument("--photos", type=Path, nargs="+", default=[], help="photographs for textures and backgrounds")
    options.add_argument("--segments", type=Path, nargs="+", default=[], help="labelled photographs")
    options.add_argument("--shards", nargs="+", default=[], metavar="GLOB", help="SA1B-Matte shards: photographs")
    options.add_argument("--matted", type=int, help="photographs with mattes (400, if there are any)")
    options.add_argument(
        "--objects", nargs="+", default=[], metavar="GLOB", help="SA1B-Matte shards whose mattes are whole objects"
    )
    options.add_argument("--matte-cutouts", type=int, help="sprites cut out with mattes (a fifth, with --objects)")
    options.add_argument("--data-license", help="licence of photographs, labels and mattes; required with any")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--workers", type=int, default=0, help="processes (0: this one)")
    options.add_argument("--shard", type=int, default=128, help="sprites or photographs to a file")
    return options


def main(argv: list[str] | None = None) -> int:
    """Render sprites and pack photographs, for training on a GPU."""
    options = parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        foreign = options.photos or options.segments or options.shards or options.objects
        if foreign and not options.data_license:
            raise ConfigError("--data-license: expected the licence of photographs, labels and mattes, got none")
        if options.workers < 0:
            raise ConfigError(f"--workers: expected at least 0, got {options.workers}")
        segments = SegmentPool(options.segments) if options.segments else None
        shards = MatteShards(options.shards) if options.shards else None
        material = Material(
            photos=PhotoPool(options.photos) if options.photos else None,
            segments=segments,
            shards=shards,
            objects=MatteShards(options.objects) if options.objects else None,
        )
        own = options.count // 5
        config = LibraryConfig(
            count=options.count,
            cutouts=_given(options.cutouts, own if segments else 0),
            matte_cutouts=_given(options.matte_cutouts, own if options.objects else 0),
            size=options.size,
            backgrounds=options.backgrounds,
            labelled=_given(options.labelled, min(400, len(segments)) if segments else 0),
            matted=_given(options.matted, min(400, len(shards)) if shards else 0),
            photo_side=options.photo_side,
            quality=options.quality,
            shard=options.shard,
            seed=options.seed,
        )
        origin = {
            "license": options.data_license or OWN_LICENSE,
            "sources": describe_sources([*options.photos, *options.segments], _files(options)),
        }
        manifest = render_library(options.out, config, material, origin=origin, workers=options.workers)
    except (ZimError, OSError, RuntimeError) as error:
        print(f"render_sprites: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("render_sprites: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(
        f"{options.out}: {manifest['bytes'] / 2**20:.1f} MiB, {manifest['bytes_per_sprite']} bytes a sprite, "
        f"{manifest['bytes_per_photo']} a photograph"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
