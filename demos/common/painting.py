"""What is to be painted, as values that come from a form or from JSON, and the painting itself."""

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from adapters.inpaint_anything.compositing import REFINE
from adapters.inpaint_anything.engines import InpaintingEngine
from adapters.inpaint_anything.engines.opencv import OpenCvEngine
from adapters.inpaint_anything.inpainting import Inpainted, PaintSettings, fill, remove, replace
from adapters.inpaint_anything.masks import THRESHOLD, MaskSettings
from adapters.inpaint_anything.pieces import piece_with
from adapters.inpaint_anything.results import RESULT_NAMES, Task
from zim.compositing import Background
from zim.errors import ConfigError, ImageError, PromptError
from zim.image_io import save_png

from .errors import LimitError
from .limits import number, short, text_within
from .models import ModelPool
from .outbox import Outbox
from .photo_session import Ask, PhotoSession
from .photos import Photo, open_photo
from .prompts import ObjectPrompts
from .turns import Seats

Engines = Mapping[str, InpaintingEngine]
"""Name -> engine; the first removes unless another is named."""

TASKS: tuple[Task, ...] = get_args(Task)
RESULT = "result"
OPTIONS = (
    *("engine", "text", "background", "threshold", "dilation", "feather", "shadows", "context", "seed", "refine"),
)
MAX_PHOTO_PIXELS = 16_000_000
"""Mattes and colours of larger photos fill too much memory while they are painted; of this one about 700 MB."""

NO_TEXT_ENGINE = (
    "paints what words say, which needs a diffusion model: start the app with --diffusion sd15 "
    "(or sdxl, flux-fill, the folder of a pipeline)"
)

_seats = Seats(1, "painting")


@dataclass(frozen=True, kw_only=True, eq=False)
class Wish:
    """What to do with the selected object.

    engine: a name, or None for the first that can. text: what to paint. background: for `replace`, in place of text.
    """

    task: Task
    engine: str | None = None
    text: str = ""
    background: Background | None = None
    settings: PaintSettings = field(default_factory=PaintSettings)


def wish_from(task: Any, options: Any, background: str | Path | None = None) -> Wish:
    """A wish in JSON's types.

    Args:
        task: remove, fill or replace.
        options: an object with any of OPTIONS, or None. `background` is a colour; null asks for what is automatic.
        background: file of a picture, in place of a colour.

    Raises:
        ConfigError, LimitError, ImageError: anything that cannot be meant.
    """
    if task not in TASKS:
        raise ConfigError(f"task: expected one of {', '.join(TASKS)}, got {short(task)}")
    given = {} if options is None else options
    if not isinstance(given, Mapping):
        raise ConfigError(f"options: expected a JSON object, got {short(options)}")
    unknown = [key for key in given if key not in OPTIONS]
    if unknown:
        raise ConfigError(f"options: expected {', '.join(OPTIONS)}, got {short(unknown[0])}")
    values = {key: value for key, value in given.items() if value is not None}
    behind: Background | None = None
    if task == "replace" and background:
        behind = open_photo(background).full()
    elif task == "replace" and "background" in values:
        behind = colour_from(values["background"])
    engine = values.get("engine")
    return Wish(
        task=task,
        engine=None if engine is None else text_within(engine, "engine"),
        text=text_within(values.get("text", ""), "text"),
        background=behind,
        settings=_settings(values),
    )


def _settings(values: Mapping[str, Any]) -> PaintSettings:
    pixels = {name: number(values[name], name) for name in ("dilation", "feather") if name in values}
    mask = MaskSettings(
        threshold=number(values.get("threshold", THRESHOLD), "threshold"),
        shadows=_flag(values.get("shadows", False), "shadows"),
        dilation=pixels.get("dilation"),
        feather=pixels.get("feather"),
    )
    seed = number(values.get("seed", 0), "seed")
    if seed != int(seed):
        raise LimitError(f"seed: expected a whole number, got {seed:g}")
    return PaintSettings(
        mask=mask,
        context=number(values.get("context", PaintSettings.context), "context"),
        seed=int(seed),
        refine=REFINE if _flag(values.get("refine", True), "refine") else 0.0,
    )


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected true or false, got {short(value)}")
    return value


def pixels_from(text: Any, name: str) -> float | None:
    """A number from a text field; None, which is automatic, from an empty one.

    Raises:
        LimitError: no number.
    """
    written = text_within(text or "", name, 40)
    try:
        return number(float(written.replace(",", ".")), name) if written else None
    except ValueError as error:
        raise LimitError(f"{name}: expected pixels, or nothing for automatic, got {short(text)}") from error


