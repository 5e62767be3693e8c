"""What a cut-out stands before: checkerboard, a colour or an uploaded picture."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from zim.errors import PromptError

from .limits import short, text_within
from .matte_session import COMPOSITE, session_of
from .photo_desk import NO_PHOTO, Desk, DeskEvents, DeskParts
from .photos import open_photo

BACKDROPS = ("Checkerboard", "Colour", "Picture")
Step = tuple[Any, ...]


def backdrop_controls(events: DeskEvents, parts: DeskParts, name: str) -> None:
    """Checkerboard, a colour or an uploaded picture, in the surrounding blocks; for desks with a `MatteSession`.

    Args:
        events, parts: of the app's desk.
        name: of the app; ids begin with it.
    """
    with gr.Row():
        kind = gr.Radio(
            list(BACKDROPS), value=BACKDROPS[0], label="Cut-out before", elem_id=f"{name}-backdrop", scale=2
        )
        colour = gr.ColorPicker("#20a060", label="Colour", elem_id=f"{name}-colour", scale=1, min_width=120)
        picture = gr.UploadButton(
            "Background picture", file_types=["image"], type="filepath", size="sm", elem_id=f"{name}-picture", scale=1
        )
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def change(kind: str, colour: str, path: str | None, desk: Desk | None) -> Iterator[Step]:
        def act(own: Desk) -> str:
            session = session_of(own)
            if kind == "Checkerboard":
                session.place_before("checkerboard")
            elif kind == "Colour":
                session.place_before(colour_of(colour))
            elif not path:
                raise PromptError("background: expected a picture, got none; upload one first")
            else:
                session.place_before(open_photo(path))
            return f"The cut-out stands before: {str(kind).lower()}." if session.photo else NO_PHOTO

        own = events.desk(desk)
        shown = own.session.photo is not None and session_of(own).result is not None
        yield from events.steps(own, act, show=f"picture:{COMPOSITE}" if shown else None)

    inputs = [kind, colour, picture, parts.desk]
    kind.input(change, inputs, parts.outputs, **quiet)

    def set_to(wanted: str) -> Callable[..., Iterator[Step]]:
        def handler(colour: str, path: str | None, desk: Desk | None) -> Iterator[Step]:
            for step in change(wanted, colour, path, desk):
                yield (*step, wanted)

        return handler

    colour.input(set_to("Colour"), inputs[1:], [*parts.outputs, kind], trigger_mode="always_last", **quiet)
    picture.upload(set_to("Picture"), inputs[1:], [*parts.outputs, kind], **quiet)


def colour_of(text: Any) -> tuple[int, int, int]:
    """A colour as the browser's picker writes it: "#20a060" or "rgba(32, 160, 96, 1)".

    Raises:
        PromptError: something else.
    """
    written = text_within(text, "colour", 60)
    if match := re.fullmatch(r"#([0-9a-fA-F]{6})", written):
        red, green, blue = bytes.fromhex(match[1])
        return red, green, blue
    numbers = re.fullmatch(r"rgba?\(\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*(,\s*[\d.]+\s*)?\)", written)
    try:
        red, green, blue = (min(255, round(float(one))) for one in numbers.groups()[:3]) if numbers else (-1, -1, -1)
    except ValueError:
        red = green = blue = -1
    if red < 0:
        raise PromptError(f"colour: expected one such as #20a060, got {short(text)}")
    return red, green, blue
