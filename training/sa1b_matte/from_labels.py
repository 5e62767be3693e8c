"""Labelled photographs as a tar file of SA-1B's layout, so that they go the same way through the conversion.

`python -m training.sa1b_matte.from_labels --input FOLDER --output sa_000000.tar`

The input holds `image/NAME.jpg` + `label/NAME.png` (one id a pixel) or BSDS500, at any depth. Each id becomes a label,
each of its connected pieces another where it has several (`--pieces`), and so do the whole of what is labelled
(`--whole`) and unions of two to four ids (`--unions N`). The photographs are numbered from `--first` on, in the order
of their names; `image.source` of each JSON tells where it came from.
"""

import argparse
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from zim.errors import ConfigError, DataError, ZimError
from zim.files import atomic_write
from zim.image_io import read_image
from zim.rle import encode_mask, to_coco

from ..data.segments import _bsds, _label_folders, _read_bsds_label, _read_label


@dataclass(frozen=True, kw_only=True)
class LabelChoice:
    """What becomes a label of its own, besides each id.

    pieces: the connected pieces of an id that has several. whole: everything that is labelled.
    unions: random unions of two to four ids, this many a photograph. min_area: smaller labels are left out, pixels.
    """

    pieces: bool = False
    whole: bool = False
    unions: int = 0
    min_area: int = 30

    def __post_init__(self) -> None:
        if self.unions < 0 or self.min_area < 1:
            raise ConfigError(f"unions, min_area: expected at least 0 and 1, got {self.unions} and {self.min_area}")


class LabelledPhoto(NamedTuple):
    """image: file of the photograph. label: its label map, or BSDS500's `.mat`. name: below the input folder."""

    image: Path
    label: Path
    name: str


def find_photos(root: Path) -> list[LabelledPhoto]:
    """All labelled photographs below a folder, by name.

    Raises:
        DataError: there is none, or a label has no photograph.
    """
    entries = [*_label_folders(root), *_bsds(root)] if root.is_dir() else []
    if not entries:
        raise DataError(f"--input: expected image/ + label/ folders or BSDS500 below {root}, found none")
    photos = [LabelledPhoto(each.image, each.label, each.image.relative_to(root).as_posix()) for each in entries]
    return sorted(photos, key=lambda photo: photo.name)


def label_masks(
    labels: NDArray[np.integer[Any]], choice: LabelChoice, name: str
) -> Iterator[NDArray[np.bool_]]:
    """The labels of a photograph, (H, W) bool each, no two alike.

    labels: (L, H, W), one map an annotator, 0 is unlabelled. name: what the random unions depend on.
    """
    seen: set[bytes] = set()
    rng = np.random.default_rng(list(hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()))
    for label in labels:
        for mask in _candidates(label, choice, rng):
            digest = hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=16).digest()
            if digest not in seen and np.count_nonzero(mask) >= choice.min_area:
                seen.add(digest)
                yield mask


def _candidates(
    label: NDArray[np.integer[Any]], choice: LabelChoice, rng: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    ids = [number for number in np.unique(label).tolist() if number]
    for number in ids:
        mask = np.asarray(label == number)
        yield mask
        if choice.pieces:
            count, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            yield from (np.asarray(pieces == piece) for piece in range(1, count) if count > 2)
    if choice.whole and ids:
        yield np.asarray(label != 0)
    for _ in range(choice.unions if len(ids) > 2 else 0):
        some = rng.choice(ids, int(rng.integers(2, min(4, len(ids) - 1) + 1)), replace=False)
        yield np.isin(label, some)


def annotation_of(number: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask in SA-1B's words; a human's label has the best scores."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    y, x = (int(values[len(values) // 2]) for values in np.nonzero(mask))
    return {
        "id": number,
        "segmentation": to_coco(encode_mask(mask)),
        "area": int(np.count_nonzero(mask)),
        "bbox": [left, top, width, height],
        "predicted_iou": 1.0,
        "stability_score": 1.0,
        "crop_box": [0, 0, int(mask.shape[1]), int(mask.shape[0])],
        "point_coords": [[x, y]],
    }


def write_tar(photos: list[LabelledPhoto], path: Path, choice: LabelChoice, *, first: int = 0) -> int:
    """Write the tar file, whole or not at all; returns the number of labels.

    Raises:
        DataError: a label cannot be read, or has another size than its photograph; names it.
        ImageError: a photograph cannot be read.
    """
    count = 0
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, photo in enumerate(tqdm(photos, "packing", unit="image", disable=None), first):
            image = read_image(photo.image)
            labels = _read_bsds_label(photo.label) if photo.label.suffix == ".mat" else _read_label(photo.label)[None]
            if labels.shape[1:] != image.shape[:2]:
                raise DataError(f"{photo.label}: expected {image.shape[:2]} as its photograph, got {labels.shape[1:]}")
            annotations = [
                annotation_of(number * 10_000 + place, mask)
                for place, mask in enumerate(label_masks(labels, choice, photo.name))
            ]
            described = {
                "image_id": number,
                "width": image.shape[1],
                "height": image.shape[0],
                "file_name": f"sa_{number}.jpg",
                "source": photo.name,
            }
            _add(tar, f"sa_{number}.jpg", _jpeg(photo.image, image))
            _add(tar, f"sa_{number}.json", json.dumps({"image": described, "annotations": annotations}).encode())
            count += len(annotations)
    return count


def _jpeg(path: Path, image: NDArray[np.uint8]) -> bytes:
    """A JPEG file as it is; any other picture as one of high quality."""
    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        return data
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=97, subsampling=0)
    return encoded.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m training.sa1b_matte.from_labels", description=__doc__)
    made.add_argument("--input", type=Path, required=True, help="folder with image/ + label/ or BSDS500 in it")
    made.add_argument("--output", type=Path, required=True, help="tar file to write, for example sa_000000.tar")
    made.add_argument("--first", type=int, default=0, help="number of the first photograph")
    made.add_argument("--pieces", action="store_true", help="also each connected piece of an id")
    made.add_argument("--whole", action="store_true", help="also everything labelled, as one")
    made.add_argument("--unions", type=int, default=0, metavar="N", help="also N unions of two to four ids")
    made.add_argument("--min-area", type=int, default=LabelChoice.min_area, help="pixels of the smallest label")
    return made


def main(arguments: list[str] | None = None) -> int:
    """0 when the tar file is written."""
    options = parser().parse_args(arguments)
    try:
        if options.first < 0 or options.output.suffix != ".tar":
            given = f"{options.first} and {options.output}"
            raise ConfigError(f"--first, --output: expected 0 or more and NAME.tar, got {given}")
        choice = LabelChoice(
            pieces=options.pieces, whole=options.whole, unions=options.unions, min_area=options.min_area
        )
        photos = find_photos(options.input)
        labels = write_tar(photos, options.output, choice, first=options.first)
    except (ZimError, OSError) as error:
        print(f"from_labels: error: {error}", file=sys.stderr)
        return 1
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {len(photos)} photographs with {labels} labels, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
