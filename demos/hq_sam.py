"""HQ heads: a model and the same model with an HQ-SAM head, side by side, down to the pixels where they differ.

    python demos/hq_sam.py [--port 7860] [--pair BASE,HQ]

`--pair` adds a pair of your own, anything that zim.load_predictor answers (a base may be left as zim_tiny). As an API:

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    alpha, mask, qualities = client.predict(
        handle_file("cat.png"), {"box": [0, 0, 402, 299]}, "hq_zim_tiny", api_name="/hq_sam"
    )
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from demos.common.api import answer_folder, endpoint
from demos.common.downloads import download
from demos.common.errors import message_of
from demos.common.hq_session import PAIRS, HqOptions, HqSession, Pair, ask_pair, united
from demos.common.limits import short
from demos.common.outbox import safe_name
from demos.common.photo_desk import NO_PHOTO, Desk, DeskEvents, photo_desk
from demos.common.photos import open_photo
from demos.common.prompts import prompts_from_json
from demos.common.serving import Services, blocks, launch, parser_of, services_of
from zim.cutout import mask_from_alpha
from zim.errors import ConfigError, PromptError, ZimError
from zim.image_io import save_png

TITLE = "HQ-SAM heads"
INTRO = """A head beside a frozen model is to sharpen its outlines. Prompt an object, then look at **View → base | HQ**,
at **difference**, and at the close-up below. Do not expect much: the shipped heads are small and saw few images. On
photographs SAM's head betters the outlines a little, ZIM's hardly; on hair neither changes much, and meshes of nets may
even be filled. ZIM without a head is ahead of SAM with one. No head finds an object that its base misses."""
WHICH_LABELS = {"one": "One mask", "best": "Best of three", "1": "1 of 3", "2": "2 of 3", "3": "3 of 3"}
PANELS = ("photo", "base", "hq", "difference")
NOTHING_YET = "Prompt an object to see where the two differ most."
Step = tuple[Any, ...]


def build(services: Services, pairs: Sequence[Pair] = PAIRS) -> None:
    """The app, in the surrounding blocks, for these pairs."""
    gr.Markdown(f"# {TITLE}\n{INTRO}")
    events = DeskEvents(lambda: HqSession(services.pool, pairs[0]))
    parts = photo_desk(events, "hq")
    named = {" | ".join(pair): pair for pair in pairs}
    with gr.Row():
        pair = gr.Radio(list(named), value=next(iter(named)), label="Base | HQ", elem_id="hq-pair", min_width=240)
        shown = gr.Radio(["Soft alpha", "Mask"], value="Soft alpha", label="Show as", elem_id="hq-shown", min_width=240)
    token = gr.Checkbox(False, label="HQ token alone (not added to the base)", elem_id="hq-token")
    choices = [(label, name) for name, label in WHICH_LABELS.items()]
    which = gr.Radio(choices, value="one", label="Answer (three where a prompt is ambiguous)", elem_id="hq-which")
    gr.Markdown("### Close-up where base and HQ differ most")
    line = gr.Markdown(NOTHING_YET, elem_id="hq-line")
    with gr.Row(visible=False, elem_id="hq-close-up") as row:
        look: dict[str, Any] = {"format": "png", "interactive": False, "min_width": 150, "buttons": ["fullscreen"]}
        panels = [gr.Image(label=name, elem_id=f"hq-panel-{name}", **look) for name in PANELS]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    change = _changer(events, named)
    for control in (pair, shown, token, which):
        control.input(change, [parts.desk, pair, shown, token, which], parts.outputs, **quiet)
    parts.stage.change(_follow, [parts.desk], [which, line, row, *panels], trigger_mode="always_last", **quiet)
    with gr.Row(elem_classes="examples-row"):
        for who, title in (("hq", "HQ"), ("base", "Base")):
            for kind in ("alpha", "mask"):
                label = f"{title} {kind} (PNG)"
                download(label, _maker(who, kind), [parts.desk], elem_id=f"hq-{who}-{kind}")
    _api(services, pairs)


def _changer(events: DeskEvents, named: dict[str, Pair]) -> Callable[..., Iterator[Step]]:
    def change(desk: Desk | None, pair: str, shown: str, token: bool, which: str) -> Iterator[Step]:
        def act(own: Desk) -> None:
            if not isinstance(pair, str) or pair not in named:
                raise ConfigError(f"pair: expected one of {', '.join(named)}, got {short(pair)}")
            session_of(own).configure(pair=named[pair], token_only=token, which=which, mask=shown == "Mask")

        yield from events.steps(desk, act)

    return change


def session_of(desk: Desk) -> HqSession:
    """The session of a desk of this app."""
    if not isinstance(desk.session, HqSession):
        raise TypeError(f"expected an HqSession, got {type(desk.session).__name__}")
    return desk.session


def _follow(desk: Desk | None) -> tuple[Any, ...]:
    """What stands beside the stage, after each of its answers: qualities, and the close-up."""
    hidden = [gr.update(visible=False), *(gr.skip() for _ in PANELS)]
    labels = dict(WHICH_LABELS)
    if not isinstance(desk, Desk):
        return gr.skip(), NOTHING_YET, *hidden
    session = session_of(desk)
    try:
        with session.lock:
            seen = session.compare()
            qualities = session.qualities(session.drawing.current)
            base, hq = session.pair
    except Exception as error:
        return gr.skip(), message_of(error), *hidden
    if len(qualities) == 3:
        labels |= {str(i): f"{i} of 3, quality {quality:.2f}" for i, quality in enumerate(qualities, 1)}
    which = gr.update(choices=[(label, name) for name, label in labels.items()])
    if seen is None:
        return which, NOTHING_YET, *hidden
    parts, apart = seen
    left, top, width, _ = parts.window
    line = (
        f"{width} x {width} pixels at ({left}, {top}) of the picture as shown. Over the whole picture the two answers "
        f"are {100 * apart.mean:.2f} % apart on average, and {100 * apart.changed:.2f} % of its pixels change sides at "
        "0.5."
    )
    names = ("photo", base, hq, "difference")
    shown = (parts.photo, parts.base, parts.hq, parts.difference)
    pictures = [gr.update(value=part, label=name) for part, name in zip(shown, names, strict=True)]
    return which, line, gr.update(visible=True), *pictures


def _maker(who: str, kind: str) -> Callable[[Desk | None], Path]:
    def make(desk: Desk | None) -> Path:
        if not isinstance(desk, Desk) or desk.session.photo is None:
            raise PromptError(NO_PHOTO)
        session, photo = session_of(desk), desk.session.photo
        with session.lock:
            base, hq = session.pair
            name = hq if who == "hq" else base
            alpha = session.soft_alpha(name)
            path = desk.outbox.path(safe_name(f"{photo.name}_{name}_{kind}.png"))
            save_png(path, alpha if kind == "alpha" else mask_from_alpha(alpha))
        return path

    return make


def _api(services: Services, pairs: Sequence[Pair]) -> None:
    names = sorted({name for pair in pairs for name in pair})

    def answer(
        photo: str | None, prompts: Any, model: Any, token: Any, which: Any
    ) -> tuple[str, str, list[list[float]]]:
        """Ask one model, with or without an HQ head. `prompts`: {"points": [[x, y, 1 or 0]], "box": [x1, y1, x2, y2],
        "strokes": [{"label": 1, "points": [[x, y]]}]}, or {"objects": [...]} of these; pixels of the photo. `model`:
        hq_zim_tiny (the default), zim_tiny, hq_sam_tiny or sam_tiny. `hq_token_only`: the head's answer by itself.
        `which`: one, best (of three), 1, 2 or 3. Returns alpha and mask (grey PNGs of all objects together, in the
        photo's size) and the model's own qualities, a list for each object.
        """
        if not isinstance(model, str) or model not in names:
            raise ConfigError(f"model: expected one of {', '.join(names)}, got {short(model)}")
        options = HqOptions(token_only=token, which=which)
        opened = open_photo(photo)
        objects = prompts_from_json(prompts, opened.hw)
        qualities = [list(ask_pair(services.pool, model, opened, one, options).qualities) for one in objects]
        alpha = united(services.pool, model, opened, objects, options)
        folder = answer_folder()
        files = [folder.beside(f"{opened.name}_{kind}.png") for kind in ("alpha", "mask")]
        save_png(files[0], alpha)
        save_png(files[1], mask_from_alpha(alpha))
        return str(files[0]), str(files[1]), qualities

    inputs = [
        gr.File(label="photo", type="filepath", visible=False),
        gr.JSON(label="prompts", visible=False),
        gr.Textbox("hq_zim_tiny", label="model", visible=False),
        gr.Checkbox(False, label="hq_token_only", visible=False),
        gr.Textbox("one", label="which", visible=False),
    ]
    answers = [*(gr.File(label=name, visible=False) for name in ("alpha", "mask")), gr.JSON(visible=False)]
    endpoint("hq_sam", answer, inputs, answers)


def _pair(text: str) -> Pair:
    base, comma, hq = text.partition(",")
    if not (base.strip() and comma and hq.strip()):
        raise ConfigError(f"--pair: expected BASE,HQ, got {text!r}")
    return base.strip(), hq.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the app until Ctrl-C. Returns 0, or 1 after an error of one line."""
    parser = parser_of(__doc__)
    parser.add_argument("--pair", action="append", default=[], metavar="BASE,HQ", help="a further pair; repeatable")
    options = parser.parse_args(arguments)
    try:
        services = services_of(options)
        own = [_pair(text) for text in options.pair]
        services.pool.warm(PAIRS[0][1], *(name for pair in own for name in pair))
        app = blocks(TITLE, partial(build, pairs=(*PAIRS, *own)), services)
        launch(app, host=options.host, port=options.port)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
