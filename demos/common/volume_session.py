"""What one person does with one volume: the slice that is shown, prompts with undo, and what was found."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.medical_volume.outputs import canonical_slice, stored_slice
from adapters.medical_volume.pointing import ShownSlice
from adapters.medical_volume.prompts import resolve_prompts
from adapters.medical_volume.segmentation import Segmenter
from adapters.medical_volume.settings import Settings
from adapters.medical_volume.slicing import AXIS_NAMES, SliceView, default_axis, view_of
from adapters.medical_volume.volume import Volume
from adapters.medical_volume.windowing import Window, window_of
from zim.errors import ConfigError, PromptError

from .errors import BusyError, LimitError
from .history import History
from .limits import text_within
from .models import ModelPool
from .recent import Recent
from .slice_drawing import draw_slice
from .stage import StageValue, Tool
from .volume_files import OpenedFile, VolumeFile, VolumeShelf, at_step, taken
from .volume_job import Followed, Progress, TurnTaker, follow, summary
from .volume_prompts import MOST_OBJECTS, VolumeDrawing, VolumeObject, apply_event, label_of, whole

TOOLS: tuple[Tool, ...] = ("foreground", "background", "box")
NO_VOLUME = "Choose an example or upload a volume first."
NOT_FOLLOWED = "Nothing to hand over yet: follow the object through the volume first."
KEPT_ANSWERS = 24
OUTLINES = "outlines"


class Asked(NamedTuple):
    """What a result depends on."""

    objects: tuple[tuple[str, VolumeObject], ...]
    file: VolumeFile
    axis: int | None
    window: str
    consensus: bool
    model: str


class VolumeSession:
    """One person's volume. Methods may be called from several threads; each sees a whole state.

    Args:
        pool, shelf: shared by everyone.
        models: names that may be chosen, the first at the start.
    """

    def __init__(self, pool: ModelPool, shelf: VolumeShelf, models: tuple[str, ...]) -> None:
        self.lock = threading.RLock()
        self.models, self.model = models, models[0]
        self.window, self.consensus = "auto", False
        self.axis, self.index = 2, 0
        self.stop = threading.Event()
        self._pool, self._shelf = pool, shelf
        self._opened: OpenedFile | None = None
        self._waiting: OpenedFile | None = None
        self._drawing = History(VolumeDrawing())
        self._answers: Recent[tuple[Any, ...], NDArray[np.float32]] = Recent(KEPT_ANSWERS)
        self._windows: dict[str, Window] = {}
        self._result: tuple[Asked, Followed] | None = None
        self._running = False
        self._revision = time.monotonic_ns() // 1_000_000  # later sessions of a page count on from later

    # ---- the volume

    def open(self, path: Any, *, name: str | None = None, copy: bool = True) -> str:
        """Take a file; one with several time steps waits for `open_step`. The answer is the line to show.

        Raises:
            ZimError: it is refused; what was open stays.
        """
        opened = taken(path, name, copy=copy)
        try:
            if opened.steps <= 1:
                return self._start(opened)
        except BaseException:
            opened.box.close()
            raise
        with self.lock:
            if self._waiting is not None:
                self._waiting.box.close()
            self._waiting = opened
        last = opened.steps - 1
        return f"{opened.file.name} has {opened.steps} time steps: choose one from 0 to {last} below and open it."

    def open_step(self, step: Any) -> str:
        """Open one time step of the file that waits for it, or another one of the file that is open.

        Raises:
            ZimError: no such step, or no such file.
        """
        opened = self._waiting or self._opened
        if opened is None or opened.steps <= 1:
            raise PromptError("time: expected a volume with several time steps, got none")
        file = at_step(opened.file, whole(step, "time"), opened.steps)
        return self._start(replace(opened, file=file))

    @property
    def steps(self) -> int:
        """Time steps to choose from."""
        opened = self._waiting or self._opened
        return 1 if opened is None else opened.steps

    def _start(self, opened: OpenedFile) -> str:
        volume = self._shelf.volume(opened.file)
        with self.lock:
            before = self._opened
            if before is not None and before.box is not opened.box:
                self._shelf.forget(before.file)
                before.box.close()
            self._opened, self._waiting = opened, None
            self.stop.set()
            self._drawing, self._result = History(VolumeDrawing()), None
            self._answers.clear()
            self._windows.clear()
            self.axis = default_axis(volume.geometry)
            self.index = self.view.count // 2
        sides = " x ".join(map(str, volume.geometry.shape))
        spacing = " x ".join(f"{step:.3g}" for step in np.linalg.norm(volume.geometry.affine[:3, :3], axis=0))
        return f"{opened.file.name}: {sides} voxels of {spacing} mm."

    @property
    def volume(self) -> Volume:
        """The volume that is open.

        Raises:
            PromptError: none is.
        """
        if self._opened is None:
            raise PromptError(NO_VOLUME)
        return self._shelf.volume(self._opened.file)

    @property
    def opened_key(self) -> object:
        """Changes with every volume that is opened."""
        return self._opened

    @property
    def is_open(self) -> bool:
        """Whether there is a volume."""
        return self._opened is not None

    @property
    def view(self) -> SliceView:
        """The slices of the direction that is shown."""
        return view_of(self.volume.geometry, self.axis)

    @property
    def shown(self) -> ShownSlice:
        """The slice that is shown."""
        return ShownSlice(geometry=self.volume.geometry, view=self.view, index=self.index)

    @property
    def slice_number(self) -> int:
        """Of the shown slice, as the file counts."""
        return stored_slice(self.volume, self.axis, self.index)

    # ---- looking

    def go_to(self, slice_number: Any) -> None:
        """Show the slice of that number of the file."""
        with self.lock:
            self.index = self._index(slice_number, "slice")

    def look_along(self, axis: Any) -> None:
        """Show axial, coronal or sagittal slices, from the middle of what was found or of the volume."""
        with self.lock:
            name = text_within(axis, "axis")
            if name not in AXIS_NAMES:
                raise ConfigError(f"axis: expected {', '.join(AXIS_NAMES)}, got {name!r}")
            if AXIS_NAMES.index(name) != self.axis:
                self.axis = AXIS_NAMES.index(name)
                self.index = self._middle() if self.is_open else 0

    def set_window(self, window: Any) -> None:
        """Grey levels, as `windowing.window_of` reads them; they are what the model sees."""
        with self.lock:
            name = text_within(window, "window")
            window_of(name, np.ones((1, 1, 1)))  # whether there is such a window
            self.window = name

    def set_model(self, name: Any) -> None:
        """Who answers."""
        if name not in self.models:
            raise ConfigError(f"model: expected one of {', '.join(self.models)}, got {name!r}"[:200])
        with self.lock:
            self.model = str(name)

    # ---- prompting

    @property
    def drawing(self) -> VolumeDrawing:
        """What was drawn."""
        return self._drawing.value

    def handle(self, event: Mapping[str, Any]) -> None:
        """Do what the stage reported.

        Raises:
            ZimError: it makes no sense.
        """
        with self.lock:
            kind = event.get("kind")
            if kind == "undo":
                self._drawing.undo()
            elif kind == "redo":
                self._drawing.redo()
            elif kind not in ("look", "refresh") and self.is_open:
                self._take(apply_event(self.drawing, event, self.shown))

    def make_box_thick(self, first: Any, last: Any) -> None:
        """Let the box on this slice reach from one slice of the file to another.

        Raises:
            ZimError: no box on this slice, or slices that are not there.
        """
        with self.lock:
            flat = self.drawing.current.flat_box(self.shown)
            if flat is None:
                raise PromptError("3-D box: expected a box drawn on the slice that is shown, got none")
            low, high = sorted((self._index(first, "first slice"), self._index(last, "last slice")))
            if low == high:
                raise PromptError("3-D box: expected different first and last slices, got the same")
            edges = self.shown.box_in_picture(flat)
            thick = self.shown.box_between(*edges, slices=(low, high)) if edges else flat
            changed = self.drawing.current.with_thick_box(thick, self.shown)
            self._take(self.drawing.with_current(changed, self.axis))

    def clear_current(self) -> None:
        """Take all prompts off the active object."""
        with self.lock:
            self._drawing.set(self.drawing.with_current(VolumeObject(), self.axis))

    def add_object(self) -> None:
        """Begin another object; an empty one is used first.

        Raises:
            LimitError: too many objects.
        """
        with self.lock:
            objects = self.drawing.objects
            empty = next((place for place, one in enumerate(objects) if not one.count), None)
            if empty is None and len(objects) >= MOST_OBJECTS:
                raise LimitError(f"objects: expected at most {MOST_OBJECTS}")
            if empty is None:
                objects, empty = (*objects, VolumeObject()), len(objects)
            self._drawing.set(replace(self.drawing, objects=objects, active=empty))

    def choose(self, index: Any) -> None:
        """Prompt that object from now on (0 is the first)."""
        with self.lock:
            place = whole(index, "object")
            if 0 <= place < len(self.drawing.objects):
                self._drawing.set(replace(self.drawing, active=place))

    def take_back(self) -> None:
        """Undo a step that had no answer."""
        with self.lock:
            self._drawing.undo()

    def _take(self, drawing: VolumeDrawing) -> None:
        """Refuse prompts that contradict each other before they are kept."""
        if drawing.current.says_where and drawing.axis is not None:
            view = view_of(self.volume.geometry, drawing.axis)
            resolve_prompts(drawing.current.as_prompts(), self.volume.geometry, view)
        self._drawing.set(drawing)

    # ---- following

    def follow(self, consensus: bool, progress: Progress) -> str:
        """Follow all objects through the volume. The lock is free meanwhile. The answer is the line to show.

        Raises:
            BusyError: already at it, stopped, or out of time.
            ZimError: nothing to follow, or a model refuses.
        """
        with self.lock:
            volume, opened, self.consensus = self.volume, self._opened, bool(consensus)
            objects = self.drawing.labelled()
            if opened is None or not objects:
                raise PromptError("prompts: expected a box or a click on the object on some slice, got none")
            if self._running:
                raise BusyError("already following; wait for it, or stop it first")
            asked, axis = self.asked, self.drawing.axis
            self._running = True
            self.stop.clear()
        try:
            found = follow(
                volume,
                objects,
                self._settings(axis if axis is not None else self.axis),
                TurnTaker(self._pool, asked.model),
                opened.box.beside("answers"),
                progress=progress,
                stop=self.stop,
            )
        finally:
            self._running = False
        with self.lock:
            if self._opened is not opened:
                raise BusyError("another volume was opened meanwhile")
            self._result = asked, found
        return summary(found)

    @property
    def result(self) -> Followed | None:
        """What was found for the prompts and settings as they are now."""
        if self._result is None or self._opened is None or self._result[0] != self.asked:
            return None
        return self._result[1]

    # ---- showing

    def value(self, message: str = "", *, error: bool = False, show: str | None = None) -> StageValue:
        """What the stage shows now; asks the model about the shown slice where it is new. All pictures are in it.

        Raises:
            ZimError: a model refuses; nothing is changed.
        """
        with self.lock:
            self._revision += 1
            if self._opened is None:
                return StageValue(revision=self._revision, tools=TOOLS, message=message, error=error)
            volume, shown = self.volume, self.shown
            window = self._windows.get(self.window)
            if window is None:
                window = self._windows[self.window] = window_of(self.window, volume.voxels)
            file = self._opened.file
            drawn = draw_slice(
                shown,
                shown.view.picture(volume.voxels, shown.index, window),
                [(one, self._plane(place, one, shown)) for place, one in enumerate(self.drawing.objects)],
                key=f"{file.path.parent.name}-{file.name}-{file.step}-{self.axis}-{self.index}-{self.window}",
                model=self.model,
                revision=self._revision,
            )
            return StageValue(
                revision=self._revision,
                tools=TOOLS,
                photo=(drawn.key, shown.picture_hw),
                layers=(self.model,),
                objects=drawn.objects,
                active=self.drawing.active,
                pictures={OUTLINES: drawn.outlines},
                assets=drawn.assets,
                message=message,
                error=error,
                show=show,
            )

    def _plane(self, place: int, one: VolumeObject, shown: ShownSlice) -> NDArray[np.float32] | None:
        """(rows, columns) of the object on the slice: of the result, or the model's answer to what was drawn there."""
        asked, label = self.asked, label_of(place)
        if self._result is not None and self._result[0][1:] == asked[1:] and (label, one) in self._result[0].objects:
            alpha = self._result[1].alpha(label)
            return None if alpha is None else shown.view.plane(alpha, shown.index)
        if self.drawing.axis != self.axis or not one.starts_on(shown):
            return None
        here = one.on_slice(shown)
        return self._answers.of((here, asked[1:], self.index), lambda: self._answer(here))

    def _answer(self, here: VolumeObject) -> NDArray[np.float32]:
        """(rows, columns) of what the model says of the prompts on the shown slice."""
        predictor = TurnTaker(self._pool, self.model, keep=True)
        segmenter = Segmenter(predictor=predictor, volume=self.volume, settings=self._settings(self.axis))
        return segmenter.answer_slice(here.as_prompts(), self.index)

    def close(self) -> None:
        """End a job, remove files."""
        self.stop.set()
        with self.lock:
            for one in (self._opened, self._waiting):
                if one is not None:
                    self._shelf.forget(one.file)
                    one.box.close()
            self._opened = self._waiting = self._result = None

    def _settings(self, axis: int) -> Settings:
        return Settings(axis=AXIS_NAMES[axis], window=self.window, consensus=self.consensus or None)

    @property
    def asked(self) -> Asked:
        """What a result would depend on now.

        Raises:
            PromptError: no volume is open.
        """
        if self._opened is None:
            raise PromptError(NO_VOLUME)
        drawing = self.drawing
        objects = tuple(drawing.labelled().items())
        return Asked(objects, self._opened.file, drawing.axis, self.window, self.consensus, self.model)

    def _middle(self) -> int:
        for crop in self._result[1].crops if self._result is not None else ():
            if crop.values.size:
                return crop.low[self.axis] + crop.values.shape[self.axis] // 2
        return self.view.count // 2

    def _index(self, slice_number: Any, name: str) -> int:
        """The canonical index of a slice of the file."""
        found, count = whole(slice_number, name), self.view.count
        if not 0 <= found < count:
            raise LimitError(f"{name}: expected 0 to {count - 1}, got {found}")
        return canonical_slice(self.volume, self.axis, found)
