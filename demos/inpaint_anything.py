"""Remove an object, paint something in its place, or give it another background.

    python demos/inpaint_anything.py [--lama big-lama.pt] [--diffusion sd15] [--port 7860] [--detector NAME]

As an API:

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    result, mask = client.predict(
        handle_file("cat.png"), {"box": [0, 0, 402, 299]}, "replace", {"background": "#0050c8"}, None,
        api_name="/inpaint_anything",
    )
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from adapters.inpaint_anything.engines import load_engine
from adapters.inpaint_anything.engines.diffusion import MEMORY, DiffusionSettings
from adapters.inpaint_anything.engines.lama import BIG_LAMA
from adapters.inpaint_anything.inpainting import Inpainted
from adapters.inpaint_anything.results import Task
from demos.common.api import answer_folder, endpoint
from demos.common.downloads import download
from demos.common.long_jobs import long_steps
from demos.common.painting import (
    OPTIONS,
    RESULT,
    Engines,
    PaintSession,
    check_size,
    connected,
    paint,
    pixels_from,
    wish_from,
    write_painted,
)
from demos.common.painting_form import (
    COLOUR,
    PICTURE,
    WORDS,
    fill_tab,
    remove_tab,
    replace_tab,
    settings_controls,
)
from demos.common.photo_desk import NO_PHOTO, Desk, DeskEvents, DeskParts, photo_desk
from demos.common.photo_session import asking
from demos.common.photos import Photo, open_photo
from demos.common.prompts import prompts_from_json
from demos.common.serving import Services, blocks, launch, parser_of, services_of
from demos.common.word_search import word_row
from zim.compositing import cover
from zim.errors import PromptError, ZimError

TITLE = "Inpaint anything"
HINT = "Click on the object, drag a box, or paint; then remove it, fill it, or replace what is behind it."
DOING: dict[Task, str] = {"remove": "Removing...", "fill": "Filling...", "replace": "Replacing..."}
DONE: dict[Task, str] = {"remove": "Removed.", "fill": "Filled.", "replace": "The background is replaced."}
HONEST = (
    "The small models that come with this package select best by a box. Look at the matte before you paint: what it "
    "misses stays in the photo, and holes in it show the new background."
)


def build(services: Services, engines: Engines | None = None) -> None:
    """The app, in the surrounding blocks. `engines` paint, by name; OpenCV's alone when left out."""
    painters = engines or {"cv2": load_engine("cv2")}
    gr.Markdown(
        f"# {TITLE}\nPoint at something, then remove it, paint something else, or change what is behind it.\n\n{HONEST}"
    )
    events = DeskEvents(lambda: PaintSession(connected(asking(services.pool)), (services.model,)), HINT)
    parts = photo_desk(events, "inpaint")
    word_row(events, parts, services, "inpaint")
    with gr.Accordion("Settings", open=False, elem_id="inpaint-settings"):
        settings = settings_controls()
    with gr.Tabs():
        buttons = {
            "remove": remove_tab(painters),
            "fill": fill_tab(painters),
            "replace": replace_tab(painters),
        }
    slider = gr.ImageSlider(
        label="Photo | result", visible=False, interactive=False, buttons=["fullscreen"], elem_id="inpaint-slider"
    )
    with gr.Row(elem_classes="examples-row"):
        download("Result (PNG)", partial(_file, 0), [parts.desk], elem_id="inpaint-result")
        download("Mask (PNG)", partial(_file, 1), [parts.desk], elem_id="inpaint-mask")
    _connect(services, painters, events, parts, settings, buttons, slider)
    _api(services, painters)


def _connect(
    services: Services,
    engines: Engines,
    events: DeskEvents,
    parts: DeskParts,
    settings: Mapping[str, Any],
    buttons: Mapping[str, tuple[gr.Button, Mapping[str, Any]] | None],
    slider: gr.ImageSlider,
) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for task, made in buttons.items():
        if made is None:
            continue
        button, own = made
        inputs = {**settings, **own}
        runner = _runner(services, engines, events, task, tuple(inputs))
        done = button.click(runner, [parts.desk, *inputs.values()], parts.outputs, **quiet)
        done.then(_slider, [parts.desk], [slider], **quiet)
    parts.stage.change(_slider_gone, [parts.desk], [slider], **quiet)


