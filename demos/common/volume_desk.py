"""What happens in the app of volumes: handlers between Gradio's components and a person's session."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from adapters.medical_volume.slicing import AXIS_NAMES
from adapters.medical_volume.surface_mesh import write_glb
from zim.errors import PromptError, ZimError

from .errors import message_of
from .event_order import EventOrder
from .outbox import Outbox
from .volume_files import example_volume
from .volume_session import NO_VOLUME, VolumeSession

HINT = "Drag a box around the object, or click on it; then follow it through the volume."
SIDES = {
    "axial": "Front above, the patient's left on the left.",
    "coronal": "Top above, the patient's left on the left.",
    "sagittal": "Top above, the back on the left.",
}
"""How slices lie on the screen, as the adapter shows them."""


class VolumeDesk:
    """One person's session, files for download, and files that are shown."""

    def __init__(self, session: VolumeSession) -> None:
        self.session = session
        self.order = EventOrder()
        self.outbox = Outbox()
        self.shown = Outbox()

    def close(self) -> None:
        """Remove the files."""
        self.session.close()
        self.outbox.close()
        self.shown.close()


def close_desk(desk: Any) -> None:
    """For `gr.State`: tidy up after a person who has left."""
    if isinstance(desk, VolumeDesk):
        desk.close()


Change = tuple[Any, ...]
"""stage, desk, objects, slider, axis, first, last, time row, results row, surface, montage."""


