"""A packed library of sprites and photographs: what batches are composited from on a device.

A library is a folder of a manifest and shards (`sprites_0000.npz`, `photos_0000.npz`, ...). Reading one needs numpy and
torch only; `training.render_sprites` writes it.
"""

import json
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zim.errors import DataError
from zim.files import atomic_write

from .sprites_codec import decode, encode

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
FAMILIES = ("fine", "hard", "photo", "matte")
"""What a sprite is: procedural with fine structure, procedural and solid, or cut out of a photograph, along a human
label's feathered outline ("photo") or with a matte ("matte")."""

CUTOUTS = tuple(FAMILIES.index(name) for name in ("photo", "matte"))

LEVELS = 5
"""Each sprite is kept at 1, 1/2, ... 1/16 of its side, so that small ones do not alias."""

MAX_COMPONENTS = 255
_PIXELS = "pixels_"
_READERS = 12


@dataclass(frozen=True, kw_only=True)
class SpriteShard:
    """N sprites in square frames with an empty rim.

    colour: (N, H, W, 3) uint8, straight, carried on beyond the outline. alpha, part: (N, H, W) uint8; `part` is one
    labelled piece of the sprite (the hair of a head), zero where it has none.
    family: (N,) uint8, index in `FAMILIES`. upright, bust: (N,) bool. kind: (N,) names.
    nominal: (N,) float32, the side that it was drawn for, as a fraction of the picture.
    """

    colour: np.ndarray
    alpha: np.ndarray
    part: np.ndarray
    family: np.ndarray
    upright: np.ndarray
    bust: np.ndarray
    kind: np.ndarray
    nominal: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PhotoShard:
    """N photographs in the upper left corner of square frames, M label maps and Q mattes of them.

    image: (N, L, L, 3) uint8. hw: (N, 2) int32, their sizes.
    labels: (M, L, L) uint8, numbers of connected pieces, 0 unlabelled. owner: (M,) int32, the photograph in this shard.
    mix: (M, 4) float32, weights of whole, single, component and union (`RegionMix`).
    pieces: (P, 8) int32: map in this shard, number, the label's id, area in pixels, box x1, y1, x2, y2 (exclusive).
    mattes: (Q, L, L) uint8, 255 opaque. matted: (Q, 5) int32: the photograph in this shard, ascending, and the box of
    what is not transparent, as above.
    """

    image: np.ndarray
    hw: np.ndarray
    labels: np.ndarray
    owner: np.ndarray
    mix: np.ndarray
    pieces: np.ndarray
    mattes: np.ndarray
    matted: np.ndarray


def write_sprites(path: Path, shard: SpriteShard, quality: int) -> None:
    """Write a shard of sprites atomically; colours pass the codec at `quality`."""
    _write(path, {key: value for key, value in vars(shard).items() if key != "colour"}, shard.colour, quality)


def write_photos(path: Path, shard: PhotoShard, quality: int) -> None:
    """Write a shard of photographs atomically; images pass the codec at `quality`."""
    _write(path, {key: value for key, value in vars(shard).items() if key != "image"}, shard.image, quality)


def _write(path: Path, arrays: dict[str, np.ndarray], images: np.ndarray, quality: int) -> None:
    coded = {_PIXELS + key: value for key, value in encode(images, quality).items()}
    packed: dict[str, np.ndarray] = {}
    index: dict[str, dict[str, Any]] = {}
    for name, array in {**arrays, **coded}.items():
        plain = array.astype(f"S{max(1, array.dtype.itemsize // 4)}") if array.dtype.kind == "U" else array
        index[name] = {"dtype": plain.dtype.str, "shape": plain.shape}
        packed[name] = np.frombuffer(_compress(np.ascontiguousarray(plain).tobytes()), np.uint8)
    packed["index"] = np.frombuffer(json.dumps(index, sort_keys=True).encode(), np.uint8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **packed)  # type: ignore[arg-type]


def _compress(data: bytes) -> bytes:
    """zlib with run lengths only: smaller than its default for coefficients and alphas, and several times faster."""
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(data) + packer.flush()


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            index = json.loads(data["index"].tobytes())
            return {
                name: np.frombuffer(bytearray(zlib.decompress(data[name].tobytes())), np.dtype(entry["dtype"])).reshape(
                    entry["shape"]
                )
                for name, entry in index.items()
            }
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"sprites: {path} cannot be read ({error}); delete it to have it rendered again") from error


def _read_ahead(paths: Sequence[Path]) -> Iterator[dict[str, np.ndarray]]:
    """Shards in order, a few read ahead in threads: inflating them takes most of the time that a library takes."""
    with ThreadPoolExecutor(_READERS) as pool:
        waiting = deque(pool.submit(_read, path) for path in paths[:_READERS])
        for path in [*paths[_READERS:], *(None,) * min(_READERS, len(paths))]:
            yield waiting.popleft().result()
            if path is not None:
                waiting.append(pool.submit(_read, path))


