"""What `zim auto` writes: a folder of masks and alphas for each photo, or SAM's JSON; finished ones are not redone.

| file | holds |
|---|---|
| `NAME/0.png`, `NAME/1.png`, ... | the masks, 0 and 255, size of the photo, as SAM's amg script writes them |
| `NAME/metadata.csv` | their figures, the columns of that script |
| `NAME/alphas/0.png`, ... | the alphas, size of the photo |
| `NAME/coco.json` | the masks as COCO annotations of one image |
| `NAME/overlay.png` | all of them on the photo |
| `NAME.json` | instead of the folder: the list of SAM's records with COCO's RLE, as that script writes it |
| `settings.json` | the model and the settings of the whole folder |
"""

import colorsys
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.files import atomic_folder, write_json_atomic, write_text_atomic
from zim.image_io import save_png
from zim.mask_records import MaskCandidate, to_record
from zim.rle import decode_mask, to_coco

Layout = Literal["folder", "rle"]

SETTINGS, COCO = "settings.json", "coco.json"
SAM_COLUMNS = (
    *("id", "area", "bbox_x0", "bbox_y0", "bbox_w", "bbox_h", "point_input_x", "point_input_y"),
    *("predicted_iou", "stability_score", "crop_box_x0", "crop_box_y0", "crop_box_w", "crop_box_h"),
)
ALPHA_KEYS = ("alpha", "alpha_box")
GOLDEN_RATIO = 0.618034  # neighbours in the list get far apart hues
OVERLAY_OPACITY = 0.6


def plan_photos(photos: Sequence[Path], out: Path, layout: Layout) -> dict[Path, Path]:
    """Photo -> its folder, or its JSON file, before anything runs.

    Raises:
        ConfigError: two photos of one name, or something there that is no result of this command.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: expected a folder, got the file {out}")
    plan: dict[Path, Path] = {}
    for photo in photos:
        target = out / photo.stem if layout == "folder" else out / f"{photo.stem}.json"
        if target.name == SETTINGS:
            raise ConfigError(f"image: {photo} would be written to {SETTINGS}, which holds the settings; rename it")
        twin = next((other for other, taken in plan.items() if taken == target), None)
        if twin is not None:
            raise ConfigError(f"image: expected photos of different names, got {twin} and {photo} for {target}")
        if layout == "folder" and target.exists() and not is_finished(target):
            raise ConfigError(f"--out: {target} exists and is no result of this command; choose another folder")
        plan[photo] = target
    return plan


def is_finished(target: Path) -> bool:
    """Whether a photo's results are there, whole."""
    return target.is_file() if target.suffix == ".json" else (target / COCO).is_file()


def check_settings(out: Path, model: str, layout: Layout, settings: Mapping[str, Any]) -> None:
    """Compare the settings with those that the folder of results was begun with, if it was.

    Raises:
        ConfigError: they differ: photos done before and photos done now would not belong together.
    """
    file = out / SETTINGS
    if not file.is_file():
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"--out: expected the settings of an earlier run, cannot read {file} ({error})") from error
    now = _recorded(model, layout, settings)
    differing = [f"{key} {before.get(key)!r}, now {now[key]!r}" for key in now if before.get(key) != now[key]]
    if differing:
        raise ConfigError(
            f"--out: {out} was begun with other settings ({'; '.join(differing)}); "
            "choose another folder, or --overwrite"
        )


def record_settings(out: Path, model: str, layout: Layout, settings: Mapping[str, Any]) -> None:
    """Write what `check_settings` compares."""
    write_json_atomic(out / SETTINGS, _recorded(model, layout, settings))


def _recorded(model: str, layout: Layout, settings: Mapping[str, Any]) -> dict[str, Any]:
    decisive = {name: value for name, value in settings.items() if name != "points_per_batch"}
    return {"model": model, "layout": layout, **decisive}


def write_records(target: Path, candidates: Sequence[MaskCandidate]) -> None:
    """SAM's JSON list of records, masks in COCO's RLE."""
    records = [to_record(candidate, "coco_rle") for candidate in candidates]
    kept = [{key: value for key, value in record.items() if key not in ALPHA_KEYS} for record in records]
    write_text_atomic(target, json.dumps(kept, allow_nan=False) + "\n")


def write_folder(
    target: Path, photo_name: str, image: NDArray[np.uint8], candidates: Sequence[MaskCandidate]
) -> None:
    """The folder of one photo; it appears whole, in place of an earlier one.

    Args:
        target: the folder.
        photo_name: file name, for the COCO annotations.
        image: (H, W, 3) uint8 RGB.
        candidates: its masks.
    """
    with atomic_folder(target) as folder:
        for index, candidate in enumerate(candidates):
            save_png(folder / f"{index}.png", decode_mask(candidate.rle))
            save_png(folder / "alphas" / f"{index}.png", full_alpha(candidate))
        write_text_atomic(folder / "metadata.csv", sam_csv(candidates))
        save_png(folder / "overlay.png", overlay(image, candidates))
        write_json_atomic(folder / COCO, coco_annotations(photo_name, image.shape[:2], candidates))


def full_alpha(candidate: MaskCandidate) -> NDArray[np.uint8]:
    """The (H, W) uint8 alpha of the whole photo."""
    left, top, width, height = candidate.alpha.xywh
    alpha = np.zeros(candidate.rle.hw, dtype=np.uint8)
    alpha[top : top + height, left : left + width] = candidate.alpha.unpack()
    return alpha


def sam_csv(candidates: Sequence[MaskCandidate]) -> str:
    """metadata.csv of SAM's amg script."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(SAM_COLUMNS)
    for index, candidate in enumerate(candidates):
        box, crop = ((x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in (candidate.box, candidate.crop_box))
        scores = candidate.quality, candidate.stability
        writer.writerow([index, candidate.rle.area, *box, *candidate.point, *scores, *crop])
    return stream.getvalue()


def coco_annotations(
    photo_name: str, hw: tuple[int, ...], candidates: Sequence[MaskCandidate]
) -> dict[str, Any]:
    """COCO's layout for one image and one category; boxes are those of pycocotools (widths in whole pixels)."""
    annotations = []
    for index, candidate in enumerate(candidates):
        x1, y1, x2, y2 = candidate.box
        annotations.append(
            {
                "id": index + 1,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": to_coco(candidate.rle),
                "area": candidate.rle.area,
                "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                "score": candidate.quality,
                "stability_score": candidate.stability,
                "point_coords": [list(candidate.point)],
                "alpha_file": f"alphas/{index}.png",
            }
        )
    return {
        "images": [{"id": 1, "file_name": photo_name, "width": hw[1], "height": hw[0]}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": annotations,
    }


def overlay(image: NDArray[np.uint8], candidates: Sequence[MaskCandidate]) -> NDArray[np.uint8]:
    """The photo with every alpha in a colour of its own, large masks below small ones: (H, W, 3) uint8."""
    painted = image.copy()
    order = sorted(range(len(candidates)), key=lambda index: -candidates[index].rle.area)
    for index in order:
        left, top, width, height = candidates[index].alpha.xywh
        window = painted[top : top + height, left : left + width]
        cover = candidates[index].alpha.unpack()[..., None] * np.float32(OVERLAY_OPACITY / 255)
        window[:] = (window * (1 - cover) + _colour(index) * cover + 0.5).astype(np.uint8)
    return painted


def _colour(index: int) -> NDArray[np.float32]:
    return np.array(colorsys.hsv_to_rgb(index * GOLDEN_RATIO % 1, 0.9, 1.0), dtype=np.float32) * 255
