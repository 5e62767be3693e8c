"""A base and its HQ head on one photo: which of their answers is shown, and where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.hq_sam.close_up import CloseUp, Difference, close_up, difference_map, difference_of
from adapters.hq_sam.segmentation import knows
from adapters.hq_sam.three_masks import Answers, answers_to
from zim.cutout import mask_from_alpha
from zim.errors import ConfigError

from .limits import short
from .models import ModelPool
from .photo_session import PhotoSession
from .photos import Photo
from .prompts import ObjectPrompts
from .stage import StageValue

Pair = tuple[str, str]
"""Names of a base and of the same base with an HQ head."""

PAIRS: tuple[Pair, ...] = (("zim_tiny", "hq_zim_tiny"), ("sam_tiny", "hq_sam_tiny"))
WHICH = ("one", "best", "1", "2", "3")
"""One answer, the best of three by the model's own estimate, or one of the three."""

DIFFERENCE = "difference"
"""Name of the view that shows where base and HQ are apart."""


@dataclass(frozen=True, kw_only=True)
class HqOptions:
    """token_only: the HQ token's answer by itself. which: one of WHICH. mask: cut the shown answer at 0.5.

    Raises:
        ConfigError: something else.
    """

    token_only: bool = False
    which: str = "one"
    mask: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.which, str) or self.which not in WHICH:
            raise ConfigError(f"which: expected one of {', '.join(WHICH)}, got {short(self.which)}")
        for name, value in (("hq_token_only", self.token_only), ("mask", self.mask)):
            if not isinstance(value, bool):
                raise ConfigError(f"{name}: expected true or false, got {short(value)}")

    def chosen(self, answers: Answers) -> NDArray[np.float32]:
        """(H, W) float32: the answer that is wanted."""
        if self.which == "one":
            return answers.alphas[0]
        return answers.alphas[answers.best if self.which == "best" else int(self.which) - 1]


def ask_pair(pool: ModelPool, name: str, photo: Photo, prompts: ObjectPrompts, options: HqOptions) -> Answers:
    """What a model, with or without a head, answers about the working picture.

    Raises:
        ZimError: as the model.
    """
    hw = int(photo.working.shape[0]), int(photo.working.shape[1])
    prompt = prompts.as_prompt(photo.scale, hw)
    given = {field: value for field, value in prompt.as_kwargs().items() if value is not None}
    with pool.turn():
        predictor = pool.embedded(name, photo.key, photo.working)
        token = options.token_only and knows(predictor, "hq_token_only")
        return answers_to(predictor, multimask_output=options.which != "one", hq_token_only=token, **given)


class HqSession(PhotoSession):
    """See `PhotoSession`; the layers are a pair, the one with the head first."""

    def __init__(self, pool: ModelPool, pair: Pair, options: HqOptions | None = None) -> None:
        self._pool = pool
        self.options = options or HqOptions()
        self._qualities: dict[tuple[str, ObjectPrompts], tuple[float, ...]] = {}
        self._mapped: ObjectPrompts | None = None
        super().__init__(self._ask_chosen, (pair[1], pair[0]), prepare=self._embed)

    @property
    def pair(self) -> Pair:
        """Base and HQ."""
        return self.layers[1], self.layers[0]

    def configure(self, *, pair: Pair | None = None, **options: Any) -> None:
        """Another pair or other options from now on; the drawing stays.

        Raises:
            ConfigError: an option that is none.
        """
        with self.lock:
            self.options = replace(self.options, **options)
            base, hq = pair or self.pair
            self._qualities.clear()
            self.ask_again((hq, base))

    def qualities(self, prompts: ObjectPrompts) -> tuple[float, ...]:
        """The HQ model's estimates for the answers to these prompts; empty before it was asked."""
        return self._qualities.get((self.layers[0], prompts), ())

    def compare(self) -> tuple[CloseUp, Difference] | None:
        """Where base and HQ differ on the active object; None while it has no prompt.

        Raises:
            ZimError: as the models.
        """
        with self.lock:
            photo, prompts = self.photo, self.drawing.current
            if photo is None or not prompts.count:
                return None
            base, hq = (self.alpha(prompts, name) for name in self.pair)
            return close_up(photo.working, base, hq), difference_of(base, hq)

    def renew(self, layers: tuple[str, ...] | None = None) -> None:
        """See `PhotoSession.renew`."""
        with self.lock:
            super().renew(layers)
            self._mapped = None

    def ask_again(self, layers: tuple[str, ...]) -> None:
        """See `PhotoSession.ask_again`."""
        with self.lock:
            super().ask_again(layers)
            self._mapped = None

    def value(self, *, colours: bool = True, message: str = "", **more: Any) -> StageValue:
        """See `PhotoSession.value`; with the difference on the active object among the views."""
        with self.lock:
            prompts = self.drawing.current
            if prompts != self._mapped:
                self.drop_pictures()
                self._mapped = None
                if self.photo is not None and prompts.count:
                    self.put_picture(DIFFERENCE, difference_map(*(self.alpha(prompts, name) for name in self.pair)))
                    self._mapped = prompts
            return super().value(colours=colours, message=message, **more)

    def soft_alpha(self, name: str) -> NDArray[np.float32]:
        """(H, W) float32 of all objects in the photo's own size, whether masks are shown or not.

        Raises:
            PromptError: no prompt.
        """
        with self.lock:
            return united(self._pool, name, self._required(), self.drawing.objects, self.options)

    def _embed(self, photo: Photo) -> None:
        for name in self.layers:
            self._pool.embedded(name, photo.key, photo.working)

    def _ask_chosen(self, layer: str, photo: Photo, prompts: ObjectPrompts) -> NDArray[np.float32]:
        answers = ask_pair(self._pool, layer, photo, prompts, self.options)
        if len(self._qualities) > 200:
            self._qualities.clear()
        self._qualities[layer, prompts] = answers.qualities
        alpha = self.options.chosen(answers)
        return mask_from_alpha(alpha).astype(np.float32) if self.options.mask else alpha


def united(
    pool: ModelPool, name: str, photo: Photo, objects: Sequence[ObjectPrompts], options: HqOptions
) -> NDArray[np.float32]:
    """(H, W) float32 of all objects in the photo's own size.

    Raises:
        PromptError: no prompt.
        ZimError: as the model.
    """
    session = HqSession(pool, (name, name), replace(options, mask=False))
    session.start(photo)
    session.load(tuple(objects))
    return session.united_alpha(name)