def colour_from(value: Any) -> tuple[int, int, int]:
    """A colour in a CSS spelling, as colour pickers give it.

    Raises:
        ImageError: no colour.
    """
    text = text_within(value, "background", 60)
    numbers = re.fullmatch(r"rgba?\(([\d.]+),\s*([\d.]+),\s*([\d.]+)(?:,\s*[\d.]+)?\)", text)
    try:
        if numbers is not None:  # pickers give parts of levels, which Pillow does not read
            text = "rgb({},{},{})".format(*(min(round(float(one)), 255) for one in numbers.groups()))
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise ImageError(f"background: expected a colour such as #0050c8, got {short(value)}") from error
    return red, green, blue


def engine_for(wish: Wish, engines: Engines) -> InpaintingEngine:
    """Who paints.

    Raises:
        ConfigError: no such engine here, or none that follows words.
    """
    if wish.engine is not None:
        if wish.engine not in engines:
            raise ConfigError(f"engine: expected one of {', '.join(engines)}, got {short(wish.engine)}")
        return engines[wish.engine]
    for engine in engines.values():
        if wish.task == "remove" or engine.follows_text:
            return engine
    raise ConfigError(f"{wish.task}: {NO_TEXT_ENGINE}")


def paint(photo: Photo, alpha: NDArray[np.float32], wish: Wish, engines: Engines, pool: ModelPool) -> Inpainted:
    """Do what is wished with a photo in its own size, one at a time. Models take their turn; OpenCV needs none.

    Raises:
        ZimError: the wish cannot be fulfilled, or others paint for too long; says why.
    """
    check_size(photo)
    if wish.task == "replace" and wish.background is not None:
        with _seats.taken():
            return replace(photo.full(), alpha, background=wish.background, settings=wish.settings)
    if wish.task != "remove" and not wish.text:
        what = "fill" if wish.task == "fill" else "a new background"
        raise PromptError(f"text: expected words for {what}, got none")
    engine = engine_for(wish, engines)
    with _seats.taken(), nullcontext() if isinstance(engine, OpenCvEngine) else pool.turn():
        image = photo.full()
        if wish.task == "remove":
            return remove(image, alpha, engine, settings=wish.settings)
        if wish.task == "fill":
            return fill(image, alpha, engine, wish.text, settings=wish.settings)
        return replace(image, alpha, engine=engine, prompt=wish.text, settings=wish.settings)


def check_size(photo: Photo) -> None:
    """Refuse what is too large to be painted.

    Raises:
        LimitError: more than MAX_PHOTO_PIXELS.
    """
    height, width = photo.hw
    if height * width > MAX_PHOTO_PIXELS:
        most, got = MAX_PHOTO_PIXELS // 1_000_000, height * width / 1e6
        raise LimitError(f"photo: expected at most {most} megapixels to paint in, got {got:.0f}")


def write_painted(folder: Outbox, photo: Photo, task: Task, done: Inpainted) -> tuple[Path, Path]:
    """The finished photo and the mask, in the photo's own size."""
    result = folder.beside(f"{photo.name}_{RESULT_NAMES[task]}.png")
    mask = folder.beside(f"{photo.name}_mask.png")
    save_png(result, done.image)
    save_png(mask, done.mask)
    return result, mask


def connected(ask: Ask) -> Ask:
    """Answers to points alone without the parts that no point lies on, as the adapter's `Selection` has them."""

    def asked(layer: str, photo: Photo, prompts: ObjectPrompts) -> NDArray[np.float32]:
        alpha = ask(layer, photo, prompts)
        prompt = prompts.as_prompt(photo.scale, (photo.working.shape[0], photo.working.shape[1]))
        if prompt.box is not None or prompt.point_coords is None or prompt.point_labels is None:
            return alpha
        return piece_with(alpha, prompt.point_coords[prompt.point_labels == 1])

    return asked


class PaintSession(PhotoSession):
    """A photo, and the files of what was painted last."""

    files: tuple[Path, Path] | None = None
    views: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    """The photo and the result, in the size of the working picture."""

    def renew(self, layers: tuple[str, ...] | None = None) -> None:
        """See `PhotoSession`; what was painted is forgotten too."""
        with self.lock:
            self.files = self.views = None
            super().renew(layers)
