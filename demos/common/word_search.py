"""Words in place of clicks: a text detector's boxes become objects on the desk."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from zim.errors import PromptError

from .limits import MAX_OBJECTS, text_within
from .photo_desk import NO_PHOTO, Desk, DeskEvents, DeskParts
from .photo_session import PhotoSession
from .prompts import ObjectPrompts
from .serving import Services


def word_row(events: DeskEvents, parts: DeskParts, services: Services, name: str) -> None:
    """A field for words and a button, in the surrounding blocks; nothing where there is no detector.

    Args:
        events, parts: of the app's desk.
        services: with the detector.
        name: of the app; the ids are NAME-words and NAME-find.
    """
    if services.detector is None:
        return
    with gr.Row():
        words = gr.Textbox(label="Find by words", placeholder="cat. dog.", elem_id=f"{name}-words", scale=4)
        find = gr.Button("Find", elem_id=f"{name}-find", scale=1)

    def found(text: str, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        yield from events.steps(desk, lambda own: find_words(own.session, services, text_within(text, "words")))

    for trigger in (words.submit, find.click):
        trigger(found, [words, parts.desk], parts.outputs, show_progress="hidden", api_visibility="private")


def find_words(session: PhotoSession, services: Services, words: str) -> str:
    """Every thing that the words name becomes an object; the answer says what was found.

    Raises:
        PromptError: no photo, no words, or nothing found.
    """
    photo = session.photo
    if photo is None or services.detector is None:
        raise PromptError(NO_PHOTO)
    if not words:
        raise PromptError('words: expected what to look for, such as "cat", got none')
    with services.pool.turn():
        found = services.detector.detect(photo.working, words)
    if not len(found.boxes):
        raise PromptError(f"words: found nothing for {words!r}")
    boxes = found.boxes[:MAX_OBJECTS] / photo.scale
    session.load(tuple(ObjectPrompts(box=(float(a), float(b), float(c), float(d))) for a, b, c, d in boxes))
    return f"Found {len(found.boxes)}: {', '.join(found.labels[:MAX_OBJECTS])}."
