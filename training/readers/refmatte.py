"""RefMatte: 47,500 composited photographs with 118,749 mattes, and RefMatte-RW100, 100 natural photographs."""

import json
from pathlib import Path

from zim.errors import DataError

from .paired import Pair, pair_record, picture_files
from .reader import Reader, TrainingUse
from .records import MatteRecord

_IMAGE_FOLDERS = ("img", "image", "image_all")
_PLACES = {"train": ("train",), "test": ("test",), "rw100": ("RefMatte_RW_100", "RefMatte-RW100", ".")}


class RefMatte(Reader[MatteRecord]):
    """RefMatte: one record a matte.

    Layout: `train/img/NAME.jpg`, `train/mask/NAME_0.png`, `NAME_1.png`, ... (8 bit), and
    `train/refmatte_train_label.json`, which maps the stem of a matte to an object with its `image_name` (and
    expressions, not read); the same below `test`. RefMatte-RW100 is `image/` (or `image_all/`), `mask/` and
    `refmatte_rw100_label.json`, in a folder `RefMatte_RW_100` or in the root itself. Where a matte is not in the label
    file, or there is none, its photograph is the file of its own stem, or of its stem without `_NUMBER`. Photographs
    without a matte are counted in `notes`.
    """

    name = "refmatte"
    LAYOUT = "train/img + train/mask, test/img + test/mask, or image/ + mask/ of RefMatte-RW100"
    SPLITS = {
        "train": TrainingUse(True, "the published training split; composited photographs"),
        "test": TrainingUse(False, "the published test split"),
        "rw100": TrainingUse(False, "RefMatte-RW100 is a test set of natural photographs"),
    }

    def _scan(self, split: str) -> list[Pair] | None:
        for place in _PLACES[split]:
            for images in (self.root / place / name for name in _IMAGE_FOLDERS):
                if images.is_dir():
                    return self._matched(images)
        return None

    def _matched(self, images: Path) -> list[Pair]:
        masks, photos = images.parent / "mask", picture_files(images)
        labelled = _image_names(images.parent)
        pairs = []
        for stem, alpha in picture_files(masks).items():
            candidates = (labelled.get(stem, stem), stem, stem.rpartition("_")[0])
            photo = next((photos[name] for name in candidates if name in photos), None)
            if photo is None:
                raise DataError(f"{alpha}: found no photograph {candidates[0]} or {candidates[2]} in {images}")
            pairs.append(Pair(stem, photo, alpha))
        unused = sorted(photos.keys() - {pair.image.stem for pair in pairs})
        if unused:
            self.notes.append(f"{len(unused)} photographs without a matte, the first is {photos[unused[0]]}")
        return pairs

    def _record(self, split: str, entry: Pair) -> MatteRecord:
        tag = "natural" if split == "rw100" else "synthetic"
        return pair_record(entry, split, allowed=self.SPLITS[split].allowed, tag=tag)


def _image_names(folder: Path) -> dict[str, str]:
    """Stem of the matte -> stem of the photograph, out of the label files of a folder."""
    names: dict[str, str] = {}
    for path in sorted(folder.glob("refmatte_*label*.json")):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            names |= {str(stem): Path(str(entry["image_name"])).stem for stem, entry in stored.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: expected an object of objects with 'image_name' ({error!r})") from error
    return names
