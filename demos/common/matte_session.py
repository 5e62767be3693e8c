"""A person's photo with its last matte, which is shown as long as it is that of what is drawn."""

import threading
from typing import Any

from zim.compositing import Background
from zim.cutout import composite
from zim.errors import PromptError

from .matte_job import MatteResult
from .photo_desk import Desk
from .photo_session import PhotoSession, asking, embedding
from .photos import Photo
from .serving import Services
from .stage import StageValue

TRIMAP, ALPHA, COMPOSITE = "trimap", "final alpha", "final cut-out"
"""Names of the matte's views."""


class MatteSession(PhotoSession):
    """See `PhotoSession`. `stop` ends a matte that is being made; `backdrop` is what the cut-out stands before."""

    def __init__(self, services: Services) -> None:
        pool = services.pool
        super().__init__(asking(pool), services.layers, prepare=embedding(pool, services.model))
        self.stop = threading.Event()
        self.backdrop: Background | Photo = "checkerboard"
        self.result: MatteResult | None = None
        self._put: tuple[int, int] | None = None
        self._looks = 0

    def renew(self, layers: tuple[str, ...] | None = None) -> None:
        """See `PhotoSession.renew`; the matte goes too."""
        with self.lock:
            super().renew(layers)
            self.result, self._put = None, None

    def ask_again(self, layers: tuple[str, ...]) -> None:
        """See `PhotoSession.ask_again`."""
        with self.lock:
            super().ask_again(layers)
            self._put = None

    def place_before(self, backdrop: Background | Photo) -> None:
        """Show the cut-out before a colour, "checkerboard" or a picture from now on."""
        with self.lock:
            self.backdrop = backdrop
            self._looks += 1

    @property
    def shows_result(self) -> bool:
        """Whether the matte's views are there."""
        return self._put is not None

    def current_result(self) -> MatteResult:
        """The last matte.

        Raises:
            PromptError: there is none, or drawing and model are no longer those that it was made of.
        """
        drawn = tuple(one for one in self.drawing.objects if one.count)
        if self.result is None:
            raise PromptError("matte: expected one, got none; prompt an object and press Matte")
        if (self.result.objects, self.result.model) != (drawn, self.layers[0]):
            raise PromptError("matte: the prompts or the model have changed since; press Matte again")
        return self.result

    def value(self, *, colours: bool = True, message: str = "", **more: Any) -> StageValue:
        """See `PhotoSession.value`; with the matte's pictures among the views."""
        with self.lock:
            self._put_pictures()
            return super().value(colours=colours, message=message, **more)

    def _put_pictures(self) -> None:
        try:
            result = self.current_result()
        except PromptError:
            if self._put is not None:
                self.drop_pictures()
                self._put = None
            return
        wanted = id(result), self._looks
        if wanted != self._put:
            backdrop = self.backdrop.working if isinstance(self.backdrop, Photo) else self.backdrop
            self.put_picture(TRIMAP, result.trimap)
            self.put_picture(ALPHA, result.alpha)
            self.put_picture(COMPOSITE, composite(result.cutout, backdrop))
            self._put = wanted


def session_of(desk: Desk) -> MatteSession:
    """The session of a desk whose sessions are `MatteSession`s."""
    if not isinstance(desk.session, MatteSession):
        raise TypeError(f"expected a MatteSession, got {type(desk.session).__name__}")
    return desk.session
