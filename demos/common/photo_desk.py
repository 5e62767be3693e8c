"""Examples, upload, the stage and its buttons: the half that the apps on photographs have in common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from zim.errors import ZimError

from .errors import message_of
from .event_order import EventOrder
from .limits import MAX_UPLOAD_BYTES
from .outbox import Outbox
from .photo_session import PhotoSession
from .photos import EXAMPLES, example_path, open_photo
from .serving import state
from .stage import TOOLS, Tool, stage

CLICK_HINT = "Click on the object, drag a box, or paint. Arrow keys and Enter work too."
NO_PHOTO = "Choose an example or upload a photo first."


class Desk:
    """One person's session and their files for download."""

    def __init__(self, session: PhotoSession) -> None:
        self.session = session
        self.order = EventOrder()
        self.outbox = Outbox()

    def close(self) -> None:
        """Remove the files."""
        self.outbox.close()


def close_desk(desk: Any) -> None:
    """For `gr.State`: tidy up after a person who has left."""
    if isinstance(desk, Desk):
        desk.close()


class DeskParts(NamedTuple):
    """The components, for what an app adds: `desk` holds a `Desk` or None, `stage` takes `StageValue.as_dict()`."""

    stage: gr.HTML
    desk: gr.State
    objects: gr.Radio
    upload: gr.UploadButton

    @property
    def outputs(self) -> list[Any]:
        """What `DeskEvents` return."""
        return [self.stage, self.desk, self.objects]


