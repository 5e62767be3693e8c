"""Click on something, get its matte: points, boxes, strokes and words, several objects, undo, downloads.

    python demos/click_to_matte.py [--port 7860] [--model zim_tiny] [--baseline sam_tiny] [--detector NAME]

As an API:

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    alpha, cutout = client.predict(handle_file("cat.png"), {"box": [0, 0, 402, 299]}, api_name="/click_to_matte")
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from demos.common.api import answer_folder, endpoint
from demos.common.downloads import download
from demos.common.outbox import safe_name
from demos.common.photo_desk import NO_PHOTO, Desk, DeskEvents, photo_desk
from demos.common.photo_session import PhotoSession, asking, embedding
from demos.common.photos import open_photo
from demos.common.prompts import prompts_from_json
from demos.common.serving import Services, main_of
from demos.common.word_search import word_row
from zim.cutout import cutout
from zim.errors import PromptError
from zim.files import write_json_atomic
from zim.image_io import save_png

TITLE = "Click to matte"
DOWNLOADS = {"alpha": "Alpha (PNG)", "cutout": "Cut-out (RGBA PNG)", "prompts": "Prompts (JSON)"}


def build(services: Services) -> None:
    """The app, in the surrounding blocks."""
    gr.Markdown(f"# {TITLE}\nClick, drag a box or paint: every answer is a soft matte, hair and fur included.")
    prepare = embedding(services.pool, services.model)
    events = DeskEvents(lambda: PhotoSession(asking(services.pool), services.layers, prepare=prepare))
    parts = photo_desk(events, "click")
    word_row(events, parts, services, "click")
    with gr.Row(elem_classes="examples-row"):
        for kind, label in DOWNLOADS.items():
            download(label, _maker(services, kind), [parts.desk], elem_id=f"click-{kind}")
    _api(services)


def _maker(services: Services, kind: str) -> Callable[[Desk | None], Path]:
    def make(desk: Desk | None) -> Path:
        if desk is None or desk.session.photo is None:
            raise PromptError(NO_PHOTO)
        session, photo = desk.session, desk.session.photo
        with session.lock:
            path = desk.outbox.path(safe_name(f"{photo.name}_{kind}.{'json' if kind == 'prompts' else 'png'}"))
            if kind == "prompts":
                write_json_atomic(path, session.prompts_file())
                return path
            if kind == "alpha":
                save_png(path, session.united_alpha(services.model))
            else:
                save_png(path, cutout(photo.full(), session.united_alpha(services.model)))
        return path

    return make


def _api(services: Services) -> None:
    def matte(photo: str | None, prompts: Any) -> tuple[str, str]:
        """Matte one photo. `prompts`: {"points": [[x, y, 1 or 0]], "box": [x1, y1, x2, y2], "strokes": [{"label": 1,
        "points": [[x, y]]}]}, or {"objects": [...]} of these; pixels of the photo. Returns the alpha (grey PNG) and the
        cut-out (RGBA PNG)."""
        session = PhotoSession(asking(services.pool), services.layers)
        opened = open_photo(photo)
        session.start(opened)
        session.load(prompts_from_json(prompts, opened.hw))
        picture = opened.full()  # first, for decoding needs as much memory again
        alpha = session.united_alpha(services.model)
        folder = answer_folder()
        files = folder.beside(f"{opened.name}_alpha.png"), folder.beside(f"{opened.name}_cutout.png")
        save_png(files[0], alpha)
        rgba = cutout(picture, alpha)
        del picture, alpha  # together they are heavier than the cut-out
        save_png(files[1], rgba)
        return str(files[0]), str(files[1])

    photo = gr.File(label="photo", type="filepath", visible=False)
    prompts = gr.JSON(label="prompts", visible=False)
    answers = [gr.File(label=label, visible=False) for label in ("alpha", "cutout")]
    endpoint("click_to_matte", matte, [photo, prompts], answers)


def main() -> int:
    """Serve the app until Ctrl-C."""
    return main_of(TITLE, build, __doc__)


if __name__ == "__main__":
    sys.exit(main())
