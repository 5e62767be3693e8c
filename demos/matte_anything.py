"""Matte anything: prompts, then a trimap, then a refiner; alpha, cut-out and composite to download.

    python demos/matte_anything.py [--port 7860] [--model zim_tiny] [--baseline sam_tiny] [--detector NAME]
        [--vitmatte hustvl/vitmatte-small-composition-1k]

As an API (mode: zim, zim+pymatting, sam+pymatting; with --vitmatte also zim+vitmatte, sam+vitmatte):

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    alpha, cutout, trimap = client.predict(
        handle_file("cat.png"), {"box": [0, 0, 402, 299]}, "zim+pymatting", api_name="/matte_anything"
    )
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from adapters.matte_anything import TRANSPARENT, Refiner, load_vitmatte
from demos.common.api import answer_folder, endpoint
from demos.common.backdrops import backdrop_controls
from demos.common.downloads import download
from demos.common.limits import short, text_within
from demos.common.long_jobs import long_steps
from demos.common.matte_job import (
    SIZES,
    MatteResult,
    MatteSettings,
    StoppedError,
    check_mode,
    offered_modes,
    run_matte,
    trimap_rule,
    write_composite,
)
from demos.common.matte_session import COMPOSITE, MatteSession, session_of
from demos.common.photo_desk import NO_PHOTO, Desk, DeskEvents, photo_desk
from demos.common.photos import open_photo
from demos.common.prompts import prompts_from_json
from demos.common.serving import Services, blocks, launch, parser_of, services_of
from demos.common.trimap_sliders import trimap_sliders
from demos.common.word_search import word_row
from zim.errors import ConfigError, PromptError, ZimError

TITLE = "Matte anything"
INTRO = """Click, drag a box or paint, then press **Matte**: the model's answer becomes a trimap (object, background,
unknown), and a refiner answers for the unknown pixels. `zim` keeps the model's own soft answer, `pymatting` is
closed-form matting. The names before the plus say how the trimap is made: from the matte's own doubt (`zim`) or with
kernels around a mask (`sam`, as Matte-Anything does). Small models are shipped: where one is in doubt inside a large
body, closed form copies fur and patterns into the alpha. Then `zim` alone, or more clicks, look better."""
DOWNLOADS = {
    "alpha": "Alpha (PNG)",
    "cutout": "Cut-out (RGBA PNG)",
    "trimap": "Trimap (PNG)",
    "composite": "Composite (PNG)",
}
VITMATTE_VARIABLE = "ZIM_VITMATTE"
Step = tuple[Any, ...]


def build(services: Services, vitmatte: Refiner | None = None) -> None:
    """The app, in the surrounding blocks; `vitmatte` makes its modes available."""
    gr.Markdown(f"# {TITLE}\n{INTRO}")
    events = DeskEvents(lambda: MatteSession(services), "Click on the object, drag a box, or paint; then press Matte.")
    parts = photo_desk(events, "matting")
    word_row(events, parts, services, "matting")
    with gr.Row():
        wide: dict[str, Any] = {"min_width": 260}
        mode = gr.Radio(offered_modes(vitmatte), value="zim", label="Mode", elem_id="matting-mode", **wide)
        sizes = list(SIZES)
        size = gr.Radio(sizes, value=sizes[0], label="Refine on a copy of", elem_id="matting-size", **wide)
        if services.baseline is not None:
            model = gr.Radio(
                list(services.layers), value=services.model, label="Model", elem_id="matting-model", **wide
            )
            again = _model_choice(events)
            quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
            model.input(again, [model, parts.desk], parts.outputs, **quiet)
    if vitmatte is None:
        start = "`--vitmatte hustvl/vitmatte-small-composition-1k` (downloads it) or `--vitmatte FOLDER`"
        gr.Markdown(f"For ViTMatte's modes, start the app with {start}.", elem_id="matting-hint")
    settings = [mode, size, *trimap_sliders(mode, "matting")]
    if services.detector is not None:
        label = "See-through things: words for the detector; nothing inside them is certain (empty: off)"
        settings.append(gr.Textbox(label=label, placeholder=TRANSPARENT, elem_id="matting-transparent"))
    with gr.Row(elem_classes="examples-row"):
        go = gr.Button("Matte", variant="primary", elem_id="matting-go")
        stop = gr.Button("Stop", elem_id="matting-stop")
    status = gr.Textbox("none yet", label="Last matte", interactive=False, lines=1, elem_id="matting-status")
    go.click(
        _matter(events, services, vitmatte),
        [parts.desk, *settings],
        [*parts.outputs, status],
        show_progress="full",
        show_progress_on=[status],
        api_visibility="private",
    )
    stop.click(_stop, [parts.desk], None, show_progress="hidden", api_visibility="private")
    backdrop_controls(events, parts, "matting")
    with gr.Row(elem_classes="examples-row"):
        for kind, label in DOWNLOADS.items():
            download(label, _maker(kind), [parts.desk], elem_id=f"matting-{kind}")
    _api(services, vitmatte)


def _model_choice(events: DeskEvents) -> Callable[..., Iterator[Step]]:
    def again(name: str, desk: Desk | None) -> Iterator[Step]:
        def act(own: Desk) -> None:
            layers = own.session.layers
            if name not in layers:
                raise ConfigError(f"model: expected one of {', '.join(layers)}, got {short(name)}")
            own.session.ask_again((name, *(one for one in layers if one != name)))

        yield from events.steps(desk, act)

    return again


def _matter(events: DeskEvents, services: Services, vitmatte: Refiner | None) -> Callable[..., Iterator[Step]]:
    def matte(
        desk: Desk | None,
        mode: str,
        size: str,
        low: float,
        high: float,
        band: float,
        erode: float,
        dilate: float,
        times: float,
        transparent: str = "",
        progress: gr.Progress = gr.Progress(),
    ) -> Iterator[Step]:
        session = session_of(own := events.desk(desk))
        photo = session.photo

        def report(share: float, text: str) -> None:
            if session.stop.is_set():
                raise StoppedError("Stopped; nothing has changed.")
            progress(share, desc=text)

        def work(_: Desk) -> MatteResult:
            if photo is None:
                raise PromptError(NO_PHOTO)
            session.stop.clear()
            chosen = check_mode(mode, vitmatte)
            settings = MatteSettings(
                model=session.layers[0],
                mode=chosen,
                trimap=trimap_rule(chosen, (low, high, band), (erode, dilate, times)),
                transparent=text_within(transparent, "see-through things") or None,
                long_side=SIZES[text_within(size, "size")],
            )
            return run_matte(services, photo, session.drawing.objects, settings, vitmatte=vitmatte, report=report)

        def take(now: Desk, result: MatteResult) -> str:
            if session.photo is not photo:
                result.outbox.close()
                raise PromptError("matte: the photo was changed meanwhile; press Matte again")
            now.outbox.close()
            now.outbox, session.result = result.outbox, result
            return result.line

        view = "" if session.shows_result else f"picture:{COMPOSITE}"  # where there are views, keep the chosen one
        for step in long_steps(events, own, work, take, waiting="Matting; Stop ends it.", show=view):
            yield (*step, session.result.line if session.result else gr.skip())

    return matte


def _stop(desk: Desk | None) -> None:
    if isinstance(desk, Desk):
        session_of(desk).stop.set()


def _maker(kind: str) -> Callable[[Desk | None], Path]:
    def make(desk: Desk | None) -> Path:
        if not isinstance(desk, Desk) or desk.session.photo is None:
            raise PromptError(NO_PHOTO)
        session, photo = session_of(desk), desk.session.photo
        with session.lock:
            result, backdrop = session.current_result(), session.backdrop
        if kind != "composite":
            return result.files[kind]
        return write_composite(result, photo, backdrop)

    return make


def _api(services: Services, vitmatte: Refiner | None) -> None:
    def matte(photo: str | None, prompts: Any, mode: Any, long_side: Any) -> tuple[str, str, str]:
        """Matte the objects of one photo, all in one matte. `prompts`: {"points": [[x, y, 1 or 0]], "box": [x1, y1, x2,
        y2], "strokes": [{"label": 1, "points": [[x, y]]}]}, or {"objects": [...]} of these; pixels of the photo.
        `mode`: zim (the default), zim+pymatting or sam+pymatting. `long_side`: at which refiners work (800; 0 is the
        photo's own size). Returns alpha (grey PNG), cut-out (RGBA PNG) and trimap (0, 128, 255), in the photo's size.
        """
        chosen = check_mode("zim" if mode is None else mode, vitmatte)
        if long_side not in SIZES.values():
            raise ConfigError(f"long_side: expected 800, 1600 or 0 for the photo's own size, got {short(long_side)}")
        opened = open_photo(photo)
        objects = prompts_from_json(prompts, opened.hw)
        settings = MatteSettings(model=services.model, mode=chosen, long_side=int(long_side))
        result = run_matte(services, opened, objects, settings, vitmatte=vitmatte, outbox=answer_folder())
        return str(result.files["alpha"]), str(result.files["cutout"]), str(result.files["trimap"])

    photo = gr.File(label="photo", type="filepath", visible=False)
    prompts = gr.JSON(label="prompts", visible=False)
    mode = gr.Textbox("zim", label="mode", visible=False)
    long_side = gr.Number(800, label="long_side", visible=False)
    answers = [gr.File(label=label, visible=False) for label in ("alpha", "cutout", "trimap")]
    endpoint("matte_anything", matte, [photo, prompts, mode, long_side], answers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the app until Ctrl-C. Returns 0, or 1 after an error of one line."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--vitmatte",
        default=os.environ.get(VITMATTE_VARIABLE),
        metavar="NAME",
        help=f"hub name or folder of a ViTMatte, for the modes that end in it (default: {VITMATTE_VARIABLE})",
    )
    options = parser.parse_args(arguments)
    try:
        vitmatte = load_vitmatte(options.vitmatte) if options.vitmatte else None
        app = blocks(TITLE, partial(build, vitmatte=vitmatte), services_of(options))
        launch(app, host=options.host, port=options.port)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