class DeskEvents:
    """What happens on a desk. Each event returns (stage value, desk, objects)."""

    def __init__(self, new_session: Callable[[], PhotoSession], hint: str = CLICK_HINT) -> None:
        self._new_session = new_session
        self._hint = hint

    def desk(self, desk: Desk | None) -> Desk:
        """This person's desk; a new one at first."""
        return desk if isinstance(desk, Desk) else Desk(self._new_session())

    def steps(
        self, desk: Desk | None, act: Callable[[Desk], str | None], show: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Do something and show what came of it: the mattes at once, the colours of cut-outs afterwards.

        Args:
            desk: of this person.
            act: changes the session; the answer is the line below the picture. What fails is undone and told.
            show: the view to go to.
        """
        own = self.desk(desk)
        session = own.session
        told: tuple[Any, ...] | None = None
        with session.lock:  # never across a yield: Gradio goes on with a generator in another thread
            before = session.drawing
            try:
                message = act(own)
                session.view = show or session.view
                line = self._line(session, message)
                first = session.value(colours=False, message=line, busy=session.unfinished, show=show)
            except Exception as error:
                if session.drawing != before:
                    session.take_back()
                told = self._told(own, error)
        if told is not None:
            yield told
            return
        yield first.as_dict(), own, self.radio(session)
        if first.busy:
            try:
                last = session.value(message=self._line(session, message))
                # The browser may skip a value that is followed by another at once, so this one holds its pictures too.
                last = replace(last, assets={**first.assets, **last.assets}, show=first.show)
                yield last.as_dict(), own, gr.skip()
            except Exception as error:
                yield self._told(own, error)

    def _told(self, desk: Desk, error: Exception) -> tuple[Any, ...]:
        try:
            value = desk.session.value(colours=False, message=message_of(error), error=True)
        except ZimError:  # the model refuses everything: show the photo alone
            desk.session.renew()
            value = desk.session.value(colours=False, message=message_of(error), error=True)
        return value.as_dict(), desk, self.radio(desk.session)

    def _line(self, session: PhotoSession, message: str | None) -> str:
        if message is not None:
            return message
        if session.photo is None:
            return NO_PHOTO
        return "" if session.drawing.current.count else self._hint

    def radio(self, session: PhotoSession) -> Any:
        """The objects to choose from; hidden while there is one."""
        count = len(session.drawing.objects)
        choices = [(f"Object {i + 1}", i) for i in range(count)]
        return gr.update(choices=choices, value=session.drawing.active, visible=count > 1)

    def open(self, path: str | None, desk: Desk | None, name: str | None = None) -> Iterator[tuple[Any, ...]]:
        """A photo was uploaded."""

        def act(own: Desk) -> str:
            photo = open_photo(path, name)
            own.session.start(photo)
            return f"{photo.name}, {photo.hw[1]} x {photo.hw[0]}. {self._hint}"

        if path:
            yield from self._made_ready(self.steps(desk, act, show="matte"))
        else:
            yield gr.skip(), desk, gr.skip()

    def example(self, name: str, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """An example was chosen."""
        yield from self._made_ready(self.steps(desk, lambda own: self._open_example(own, name), show="matte"))

    def _made_ready(self, steps: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Show the new photo, then make it ready for the first prompt; what fails here will be told there."""
        for value, own, objects in steps:
            session = own.session
            if value["error"] or session.prepare is None or session.photo is None:
                yield value, own, objects
                continue
            yield {**value, "busy": True}, own, objects
            with suppress(ZimError):
                session.prepare(session.photo)
            with session.lock:
                last = session.value(colours=False, message=value["message"]).as_dict()
            last["assets"] = {**value["assets"], **last["assets"]}
            yield last, own, gr.skip()

    def _open_example(self, own: Desk, name: str) -> str:
        photo = open_photo(example_path(name), name)
        own.session.start(photo)
        return f"{name}, {photo.hw[1]} x {photo.hw[0]}. {self._hint}"

    def prompt(self, event: gr.EventData, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """The stage reported something."""
        data = event._data if isinstance(event._data, dict) else {}
        own = self.desk(desk)
        yield from self.steps(own, self.in_turn(own, data))

    def in_turn(self, own: Desk, data: Mapping[str, Any]) -> Callable[[Desk], None]:
        """Wait for the turn of what the stage reported; what `steps` is to do then."""
        own.order.wait(data)

        def act(own: Desk) -> None:
            try:
                own.session.handle(data)
            finally:
                own.order.done(data)

        return act

    def do(self, kind: str) -> Callable[[Desk | None], Iterator[tuple[Any, ...]]]:
        """A handler that does one of undo, redo, clear, add."""
        acts: dict[str, Callable[[PhotoSession], None]] = {
            "undo": lambda session: session.handle({"kind": "undo"}),
            "redo": lambda session: session.handle({"kind": "redo"}),
            "clear": PhotoSession.clear_current,
            "add": PhotoSession.add_object,
        }

        def handler(desk: Desk | None) -> Iterator[tuple[Any, ...]]:
            yield from self.steps(desk, lambda own: acts[kind](own.session))

        return handler

    def choose(self, index: Any, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """Another object is to be prompted."""
        yield from self.steps(desk, lambda own: own.session.choose(index))


def photo_desk(
    events: DeskEvents,
    name: str,
    *,
    tools: Sequence[Tool] = TOOLS,
    several: bool = True,
    examples: Sequence[str] = tuple(EXAMPLES),
) -> DeskParts:
    """Put the components into the surrounding blocks and connect them.

    Args:
        events: what happens.
        name: of the app; the elements' ids begin with it (NAME-stage, NAME-upload, NAME-undo, ...).
        tools: of the stage.
        several: offer several objects.
        examples: names in EXAMPLES.
    """
    desk = state(close=close_desk)
    with gr.Row(elem_classes="examples-row"):
        buttons = {
            one: gr.Button(one.capitalize(), icon=str(example_path(one)), size="sm", elem_id=f"{name}-example-{one}")
            for one in examples
        }
        upload = gr.UploadButton(
            f"Upload a photo (at most {MAX_UPLOAD_BYTES >> 20} MB)",
            file_types=["image"],
            type="filepath",
            size="sm",
            variant="primary",
            elem_id=f"{name}-upload",
        )
    shown = stage(tools, elem_id=f"{name}-stage")
    with gr.Row(elem_classes="examples-row"):
        kinds = ("undo", "redo", "clear")
        edits = {kind: gr.Button(kind.capitalize(), size="sm", elem_id=f"{name}-{kind}") for kind in kinds}
        if several:
            edits["add"] = gr.Button("Another object", size="sm", elem_id=f"{name}-add")
    objects = gr.Radio([("Object 1", 0)], value=0, label="Object to prompt", visible=False, elem_id=f"{name}-objects")
    parts = DeskParts(shown, desk, objects, upload)
    quiet: dict[str, Any] = {"outputs": parts.outputs, "show_progress": "hidden", "api_visibility": "private"}
    for one, button in buttons.items():
        button.click(_example(events, one), [desk], **quiet)
    upload.upload(events.open, [upload, desk], **quiet)
    shown.prompt(events.prompt, [desk], trigger_mode="multiple", **quiet)  # no click of a quick hand is dropped
    for kind, button in edits.items():
        button.click(events.do(kind), [desk], **quiet)
    objects.input(events.choose, [objects, desk], **quiet)
    return parts


def _example(events: DeskEvents, name: str) -> Callable[[Desk | None], Iterator[tuple[Any, ...]]]:
    def handler(desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        yield from events.example(name, desk)

    return handler
