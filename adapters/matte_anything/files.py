"""What `python -m adapters.matte_anything` writes: a folder for each photo, whole or absent, so that a run can go on.

| file | holds |
|---|---|
| `NAME/alpha.png` | the matte |
| `NAME/trimap.png` | 0 background, 128 unknown, 255 foreground |
| `NAME/cutout.png` | RGBA with the object's own colours |
| `NAME/composite.png` | before the new background, where one is given |
| `NAME/matte.json` | settings, prompts and detections |

With objects apart the pictures are numbered: `alpha_0.png`, `alpha_1.png`, ...
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zim.compositing import Background
from zim.cutout import trimap_to_uint8
from zim.errors import ConfigError
from zim.files import atomic_folder, write_json_atomic
from zim.image_io import save_png

from .matting import Matte

REPORT = "matte.json"


def plan_photos(photos: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Photo -> its folder, before anything runs.

    Raises:
        ConfigError: two photos of one name, a file in the way, or a folder of results among the photos.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: expected a folder, got the file {out}")
    plan: dict[Path, Path] = {}
    for photo in photos:
        target = out / photo.stem
        twin = next((other for other, taken in plan.items() if taken == target), None)
        if twin is not None:
            raise ConfigError(f"image: expected photos of different names, got {twin} and {photo} for {target}")
        if target.exists() and not (target / REPORT).is_file():
            raise ConfigError(f"--out: {target} exists and is no result of this command; choose another folder")
        plan[photo] = target
    return plan


def settings_of(photo: Path, shared: Mapping[str, Any], prompts: Mapping[str, Any]) -> dict[str, Any]:
    """What decides over a photo's results, its content included, ready for JSON.

    Raises:
        OSError: the photo cannot be read.
    """
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    return {**shared, "prompts": dict(prompts), "photo": photo.name, "photo_sha256": digest}


def is_finished(target: Path, settings: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether a photo's results are there, made with these settings.

    Args:
        target: its folder.
        settings: as `settings_of` gives them.
        overwrite: whether results of other settings are to be done again.

    Raises:
        ConfigError: they were made with other settings, and `overwrite` is off.
    """
    report = target / REPORT
    if not report.is_file():
        return False
    try:
        before = dict(json.loads(report.read_text(encoding="utf-8"))["settings"])
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"--out: expected the results of an earlier run, cannot read {report} ({error})") from error
    now = json.loads(json.dumps(settings))
    differing = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if not differing:
        return True
    if overwrite:
        return False
    told = "; ".join(f"{key} {before.get(key)!r:.60}, now {now.get(key)!r:.60}" for key in differing)
    raise ConfigError(f"--out: {target} was made with other settings ({told}); choose another folder, or --overwrite")


def write_mattes(
    target: Path, mattes: Sequence[Matte], settings: Mapping[str, Any], background: Background | None, *, apart: bool
) -> None:
    """The folder of one photo; it appears whole, in place of an earlier one.

    Args:
        target: the folder.
        mattes: one, or one for each object.
        settings: recorded.
        background: None writes no composite.
        apart: number the pictures.

    Raises:
        OSError: it cannot be written; nothing half-written stays.
    """
    with atomic_folder(target) as folder:
        for index, matte in enumerate(mattes):
            number = f"_{index}" if apart else ""
            save_png(folder / f"alpha{number}.png", matte.alpha)
            save_png(folder / f"trimap{number}.png", trimap_to_uint8(matte.trimap))
            save_png(folder / f"cutout{number}.png", matte.cutout())
            if background is not None:
                save_png(folder / f"composite{number}.png", matte.composite(background))
        write_json_atomic(folder / REPORT, {"settings": dict(settings), "mattes": [_told(m) for m in mattes]})


def _told(matte: Matte) -> dict[str, Any]:
    """Prompts and detections of a matte."""
    objects = []
    for prompt, found in zip(matte.prompts, matte.found, strict=True):
        entry: dict[str, Any] = {}
        if prompt.box is not None:
            entry["box"] = [round(float(value), 3) for value in prompt.box]
        if prompt.point_coords is not None and prompt.point_labels is not None:
            pairs = zip(prompt.point_coords, prompt.point_labels, strict=True)
            entry["points"] = [[round(float(x), 3), round(float(y), 3), int(label)] for (x, y), label in pairs]
        if found is not None:
            entry |= {"label": found.label, "score": round(found.score, 4)}
        objects.append(entry)
    return {"objects": objects, "alpha_sum": round(float(matte.alpha.sum(dtype="float64")), 2)}