class VolumeEvents:
    """Each event returns a `Change`; what fails is told in the line below the slice."""

    def __init__(self, new_session: Callable[[], VolumeSession]) -> None:
        self._new_session = new_session

    def example(self, name: str, desk: Any) -> Iterator[Change]:
        """An example was chosen."""
        yield self._opening(desk, lambda session: session.open(example_volume(name), copy=False))

    def open(self, path: Any, desk: Any) -> Iterator[Change]:
        """A file was uploaded."""
        yield self._opening(desk, lambda session: session.open(path)) if path else _skipped(desk)

    def open_step(self, step: Any, desk: Any) -> Iterator[Change]:
        """A time step was chosen."""
        yield self._opening(desk, lambda session: session.open_step(step))

    def prompt(self, event: gr.EventData, desk: Any) -> Iterator[Change]:
        """The stage reported something."""
        data = event._data if isinstance(event._data, dict) else {}
        own = self._desk(desk)
        own.order.wait(data)
        try:
            change = self._step(own, lambda session: session.handle(data))
        finally:
            own.order.done(data)
        yield change

    def go_to(self, slice_number: Any, desk: Any) -> Iterator[Change]:
        """The slider was moved; it is left alone, so that it does not jump under the hand."""
        yield self._step(desk, lambda session: session.go_to(slice_number))

    def look_along(self, axis: Any, desk: Any) -> Iterator[Change]:
        """Another direction of slices."""
        yield self._step(desk, lambda session: session.look_along(axis), move=True)

    def set_window(self, window: Any, desk: Any) -> Iterator[Change]:
        """Other grey levels."""
        yield self._step(desk, lambda session: session.set_window(window))

    def set_model(self, name: Any, desk: Any) -> Iterator[Change]:
        """Another model."""
        yield self._step(desk, lambda session: session.set_model(name))

    def choose(self, index: Any, desk: Any) -> Iterator[Change]:
        """Another object is to be prompted."""
        yield self._step(desk, lambda session: session.choose(index))

    def make_box_thick(self, first: Any, last: Any, desk: Any) -> Iterator[Change]:
        """The box on this slice becomes a 3-D box."""
        yield self._step(desk, lambda session: session.make_box_thick(first, last), done="The box is a 3-D box now.")

    def edit(self, kind: str, desk: Any) -> Iterator[Change]:
        """undo, redo, clear or add."""
        acts: dict[str, Callable[[VolumeSession], None]] = {
            "undo": lambda session: session.handle({"kind": "undo"}),
            "redo": lambda session: session.handle({"kind": "redo"}),
            "clear": VolumeSession.clear_current,
            "add": VolumeSession.add_object,
        }
        yield self._step(desk, acts[kind])

    def follow(self, consensus: Any, desk: Any, progress: gr.Progress = gr.Progress()) -> Change:
        """Follow the objects; the last value is the status line."""
        own = self._desk(desk)

        def tell(done: int, most: int) -> None:
            progress((done, most), desc=f"{done} slices answered, at most {most}", unit="slices")

        try:
            line = own.session.follow(consensus is True, tell)
            found = own.session.result
            shown = gr.update(visible=found is not None), gr.skip(), None if found is None else found.montage
            return (*self._step(own, lambda session: None)[:8], *shown, line)
        except Exception as error:
            return (*self._told(own, error), f"**{message_of(error)}**")

    def surface(self, desk: Any) -> Any:
        """The surface's file; to be called when its row is shown already.

        Gradio's 3-D view never appears when it gets its value while its row is being made visible, or gets it twice.
        """
        found = desk.session.result if isinstance(desk, VolumeDesk) and desk.session.is_open else None
        if found is None:
            return gr.skip()
        if not found.surfaces:
            return None
        path = desk.shown.path("surface.glb")
        write_glb(path, found.surfaces)
        return str(path)

    def stop(self, desk: Any) -> str:
        """End the job of this person."""
        if not isinstance(desk, VolumeDesk) or not desk.session.is_open:
            return NO_VOLUME
        desk.session.stop.set()
        return "Stopping after this slice; what was answered is kept, so that following again goes on from there."

    def _desk(self, desk: Any) -> VolumeDesk:
        return desk if isinstance(desk, VolumeDesk) else VolumeDesk(self._new_session())

    def _opening(self, desk: Any, act: Callable[[VolumeSession], str]) -> Change:
        own = self._desk(desk)
        before = own.session.opened_key
        try:
            line = act(own.session)
        except Exception as error:
            return self._told(own, error)
        if own.session.opened_key == before:  # it waits for a time step
            change = self._step(own, lambda session: None, done=line)
            return (*change[:7], gr.update(visible=True), *change[8:])
        change = self._step(own, lambda session: None, done=f"{line} {HINT}", move=True, show="matte")
        own.shown.close()
        return (*change[:7], gr.update(visible=own.session.steps > 1), gr.update(visible=False), None, None)

    def _step(
        self,
        desk: Any,
        act: Callable[[VolumeSession], None],
        *,
        done: str | None = None,
        move: bool = False,
        show: str | None = None,
    ) -> Change:
        """Do something and show the slice. `move`: the slider follows."""
        own = self._desk(desk)
        session = own.session
        with session.lock:
            before = session.drawing
            try:
                if not session.is_open and done is None:
                    raise PromptError(NO_VOLUME)
                act(session)
                value = session.value(self._line(session) if done is None else done, show=show)
            except Exception as error:
                if session.drawing != before:
                    session.take_back()
                return self._told(own, error)
            slider = axis = first = last = gr.skip()
            if move and session.is_open:
                most = session.view.count - 1
                slider = gr.update(minimum=0, maximum=most, value=session.slice_number)
                axis = gr.update(value=AXIS_NAMES[session.axis])
                first, last = gr.update(value=0), gr.update(value=most)
            return (value.as_dict(), own, self._radio(session), slider, axis, first, last, *[gr.skip()] * 4)

    def _told(self, own: VolumeDesk, error: Exception) -> Change:
        line = message_of(error)
        try:
            value = own.session.value(line, error=True)
        except ZimError:  # the model refuses what was drawn here: show the slice alone
            own.session.clear_current()
            value = own.session.value(line, error=True)
        return (value.as_dict(), own, self._radio(own.session), *[gr.skip()] * 8)

    def _line(self, session: VolumeSession) -> str:
        where = f"Slice {session.slice_number}. {SIDES[AXIS_NAMES[session.axis]]}"
        if session.result is not None:
            return f"{where} Followed with {session.model}."
        if session.drawing.current.count:
            return f"{where} Mark further slices, or follow the object through the volume."
        return f"{where} {HINT}"

    def _radio(self, session: VolumeSession) -> Any:
        count = len(session.drawing.objects)
        choices = [(f"Object {place + 1}", place) for place in range(count)]
        return gr.update(choices=choices, value=session.drawing.active, visible=count > 1)


def _skipped(desk: Any) -> Change:
    return (gr.skip(), desk, *[gr.skip()] * 9)
