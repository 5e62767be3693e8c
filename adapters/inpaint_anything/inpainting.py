"""Remove an object, paint something in its place, or give it another background: alpha in, finished photo out."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.compositing import Background, background_image
from zim.errors import ConfigError, DataError
from zim.foreground import PURE, check_image_and_alpha
from zim.protocol import Predictor
from zim.text_detection import TextDetector

from .compositing import REFINE, keep_object, lay_over, refined_edges
from .crop import crop_around, cut, paste, whole_picture
from .engines.protocol import InpaintingEngine
from .masks import MaskSettings, PaintedRegion, core_mask, with_seam
from .pieces import pieces_of
from .selection import Selection, select, together
from .shadows import along_shadow


@dataclass(frozen=True, kw_only=True)
class PaintSettings:
    """How an object is painted over or before what it is put.

    mask: how much is painted anew. context: what the engine sees around an object, as a share of the object's longer
    side on each side. seed: of engines that draw noise. refine: radius, as a share of the object's scale, within which
    `replace` lets the photo's colours lead the matte's uncertain edges (`refined_edges`); 0 leaves the matte as it is.
    estimate_colours: `replace` removes the old background from the object's soft edges.
    """

    mask: MaskSettings = field(default_factory=MaskSettings)
    context: float = 0.5
    seed: int = 0
    refine: float = REFINE
    estimate_colours: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.context <= 10:
            raise ConfigError(f"context: expected a share in [0, 10], got {self.context!r}")
        if not 0 <= self.refine <= 1:
            raise ConfigError(f"refine: expected a share in [0, 1], got {self.refine!r}")
        if isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: expected an integer in [0, 2^63), got {self.seed!r}")


class Inpainted(NamedTuple):
    """image: (H, W, 3) uint8. alpha: (H, W) float32 of the object. mask: (H, W) bool, what was painted anew without its
    seam (`replace`: the object, alpha > 0.5). changed: (H, W) bool; outside it the image is bit for bit the photo."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]
    changed: NDArray[np.bool_]


def remove(
    image: NDArray[np.uint8],
    alpha: NDArray[np.floating],
    engine: InpaintingEngine,
    *,
    settings: PaintSettings | None = None,
) -> Inpainted:
    """Paint the background over an object.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1], of one object or of several.
        engine: what paints; objects far from each other are painted one by one.
        settings: see `PaintSettings`.

    Raises:
        ImageError: a wrong shape, dtype or range.
        DataError: nothing is above the threshold, or nothing is left to continue.
    """
    chosen = settings or PaintSettings()
    return _painted_over(image, alpha, engine, chosen, prompt="", one_crop=False)


def fill(
    image: NDArray[np.uint8],
    alpha: NDArray[np.floating],
    engine: InpaintingEngine,
    prompt: str,
    *,
    settings: PaintSettings | None = None,
) -> Inpainted:
    """Paint what a text says in place of an object; arguments and errors as in `remove`.

    Raises:
        ConfigError: the engine does not follow texts.
    """
    _check_text(engine, "fill")
    return _painted_over(image, alpha, engine, settings or PaintSettings(), prompt=prompt, one_crop=True)


def replace(
    image: NDArray[np.uint8],
    alpha: NDArray[np.floating],
    *,
    background: Background | None = None,
    engine: InpaintingEngine | None = None,
    prompt: str = "",
    settings: PaintSettings | None = None,
) -> Inpainted:
    """Keep an object and give it another background: a picture, a colour, or what an engine paints from a text.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1].
        background: an (r, g, b) colour, "checkerboard" or an (h, w, 3) uint8 picture, cropped to cover the frame.
        engine, prompt: where no background is given. A photo larger than the engine's native size gets an enlarged one.
        settings: see `PaintSettings`.

    Raises:
        ImageError: a wrong shape, dtype or range.
        DataError: no alpha is above the threshold: there is no object to keep.
        ConfigError: neither or both of background and engine, or an engine that does not follow texts.
    """
    chosen = settings or PaintSettings()
    check_image_and_alpha(image, alpha)
    if (background is None) == (engine is None):
        raise ConfigError("replace: expected either a background or an engine that paints one")
    if not (alpha > chosen.mask.threshold).any():
        raise DataError(_nothing(chosen.mask.threshold))
    if chosen.refine:
        alpha = refined_edges(image, alpha, chosen.refine)
    if engine is None:
        behind = background_image(background if background is not None else (0, 0, 0), alpha.shape)
    else:
        _check_text(engine, "replace")
        behind = _painted_background(image, alpha, engine, prompt, chosen)
    result = keep_object(image, behind, alpha, estimate_colours=chosen.estimate_colours)
    return Inpainted(result, np.asarray(alpha, np.float32), alpha > 0.5, alpha < 1 - PURE)