def _runner(
    services: Services, engines: Engines, events: DeskEvents, task: Any, names: Sequence[str]
) -> Callable[..., Iterator[Any]]:
    """A handler whose values after the desk have these names."""

    def run(desk: Desk | None, *values: Any) -> Iterator[Any]:
        given = dict(zip(names, values, strict=True))
        options = {name: value for name, value in given.items() if name in OPTIONS}
        kind, picture = given.get("kind"), None
        if kind == PICTURE:
            picture = given["picture"]
        if task == "replace" and kind != COLOUR:
            options.pop("background")
        if task == "replace" and kind != WORDS:
            options.pop("text")

        def work(own: Desk) -> tuple[Photo, Inpainted]:
            session = own.session
            with session.lock:
                photo = session.photo
                if photo is None:
                    raise PromptError(NO_PHOTO)
                if kind == PICTURE and not picture:
                    raise PromptError("background: expected a picture to be chosen first, got none")
                check_size(photo)
                alpha = session.united_alpha(services.model)
            pixels = {name: pixels_from(options[name], name) for name in ("dilation", "feather")}
            return photo, paint(photo, alpha, wish_from(task, options | pixels, picture), engines, services.pool)

        def take(own: Desk, made: tuple[Photo, Inpainted]) -> str:
            return _take(own, task, *made)

        yield from long_steps(events, desk, work, take, waiting=DOING[task], show=f"picture:{RESULT}")

    return run


def _take(own: Desk, task: Task, photo: Photo, done: Inpainted) -> str:
    session = own.session
    if not isinstance(session, PaintSession) or session.photo is not photo:
        raise PromptError("Another photo was chosen meanwhile.")
    own.outbox.close()
    session.files = write_painted(own.outbox, photo, task, done)
    small = cover(done.image, (photo.working.shape[0], photo.working.shape[1]))
    session.views = photo.working, small
    session.put_picture(RESULT, small)
    return f'{DONE[task]} View "{RESULT}" or "photo" above, or compare them below.'


def _slider(desk: Desk | None) -> Any:
    views = desk.session.views if isinstance(desk, Desk) and isinstance(desk.session, PaintSession) else None
    return gr.update(value=views, visible=views is not None)


def _slider_gone(desk: Desk | None) -> Any:
    """The comparison of another photo goes away."""
    there = isinstance(desk, Desk) and isinstance(desk.session, PaintSession) and desk.session.views is not None
    return gr.skip() if there else gr.update(value=None, visible=False)


def _file(which: int, desk: Desk | None) -> Path:
    session = desk.session if isinstance(desk, Desk) else None
    if not isinstance(session, PaintSession) or session.files is None:
        raise PromptError("There is no result yet: remove, fill or replace something first.")
    return session.files[which]


def _api(services: Services, engines: Engines) -> None:
    def inpaint_anything(
        photo: str | None, prompts: Any, task: Any, options: Any, background: str | None
    ) -> tuple[str, str]:
        """Remove, fill or replace. `prompts`: as for click_to_matte. `task`: remove, fill or replace. `options`, each
        may be left out: {"engine": NAME, "text": what to paint, "background": a colour, "threshold": 0.1, "dilation":
        px, "feather": px, "shadows": false, "context": 0.5, "seed": 0, "refine": true}. `background`: a picture, or
        null. Returns the finished photo and the mask (PNG)."""
        opened = open_photo(photo)
        check_size(opened)
        wish = wish_from(task, options, background)
        session = PaintSession(connected(asking(services.pool)), (services.model,))
        session.start(opened)
        session.load(prompts_from_json(prompts, opened.hw))
        done = paint(opened, session.united_alpha(services.model), wish, engines, services.pool)
        result, mask = write_painted(answer_folder(), opened, wish.task, done)
        return str(result), str(mask)

    given = [
        gr.File(label="photo", type="filepath", visible=False),
        gr.JSON(label="prompts", visible=False),
        gr.Textbox("remove", label="task", visible=False),
        gr.JSON(label="options", visible=False),
        gr.File(label="background", type="filepath", visible=False),
    ]
    answers = [gr.File(label=label, visible=False) for label in ("result", "mask")]
    endpoint("inpaint_anything", inpaint_anything, given, answers)


def engines_of(options: argparse.Namespace) -> Engines:
    """Load what the options name; LaMa comes first where it is there.

    Raises:
        ZimError: weights are missing, or others than expected.
    """
    engines = {}
    if options.lama:
        engines["lama"] = load_engine("lama", lama=options.lama, lama_sha256=options.lama_sha256)
    engines["cv2"] = load_engine("cv2")
    for name in options.diffusion or []:
        engine = load_engine(name, settings=DiffusionSettings(steps=options.steps), memory=options.memory)
        engines[engine.name] = engine
    return engines


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the app until Ctrl-C. Returns 0, or 1 after an error of one line."""
    parser = parser_of(__doc__)
    parser.add_argument("--lama", help="big-lama.pt or its folder: removes with textures")
    parser.add_argument("--lama_sha256", default=BIG_LAMA.sha256, help="of a LaMa file of your own")
    parser.add_argument(
        "--diffusion",
        nargs="+",
        metavar="NAME",
        help="sd15, sdxl, flux-fill or the folder of a pipeline: fills and replaces by words",
    )
    parser.add_argument("--steps", type=int, help="of diffusion models (default: the model's own)")
    parser.add_argument("--memory", choices=MEMORY, default="none", help="how diffusion models save memory")
    options = parser.parse_args(arguments)
    try:
        engines = engines_of(options)
        app = blocks(TITLE, lambda services: build(services, engines), services_of(options))
        launch(app, host=options.host, port=options.port)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
