"""Prompts in, mattes out: the predictor's answer, its trimap, and the refined alpha."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from zim import predict_alpha
from zim.compositing import Background
from zim.cutout import composite, cutout
from zim.errors import ConfigError, PromptError
from zim.image_conversion import to_rgb
from zim.matte_files import PromptOptions, build_prompts, check_prompts
from zim.prompts import Prompt
from zim.protocol import Predictor

from .detections import DEFAULT_THRESHOLDS, Found, TextDetector, find_boxes, find_transparent
from .modes import MODES, Mode, refiner_of
from .refiners import Refiner
from .transparency import open_inside
from .trimap import TrimapRule

NO_PROMPTS = PromptOptions()


@dataclass(frozen=True, kw_only=True, eq=False)
class Matte:
    """One object, or several united, of a photo.

    image: (H, W, 3) uint8 RGB. alpha: (H, W) float32 in [0, 1]. trimap: (H, W) float32 of 0, 0.5, 1. answer: (H, W)
    float32, the predictor's own alpha. prompts: what was asked. found: the detection behind each prompt, or None.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    trimap: NDArray[np.float32]
    answer: NDArray[np.float32]
    prompts: tuple[Prompt, ...]
    found: tuple[Found | None, ...]

    def cutout(self) -> NDArray[np.uint8]:
        """(H, W, 4) uint8 RGBA with the object's own colours, straight alpha."""
        return cutout(self.image, self.alpha)

    def composite(self, background: Background) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 before a colour, "checkerboard" or a picture; no old background shines through."""
        return composite(self.image, background, self.alpha)

    def resized(self, photo: NDArray[np.uint8]) -> "Matte":
        """The same matte for another size of its photo, (h, w, 3) uint8 RGB; refined on a small copy, for the large.

        Raises:
            ImageError: no image.
        """
        rgb = to_rgb(photo)
        hw, own = (rgb.shape[0], rgb.shape[1]), self.alpha.shape
        if hw == own:
            return replace(self, image=rgb)
        smooth = cv2.INTER_AREA if hw[0] * hw[1] < own[0] * own[1] else cv2.INTER_CUBIC
        scale = np.array([hw[1] / own[1], hw[0] / own[0]], np.float32)
        return replace(
            self,
            image=rgb,
            alpha=_resize(self.alpha, hw, smooth),
            trimap=_resize(self.trimap, hw, cv2.INTER_NEAREST),
            answer=_resize(self.answer, hw, smooth),
            prompts=tuple(_scaled(prompt, scale) for prompt in self.prompts),
            found=tuple(None if one is None else _found_in(one, scale) for one in self.found),
        )


class MatteAnything:
    """Clicks, boxes or words -> predictor -> trimap -> refiner.

    Args:
        predictor: ZIM, SAM, or anything with SAM's `set_image` and `predict`.
        mode: one of MODES by name, or your own.
        trimap: in place of the mode's.
        refiner: in place of the mode's; a ViTMatte for the modes that end in it.
        detector: for text and for transparent objects.

    Raises:
        ConfigError: an unknown mode, or one that needs a ViTMatte and gets none.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        mode: str | Mode = "zim",
        trimap: TrimapRule | None = None,
        refiner: Refiner | None = None,
        detector: TextDetector | None = None,
    ) -> None:
        if isinstance(mode, str) and mode not in MODES:
            raise ConfigError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
        chosen = MODES[mode] if isinstance(mode, str) else mode
        self._predictor = predictor
        self._trimap = trimap or chosen.trimap
        self._refiner = refiner or refiner_of(chosen)
        self._detector = detector

    def __call__(
        self,
        image: NDArray[np.uint8],
        prompts: PromptOptions | Sequence[Prompt] = NO_PROMPTS,
        *,
        text: str | None = None,
        thresholds: tuple[float, float] = DEFAULT_THRESHOLDS,
        transparent: str | None = None,
        apart: bool = False,
    ) -> list[Matte]:
        """Matte the objects of a photo.

        Args:
            image: (H, W, 3) uint8 RGB.
            prompts: `PromptOptions(boxes=..., points=...)`, where each box is an object and a point belongs to the
                box that contains it; or one `Prompt` for each object.
            text: "cat. dog": every box that the detector finds is one object more.
            thresholds: of the detector's boxes and words.
            transparent: captions of what one sees through (TRANSPARENT); known foreground in their boxes becomes
                unknown. It changes the trimap, and the alpha of modes with a refiner.
            apart: one matte for each object; otherwise all are united in one.

        Returns:
            One matte, or as many as there are objects.

        Raises:
            PromptError: nothing to matte: no prompt, or no object found for the text.
            ConfigError: text without a detector.
            ImageError: no image.
        """
        rgb = to_rgb(image)
        asked, found = self._objects(rgb, prompts, text, thresholds)
        see_through = find_transparent(self._detector, rgb, transparent) if transparent else []
        self._predictor.set_image(rgb)
        groups = [[i] for i in range(len(asked))] if apart else [list(range(len(asked)))]
        mattes = []
        for group in groups:
            answer = self._ask(asked[group[0]])
            for i in group[1:]:
                answer = np.maximum(answer, self._ask(asked[i]))
            trimap = open_inside(self._trimap(answer), see_through)
            mattes.append(
                Matte(
                    image=rgb,
                    alpha=self._refiner(rgb, trimap, answer),
                    trimap=trimap,
                    answer=answer,
                    prompts=tuple(asked[i] for i in group),
                    found=tuple(found[i] for i in group),
                )
            )
        return mattes

    def _ask(self, prompt: Prompt) -> NDArray[np.float32]:
        given = {name: value for name, value in prompt.as_kwargs().items() if value is not None}
        return predict_alpha(self._predictor, **given)

    def _objects(
        self,
        image: NDArray[np.uint8],
        prompts: PromptOptions | Sequence[Prompt],
        text: str | None,
        thresholds: tuple[float, float],
    ) -> tuple[list[Prompt], list[Found | None]]:
        """One prompt for each object, with the detection behind it."""
        found = [] if text is None else find_boxes(self._detector, image, text, thresholds)
        if text is not None and not found:
            raise PromptError(f"text: found nothing for {text!r} above {thresholds[0]:g}")
        if not isinstance(prompts, PromptOptions):
            if not prompts and not found:
                raise PromptError("prompts: expected at least one, or a text, got none")
            words = [Prompt(box=np.array(one.box, np.float32)) for one in found]
            return [*prompts, *words], [*(None for _ in prompts), *found]
        drawn = len(prompts.boxes)
        options = PromptOptions(
            boxes=(*prompts.boxes, *(one.box for one in found)),
            points=prompts.points,
            scribble=prompts.scribble,
            mask=prompts.mask,
        )
        check_prompts(options)
        asked = build_prompts(options, (image.shape[0], image.shape[1]))
        return asked, [*(None for _ in range(drawn)), *found] if options.boxes else [None]


def _resize(values: NDArray[np.float32], hw: tuple[int, int], interpolation: int) -> NDArray[np.float32]:
    return np.clip(cv2.resize(values, hw[::-1], interpolation=interpolation), 0, 1)


def _scaled(prompt: Prompt, scale: NDArray[np.float32]) -> Prompt:
    """For a frame `scale` (x, y) times as large; pixel centres go where they lie there."""
    points, box = prompt.point_coords, prompt.box
    return replace(
        prompt,
        point_coords=None if points is None else ((points + 0.5) * scale - 0.5).astype(np.float32),
        box=None if box is None else (np.asarray(box) * np.tile(scale, 2)).astype(np.float32),
    )


def _found_in(found: Found, scale: NDArray[np.float32]) -> Found:
    x1, y1, x2, y2 = (np.array(found.box) * np.tile(scale, 2)).tolist()
    return found._replace(box=(x1, y1, x2, y2))
