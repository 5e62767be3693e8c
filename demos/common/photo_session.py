"""What one person does with one photo: objects, prompts, undo, and the answers of the models."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.cutout import cutout
from zim.errors import PromptError

from .errors import LimitError
from .history import History
from .limits import MAX_OBJECTS, number
from .models import ModelPool
from .photos import Photo
from .prompts import ObjectPrompts, apply_event
from .recent import Recent
from .stage import COLOURS, TOOLS, ShownObject, StageValue, Tool, cutout_url, matte_url, photo_url

KEPT_ANSWERS = 24
CUTOUT_SIDE = 720
"""Long side at which the colours of a cut-out are estimated for the screen; files have them in full size."""

COLOURED = ("cutout", "compare")
"""Views that show the object's own colours."""

Ask = Callable[[str, Photo, ObjectPrompts], NDArray[np.float32]]
"""(layer, photo, prompts) -> alpha (h, w) float32 of the working picture."""


Prepare = Callable[[Photo], object]
"""Makes a photo ready to be asked about."""


def embedding(pool: ModelPool, layer: str) -> Prepare:
    """Embed a photo by the pool's model of that name, before the first prompt."""
    return lambda photo: pool.embedded(layer, photo.key, photo.working)


def asking(pool: ModelPool) -> Ask:
    """Layers are names of the pool's models."""

    def ask(layer: str, photo: Photo, prompts: ObjectPrompts) -> NDArray[np.float32]:
        prompt = prompts.as_prompt(photo.scale, (photo.working.shape[0], photo.working.shape[1]))
        return pool.alpha(layer, photo.key, photo.working, prompt)

    return ask


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What undo goes back to: the objects and which of them is being prompted."""

    objects: tuple[ObjectPrompts, ...] = (ObjectPrompts(),)
    active: int = 0

    @property
    def current(self) -> ObjectPrompts:
        """The object that is being prompted."""
        return self.objects[self.active]

    def with_current(self, prompts: ObjectPrompts) -> "Drawing":
        """With the active object changed."""
        return replace(self, objects=tuple(prompts if i == self.active else one for i, one in enumerate(self.objects)))


class PhotoSession:
    """One person's photo. Methods may be called from several threads; each sees a whole state.

    Args:
        ask: the models.
        layers: who answers; the first is shown, the second only asked for when they are compared.
        tools: what the stage offers.
        prepare: what can be done for a photo while the person still looks at it.
    """

    def __init__(
        self, ask: Ask, layers: tuple[str, ...], tools: tuple[Tool, ...] = TOOLS, prepare: Prepare | None = None
    ) -> None:
        self.lock = threading.RLock()
        self.layers = layers
        self._ask = ask
        self.prepare = prepare
        self._tools = tools
        self._photo: Photo | None = None
        self._drawing = History(Drawing())
        self._answers: Recent[tuple[str, ObjectPrompts], tuple[str, NDArray[np.float32]]] = Recent(KEPT_ANSWERS)
        self._pictures: dict[str, tuple[str, str]] = {}
        self.view = "matte"
        self._sent: set[str] = set()
        self._serial = 0
        # Later sessions of the same page count on from later: the browser ignores what is older than what it shows.
        self._revision = time.monotonic_ns() // 1_000_000

    @property
    def photo(self) -> Photo | None:
        """The photo, once there is one."""
        return self._photo

    @property
    def drawing(self) -> Drawing:
        """What was drawn."""
        return self._drawing.value

    def start(self, photo: Photo) -> None:
        """Take a new photo; what was drawn on the one before is gone."""
        with self.lock:
            self._photo = photo
            self.renew()

    def renew(self, layers: tuple[str, ...] | None = None) -> None:
        """Forget what was drawn and answered; with `layers`, other models answer from now on."""
        with self.lock:
            self.layers = layers or self.layers
            self._drawing = History(Drawing())
            self._answers.clear()
            self._pictures.clear()
            self._sent.clear()

    def ask_again(self, layers: tuple[str, ...]) -> None:
        """Other models from now on; the drawing stays."""
        with self.lock:
            self.layers = layers
            self._answers.clear()
            self._pictures.clear()

    def load(self, objects: tuple[ObjectPrompts, ...]) -> None:
        """Take these objects, as one step."""
        with self.lock:
            self._drawing.set(Drawing(objects=objects or (ObjectPrompts(),), active=max(len(objects) - 1, 0)))

    def handle(self, event: Mapping[str, Any]) -> None:
        """Do what the browser reported.

        Raises:
            ZimError: it makes no sense.
        """
        with self.lock:
            kind = event.get("kind")
            self.view = str(event.get("view") or self.view)[:80]
            if kind == "refresh":
                self._sent.clear()
            elif kind == "undo":
                self._drawing.undo()
            elif kind == "redo":
                self._drawing.redo()
            elif kind != "look" and self._photo is not None:
                drawing = self._drawing.value
                self._drawing.set(drawing.with_current(apply_event(drawing.current, event, self._photo.hw)))

    def take_back(self) -> None:
        """Undo the last step that had no answer, leaving no trace of it."""
        with self.lock:
            self._drawing.undo()

    def clear_current(self) -> None:
        """Take all prompts off the active object."""
        with self.lock:
            self._drawing.change(lambda drawing: drawing.with_current(ObjectPrompts()))

    def add_object(self) -> None:
        """Begin another object; an empty one is used first.

        Raises:
            LimitError: too many objects.
        """
        with self.lock:
            drawing = self._drawing.value
            for i, one in enumerate(drawing.objects):
                if not one.count:
                    self._drawing.set(replace(drawing, active=i))
                    return
            if len(drawing.objects) >= MAX_OBJECTS:
                raise LimitError(f"objects: expected at most {MAX_OBJECTS}")
            self._drawing.set(Drawing(objects=(*drawing.objects, ObjectPrompts()), active=len(drawing.objects)))

    def choose(self, index: Any) -> None:
        """Prompt that object from now on (0 is the first)."""
        with self.lock:
            place = int(number(index, "object"))
            if 0 <= place < len(self._drawing.value.objects):
                self._drawing.set(replace(self._drawing.value, active=place))

    def put_picture(self, name: str, picture: NDArray[np.uint8]) -> None:
        """A further view of the photo's frame: (h, w, 3) RGB or (h, w, 4) RGBA uint8; gone when the photo changes."""
        with self.lock:
            self._serial += 1
            url = photo_url(picture) if picture.shape[2] == 3 else cutout_url(picture)
            self._pictures[name] = f"{self._required().key}-{self._serial}", url

    def drop_pictures(self) -> None:
        """Take all further views away."""
        with self.lock:
            self._pictures.clear()

    def alpha(self, prompts: ObjectPrompts, layer: str) -> NDArray[np.float32]:
        """(h, w) float32 of the working picture."""
        return self._answer(prompts, layer)[1]

    def full_alpha(self, prompts: ObjectPrompts, layer: str) -> NDArray[np.float32]:
        """(H, W) float32 in the photo's own size."""
        photo = self._required()
        alpha = self.alpha(prompts, layer)
        if alpha.shape == photo.hw:
            return alpha
        large = np.asarray(cv2.resize(alpha, photo.hw[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
        return np.clip(large, 0, 1, out=large)

    def united_alpha(self, layer: str) -> NDArray[np.float32]:
        """(H, W) float32 of all objects, the highest alpha of each pixel, in the photo's own size.

        Raises:
            PromptError: nothing was prompted.
        """
        with self.lock:
            prompted = [one for one in self.drawing.objects if one.count]
            if not prompted:
                raise PromptError("prompts: expected a point, a box or a stroke on the photo, got none")
            alpha = self.full_alpha(prompted[0], layer)
            for one in prompted[1:]:
                alpha = np.maximum(alpha, self.full_alpha(one, layer))
            return alpha

    def prompts_file(self) -> dict[str, Any]:
        """What was drawn, as `prompts_from_json` reads it: pixels of the photo."""
        photo = self._required()
        objects = [one.as_json() for one in self.drawing.objects if one.count]
        return {"image": photo.name, "size": [photo.hw[1], photo.hw[0]], "objects": objects}

    @property
    def unfinished(self) -> bool:
        """Whether the view shows cut-outs, whose colours take longer than the matte."""
        return self._photo is not None and self.view in COLOURED and any(one.count for one in self.drawing.objects)

    def value(self, *, colours: bool = True, message: str = "", **more: Any) -> StageValue:
        """What the stage shows now; asks the models for what is new.

        Args:
            colours: estimate the object's own colours for the views that show cut-outs.
            message: the line below the picture.
            more: further fields of `StageValue`.

        Raises:
            ZimError: a model refuses; nothing is changed.
        """
        with self.lock:
            self._revision += 1
            photo = self._photo
            if photo is None:
                return StageValue(revision=self._revision, tools=self._tools, message=message, **more)
            view = self.view
            layers = self.layers[:2] if view == "compare" else self.layers[:1]
            assets: dict[str, str] = {}
            self._send(assets, photo.key, partial(photo_url, photo.working))
            for key, url in self._pictures.values():
                self._send(assets, key, url.__str__)
            with_colours = colours and view in COLOURED
            shown = [
                self._shown(one, COLOURS[i % len(COLOURS)], layers, with_colours, assets)
                for i, one in enumerate(self.drawing.objects)
            ]
            return StageValue(
                revision=self._revision,
                tools=self._tools,
                photo=(photo.key, photo.hw),
                layers=self.layers,
                objects=shown,
                active=self.drawing.active,
                pictures={name: key for name, (key, _) in self._pictures.items()},
                assets=assets,
                message=message,
                **more,
            )

    def _shown(
        self, prompts: ObjectPrompts, colour: str, layers: tuple[str, ...], with_colours: bool, assets: dict[str, str]
    ) -> ShownObject:
        mattes: dict[str, str] = {}
        cutouts: dict[str, str] = {}
        for layer in layers if prompts.count else ():
            key, alpha = self._answer(prompts, layer)
            self._send(assets, key, partial(matte_url, alpha))
            mattes[layer] = key
            if with_colours:
                cutouts[layer] = f"{key}-cutout"
                self._send(assets, cutouts[layer], partial(self._cutout, alpha))
        drawn = prompts.as_json()
        return ShownObject(
            colour=colour,
            points=drawn["points"],
            boxes=[] if prompts.box is None else [list(prompts.box)],
            strokes=drawn["strokes"],
            mattes=mattes,
            cutouts=cutouts,
        )

    def _answer(self, prompts: ObjectPrompts, layer: str) -> tuple[str, NDArray[np.float32]]:
        return self._answers.of((layer, prompts), lambda: self._asked(layer, prompts))

    def _asked(self, layer: str, prompts: ObjectPrompts) -> tuple[str, NDArray[np.float32]]:
        alpha = self._ask(layer, self._required(), prompts)
        self._serial += 1
        return f"{self._required().key}-{self._serial}", alpha

    def _cutout(self, alpha: NDArray[np.float32]) -> str:
        photo = self._required().working
        scale = min(1.0, CUTOUT_SIDE / max(alpha.shape))
        if scale < 1:
            size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
            photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
            alpha = np.clip(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), 0, 1)
        return cutout_url(cutout(photo, alpha))

    def _send(self, assets: dict[str, str], key: str, make: Callable[[], str]) -> None:
        """Put a picture among the assets unless the browser has it."""
        if key not in self._sent:
            assets[key] = make()
            self._sent.add(key)

    def _required(self) -> Photo:
        if self._photo is None:
            raise LimitError("photo: expected one to be chosen first, got none")
        return self._photo