def remove_anything(
    image: NDArray[np.uint8],
    predictor: Predictor | None,
    selection: Selection,
    engine: InpaintingEngine,
    *,
    detector: TextDetector | None = None,
    settings: PaintSettings | None = None,
) -> Inpainted:
    """Point at objects and remove them all: `select`, then `remove`."""
    alpha = together(select(image, selection, predictor=predictor, detector=detector))
    return remove(image, alpha, engine, settings=settings)


def fill_anything(
    image: NDArray[np.uint8],
    predictor: Predictor | None,
    selection: Selection,
    engine: InpaintingEngine,
    prompt: str,
    *,
    detector: TextDetector | None = None,
    settings: PaintSettings | None = None,
) -> Inpainted:
    """Point at objects and paint what a text says in their place: `select`, then `fill`."""
    alpha = together(select(image, selection, predictor=predictor, detector=detector))
    return fill(image, alpha, engine, prompt, settings=settings)


def replace_anything(
    image: NDArray[np.uint8],
    predictor: Predictor | None,
    selection: Selection,
    *,
    background: Background | None = None,
    engine: InpaintingEngine | None = None,
    prompt: str = "",
    detector: TextDetector | None = None,
    settings: PaintSettings | None = None,
) -> Inpainted:
    """Point at objects and give them another background: `select`, then `replace`."""
    alpha = together(select(image, selection, predictor=predictor, detector=detector))
    return replace(image, alpha, background=background, engine=engine, prompt=prompt, settings=settings)


def _painted_over(
    image: NDArray[np.uint8],
    alpha: NDArray[np.floating],
    engine: InpaintingEngine,
    settings: PaintSettings,
    *,
    prompt: str,
    one_crop: bool,
) -> Inpainted:
    check_image_and_alpha(image, alpha)
    core = core_mask(alpha, settings.mask)
    if not core.any():
        raise DataError(_nothing(settings.mask.threshold))
    if settings.mask.shadows:
        core = along_shadow(image, core)
    region = with_seam(core, settings.mask.feather)
    if region.mask.all() and not engine.follows_text:
        raise DataError(
            f"alpha: the object and its edge cover the whole picture, so {engine.name} has no background to continue"
        )
    reach = max(32, round(settings.context * 32))
    pieces = [region.mask] if one_crop else pieces_of(region.mask, reach)
    result = _paint_pieces(image, region, pieces, engine, settings, prompt)
    return Inpainted(result, np.asarray(alpha, np.float32), core, region.mask)


def _paint_pieces(
    image: NDArray[np.uint8],
    region: PaintedRegion,
    pieces: list[NDArray[np.bool_]],
    engine: InpaintingEngine,
    settings: PaintSettings,
    prompt: str,
) -> NDArray[np.uint8]:
    """One crop after the other; in each, what other objects still cover is painted too but thrown away."""
    result, open_mask = image, region.mask.copy()
    for index, piece in enumerate(pieces):
        crop = crop_around(piece, engine.geometry, settings.context)
        photo, hole = cut(result, open_mask, crop)
        if hole.all() and not engine.follows_text:
            crop = whole_picture((image.shape[0], image.shape[1]), engine.geometry)
            photo, hole = cut(result, open_mask, crop)
        painted = engine.inpaint(photo, hole, prompt=prompt, seed=settings.seed + index)
        weight = np.where(piece, region.weight, np.float32(0))
        result = lay_over(result, paste(painted, result, crop), weight)
        open_mask &= ~piece
    return result


def _painted_background(
    image: NDArray[np.uint8],
    alpha: NDArray[np.floating],
    engine: InpaintingEngine,
    prompt: str,
    settings: PaintSettings,
) -> NDArray[np.uint8]:
    """What the engine paints around the sure part of the object, at the photo's size."""
    hole = core_mask((1 - alpha).astype(np.float32), settings.mask)
    if not hole.any():
        return image
    crop = whole_picture((image.shape[0], image.shape[1]), engine.geometry)
    photo, small_hole = cut(image, hole, crop)
    return paste(engine.inpaint(photo, small_hole, prompt=prompt, seed=settings.seed), image, crop)


def _check_text(engine: InpaintingEngine, task: str) -> None:
    if not engine.follows_text:
        raise ConfigError(
            f"{task}: expected an engine that paints what a text says (sd15, sdxl, flux-fill), got {engine.name}"
        )


def _nothing(threshold: float) -> str:
    return f"alpha: expected an object, got no pixel above {threshold:g}: nothing is selected"