def _pixels(arrays: Mapping[str, np.ndarray], device: torch.device) -> Tensor:
    coded = {key.removeprefix(_PIXELS): value for key, value in arrays.items() if key.startswith(_PIXELS)}
    return decode(coded, device)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished library.

    Raises:
        DataError: there is none, it is of another version, or the rendering has not come to its end.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"sprites: expected a library in {folder}, could not read {path.name} ({error})") from error
    if manifest.get("format") != FORMAT_VERSION:
        raise DataError(f"sprites: {path}: expected format {FORMAT_VERSION}, got {manifest.get('format')}")
    if not manifest.get("complete"):
        raise DataError(f"sprites: {folder} is not complete; run the same training.render_sprites command again")
    return manifest


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Connected pieces of all label maps, those of map m in rows `first[m]` to `first[m + 1] - 1`.

    number: (P,) their value in the map. id: (P,) the label's id. area: (P,) pixels. box: (P, 4) x1, y1, x2, y2,
    exclusive. All int64.
    """

    first: np.ndarray
    number: np.ndarray
    id: np.ndarray
    area: np.ndarray
    box: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SpriteLibrary:
    """A library in a device's memory; the tables that decide what is drawn stay in numpy.

    atlas: (N, 5, H, 3H/2) uint8: red, green, blue premultiplied, alpha, part; the full frame at the left, its
    reductions below each other at the right. mean: (N, 3) float, the mean straight colour in 0..255.
    photos: (M, 3, L, L) uint8. labels: (K, L, L) uint8 numbers of pieces. hw (M, 2), owner (K,), mix (K, 4).
    mattes: (Q, L, L) uint8. matted: (Q, 5) their photograph, ascending, and box.
    """

    atlas: Tensor
    mean: Tensor
    photos: Tensor
    labels: Tensor
    mattes: Tensor
    family: np.ndarray
    upright: np.ndarray
    bust: np.ndarray
    kind: np.ndarray
    nominal: np.ndarray
    hw: np.ndarray
    owner: np.ndarray
    mix: np.ndarray
    matted: np.ndarray
    pieces: Pieces
    manifest: Mapping[str, Any]

    @property
    def side(self) -> int:
        """Side of a sprite's frame in pixels."""
        return self.atlas.shape[2]

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.atlas.device


def load_library(folder: str | Path, device: torch.device | str = "cpu") -> SpriteLibrary:
    """Read a finished library into a device's memory.

    Raises:
        DataError: it is not complete, or a shard is missing or damaged.
    """
    root, place = Path(folder), torch.device(device)
    manifest = read_manifest(root)
    atlas, mean, photos, labels, mattes = [], [], [], [], []
    sprite_rows: list[dict[str, np.ndarray]] = []
    photo_rows: list[dict[str, np.ndarray]] = []
    for arrays in _read_ahead([root / name for name in manifest["sprite_shards"]]):
        planes, colour = _atlas(arrays, place)
        atlas.append(planes)
        mean.append(colour)
        sprite_rows.append(arrays)
    for arrays in _read_ahead([root / name for name in manifest["photo_shards"]]):
        photos.append(_pixels(arrays, place))
        labels.append(torch.from_numpy(arrays["labels"]).to(place))
        mattes.append(torch.from_numpy(arrays["mattes"]).to(place))
        photo_rows.append(arrays)
    columns = ("family", "upright", "bust", "kind", "nominal")
    sprite = {key: np.concatenate([row[key] for row in sprite_rows]) for key in columns}
    photo = {key: np.concatenate([row[key] for row in photo_rows]) for key in ("hw", "mix")}
    offsets = np.cumsum([0, *(len(row["hw"]) for row in photo_rows)])
    owner = np.concatenate([row["owner"] + offset for row, offset in zip(photo_rows, offsets[:-1], strict=True)])
    first = np.eye(5, dtype=np.int64)[0]
    matted = [row["matted"] + first * offset for row, offset in zip(photo_rows, offsets[:-1], strict=True)]
    return SpriteLibrary(
        atlas=torch.cat(atlas),
        mean=torch.cat(mean),
        photos=torch.cat(photos),
        labels=torch.cat(labels),
        mattes=torch.cat(mattes),
        **{**sprite, "kind": sprite["kind"].astype(str)},
        **photo,
        owner=owner,
        matted=np.concatenate(matted),
        pieces=_pieces(photo_rows),
        manifest=manifest,
    )


def _atlas(arrays: Mapping[str, np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Premultiplied sprites with their reductions, (N, 5, H, 3H/2) uint8, and their mean colours (N, 3)."""
    colour = _pixels(arrays, device).float()
    alpha, part = (torch.from_numpy(arrays[name]).to(device)[:, None].float() / 255 for name in ("alpha", "part"))
    planes = torch.cat([colour * alpha, alpha * 255, part * 255], dim=1)
    mean = planes[:, :3].sum((2, 3)) / alpha.sum((2, 3)).clamp(min=1)
    side = planes.shape[-1]
    result = torch.zeros(len(planes), 5, side, side * 3 // 2, dtype=torch.uint8, device=device)
    for x, y, size in level_frames(side):
        if size < side:
            planes = F.avg_pool2d(planes, 2)
        result[:, :, y : y + size, x : x + size] = (planes + 0.5).to(torch.uint8)
    return result, mean


def level_frames(side: int) -> list[tuple[int, int, int]]:
    """Where each reduction lies in the atlas of a sprite: x, y and side in pixels."""
    frames, y = [(0, 0, side)], 0
    for level in range(1, LEVELS):
        size = side >> level
        frames.append((side, y, size))
        y += size
    return frames


def _pieces(rows: list[dict[str, np.ndarray]]) -> Pieces:
    """The tables of all shards, one behind the other."""
    offsets = np.cumsum([0, *(len(row["labels"]) for row in rows)])
    shift = np.eye(8, dtype=np.int64)[0]
    table = np.concatenate([row["pieces"] + shift * offset for row, offset in zip(rows, offsets, strict=False)])
    table = table[np.argsort(table[:, 0], kind="stable")]
    first = np.searchsorted(table[:, 0], np.arange(offsets[-1] + 1))
    return Pieces(first=first, number=table[:, 1], id=table[:, 2], area=table[:, 3], box=table[:, 4:])
