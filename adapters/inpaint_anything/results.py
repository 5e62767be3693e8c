"""Files of a run: Inpaint-Anything's names, one folder for each photo, and a record that says what is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.files import write_json_atomic
from zim.image_io import save_png
from zim.matte_files import find_photos

from .inpainting import Inpainted
from .selection import Selection

Task = Literal["remove", "fill", "replace"]
RESULT_NAMES: dict[Task, str] = {"remove": "inpainted", "fill": "filled", "replace": "replaced"}
RECORD = "inpainting.json"
MASK_COLOUR = (30, 144, 255)


def plan_folders(inputs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Photo -> folder of its results, `output`/name of the photo without suffix.

    Raises:
        ImageError: a folder without pictures.
        ConfigError: two photos of one name, or an output that is a file.
    """
    nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(f"--output_dir: expected a folder, got {output}: {nearest} is a file")
    plan: dict[Path, Path] = {}
    for photo in find_photos(inputs):
        folder = output / photo.stem
        if folder in plan.values():
            rival = next(other for other, place in plan.items() if place == folder)
            raise ConfigError(f"--output_dir: expected photos of different names, got {rival} and {photo} for {folder}")
        plan[photo] = folder
    return plan


def write_selection(folder: Path, image: NDArray[np.uint8], selection: Selection) -> Path:
    """with_points.png: the photo with the points (green object, red background) and boxes of the selection."""
    path = folder / "with_points.png"
    save_png(path, with_prompts(image, selection))
    return path


def write_result(
    folder: Path, index: int, task: Task, image: NDArray[np.uint8], selection: Selection, done: Inpainted
) -> list[Path]:
    """The files of one result; the finished photo comes last.

    mask_I.png (0 and 255), alpha_I.png, with_mask_I.png (points and mask over the photo) and
    inpainted_with_mask_I.png, filled_with_mask_I.png or replaced_with_mask_I.png.
    """
    marked = with_prompts(image, selection).astype(np.float32)
    marked[done.mask] = 0.4 * marked[done.mask] + 0.6 * np.array(MASK_COLOUR, np.float32)
    pictures: dict[str, NDArray[Any]] = {
        f"mask_{index}.png": done.mask,
        f"alpha_{index}.png": done.alpha,
        f"with_mask_{index}.png": (marked + 0.5).astype(np.uint8),
        f"{RESULT_NAMES[task]}_with_mask_{index}.png": done.image,
    }
    for name, picture in pictures.items():
        save_png(folder / name, picture)
    return [folder / name for name in pictures]


def with_prompts(image: NDArray[np.uint8], selection: Selection) -> NDArray[np.uint8]:
    """A copy of the photo with what was pointed at."""
    drawn = image.copy()
    radius = max(3, round(0.012 * max(image.shape[:2])))
    for prompt in selection.prompts:
        if prompt.box is not None:
            x1, y1, x2, y2 = (int(round(float(side))) for side in np.ravel(prompt.box))
            cv2.rectangle(drawn, (x1, y1), (x2, y2), (255, 220, 0), max(1, radius // 3))
        if prompt.point_coords is None or prompt.point_labels is None:
            continue
        for (x, y), label in zip(prompt.point_coords, prompt.point_labels, strict=True):
            centre = int(x), int(y)
            cv2.circle(drawn, centre, radius, (255, 255, 255), -1, cv2.LINE_AA)
            colour = (0, 160, 0) if label == 1 else (220, 0, 0)
            cv2.circle(drawn, centre, max(1, radius - 2), colour, -1, cv2.LINE_AA)
    return drawn


def is_done(folder: Path, record: dict[str, Any]) -> bool:
    """Whether a folder holds the finished results of the same settings."""
    import json

    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    files = found.pop("files", []) if isinstance(found, dict) else []
    return bool(found == record and files and all((folder / name).is_file() for name in files))


def write_record(folder: Path, record: dict[str, Any], files: Sequence[Path]) -> None:
    """Say that a photo is done: its settings and files; the last file of a folder."""
    write_json_atomic(folder / RECORD, {**record, "files": [file.name for file in files]})
