"""Two models side by side on one photo: mattes, times and, where the true alpha is known, errors.

    python demos/compare.py [--predictors zim_tiny,sam_tiny,hq_zim_tiny,grabcut] [--port 7860]

As an API (the last argument is None where no true alpha is known):

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    first, second, table = client.predict(
        handle_file("cat.png"), {"box": [0, 0, 402, 299]}, "zim_tiny", "sam_tiny", None, api_name="/compare"
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
import numpy as np
from numpy.typing import NDArray

from adapters.error_picture import error_picture
from adapters.fine_objects import KINDS
from demos.common.api import answer_folder, endpoint
from demos.common.comparing import (
    Result,
    TimedModels,
    chosen_pair,
    compared,
    drawn_object,
    open_truth,
    report,
    table_html,
)
from demos.common.downloads import download
from demos.common.errors import LimitError, message_of
from demos.common.limits import MAX_UPLOAD_BYTES
from demos.common.outbox import safe_name
from demos.common.photo_desk import NO_PHOTO, Desk, DeskEvents, DeskParts, photo_desk
from demos.common.photo_session import PhotoSession
from demos.common.photos import open_photo
from demos.common.prompts import prompts_from_json
from demos.common.serving import Services, blocks, launch, parser_of, services_of
from zim.errors import PromptError, ZimError
from zim.files import write_json_atomic
from zim.image_io import save_png

TITLE = "Compare two models"
PREDICTORS = ("zim_tiny", "sam_tiny", "hq_zim_tiny", "grabcut")
SHOWN_SIDE = 720
TABLE_STYLE = """<style>
.compare-table { overflow-x: auto; }
.compare-table table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.compare-table th, .compare-table td { padding: 4px 8px; text-align: right; white-space: nowrap; }
.compare-table th[scope=row] { text-align: left; font-weight: 500; }
</style>"""

Truth = NDArray[np.float32]


class CompareDesk(Desk):
    """A desk that also knows the photo's true alpha, and how long the models took."""

    def __init__(self, session: PhotoSession, ask: TimedModels) -> None:
        super().__init__(session)
        self.ask = ask
        self.shown: object = None
        self._truth: tuple[str, Truth] | None = None

    @property
    def truth(self) -> Truth | None:
        """Of the photo that is open now."""
        photo = self.session.photo
        return self._truth[1] if self._truth and photo and self._truth[0] == photo.key else None

    def know(self, truth: Truth | None) -> None:
        """Take the true alpha of the photo that is open; None forgets it."""
        photo = self.session.photo
        self._truth = None if truth is None or photo is None else (photo.key, truth)


class CompareEvents(DeskEvents):
    """What happens on a desk: as with any photo, but the comparison is what is shown first."""

    def __init__(self, services: Services, names: Sequence[str]) -> None:
        self._services = services
        self._names = tuple(names)
        super().__init__(lambda: PhotoSession(TimedModels(services.pool), self.start_pair))

    @property
    def start_pair(self) -> tuple[str, str]:
        """Right and left of the comparison, to begin with."""
        return self._names[0], self._names[1]

    def desk(self, desk: Desk | None) -> CompareDesk:
        """This person's desk; a new one at first."""
        if isinstance(desk, CompareDesk):
            return desk
        ask = TimedModels(self._services.pool)
        return CompareDesk(PhotoSession(ask, self.start_pair), ask)

    def steps(
        self, desk: Desk | None, act: Callable[[Any], str | None], show: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """As `DeskEvents.steps`; a new photo opens in the comparison."""
        yield from super().steps(desk, act, "compare" if show == "matte" else show)

    def model(self, side: int, name: Any, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """Another model was chosen for the right (0) or left (1) side; the other side's swaps the two.

        Ends in the names on the left and on the right.
        """
        own = self.desk(desk)

        def act(own: CompareDesk) -> None:
            before = own.session.layers
            if name == before[side]:
                return
            pair = [name, name]
            pair[1 - side] = before[side] if name == before[1 - side] else before[1 - side]
            own.session.ask_again(chosen_pair(pair[0], pair[1], self._names))
            try:
                for prompts in own.session.drawing.objects:
                    for one in pair if prompts.count else ():
                        own.session.alpha(prompts, one)
            except Exception:
                own.session.ask_again(before)
                raise

        for values in self.steps(own, act):
            shown = own.session.layers
            yield (*values, gr.update(value=shown[1]), gr.update(value=shown[0]))

    def drawn(self, kind: str, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """An object with a known alpha was chosen."""

        def act(own: CompareDesk) -> str:
            found = drawn_object(kind)
            own.session.start(found.photo)
            own.session.load((found.prompts,))
            own.know(found.truth)
            return f"{kind}: a drawn object whose alpha is known exactly. Its box is the prompt; change it as you like."

        yield from self.steps(desk, act, show="matte")

    def take_truth(self, path: Any, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """A true alpha was uploaded."""

        def act(own: CompareDesk) -> str:
            own.know(open_truth(path, own.session.photo))
            return "The true alpha is known now: errors are in the table."

        if path:
            yield from self.steps(desk, act)
        else:
            yield gr.skip(), desk, gr.skip()


def build(services: Services, predictors: Sequence[str] = PREDICTORS) -> None:
    """The app, in the surrounding blocks; `predictors` are what the page offers."""
    names = names_of(predictors, services)
    events = CompareEvents(services, names)
    right, left = events.start_pair
    gr.Markdown(
        f"# {TITLE}\nOne prompt, two answers. Drag the slider in the picture; the left model is left of it. "
        "The shipped models are small: their numbers say nothing about the large published ones."
    )
    with gr.Row(elem_classes="examples-row"):
        lefts = gr.Dropdown(list(names), value=left, label="Left model", elem_id="compare-left", min_width=160)
        rights = gr.Dropdown(list(names), value=right, label="Right model", elem_id="compare-right", min_width=160)
    with gr.Row(elem_classes="examples-row"):
        kinds = {kind: gr.Button(f"Drawn: {kind}", size="sm", elem_id=f"compare-drawn-{kind}") for kind in KINDS}
    parts = photo_desk(events, "compare")
    with gr.Row(elem_classes="examples-row"):
        truth = gr.UploadButton(
            f"I know the true alpha of this photo (grey picture, at most {MAX_UPLOAD_BYTES >> 20} MB)",
            file_types=["image"],
            type="filepath",
            size="sm",
            elem_id="compare-truth",
        )
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for kind, button in kinds.items():
        button.click(_drawn(events, kind), [parts.desk], parts.outputs, **quiet)
    for side, box in ((0, rights), (1, lefts)):
        box.input(_model(events, side), [box, parts.desk], [*parts.outputs, lefts, rights], **quiet)
    truth.upload(events.take_truth, [truth, parts.desk], parts.outputs, **quiet)
    _results(events, parts)
    _api(services, names)


def names_of(predictors: Sequence[str], services: Services) -> tuple[str, ...]:
    """The models to choose from: those of the services first.

    Raises:
        LimitError: fewer than two.
    """
    given = [one.strip() for one in predictors if one.strip()]
    names = tuple(dict.fromkeys([*(one for one in services.layers if one in given), *given]))
    if len(names) < 2:
        raise LimitError(f"predictors: expected at least two names, got {', '.join(names) or 'none'}")
    return names


def _model(events: CompareEvents, side: int) -> Callable[[Any, Desk | None], Iterator[tuple[Any, ...]]]:
    def handler(name: Any, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        yield from events.model(side, name, desk)

    return handler


def _drawn(events: CompareEvents, kind: str) -> Callable[[Desk | None], Iterator[tuple[Any, ...]]]:
    def handler(desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        yield from events.drawn(kind, desk)

    return handler


def _results(events: CompareEvents, parts: DeskParts) -> None:
    """Below the stage: both alphas, both errors, the table and the downloads; kept up with the stage."""
    look: dict[str, Any] = {"interactive": False, "format": "png", "height": 260, "buttons": ["fullscreen"]}
    pictures = []
    for name in ("alpha", "error"):
        with gr.Row():
            for side in ("left", "right"):
                label = f"{side.capitalize()} {name}"
                shown = gr.Image(label=label, visible=False, elem_id=f"compare-{side}-{name}", min_width=150, **look)
                pictures.append(shown)
    table = gr.HTML(elem_id="compare-table")
    parts.stage.change(
        partial(_shown, events),
        [parts.desk],
        [*pictures, table],
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="always_last",
    )
    with gr.Row(elem_classes="examples-row"):
        for place, side in ((1, "left"), (0, "right")):
            label = f"{side.capitalize()} alpha (PNG)"
            download(label, _alpha_file(place), [parts.desk], elem_id=f"compare-get-{side}")
        download("Table (JSON)", _table_file, [parts.desk], elem_id="compare-get-table")


def _shown(events: CompareEvents, desk: Desk | None) -> list[Any]:
    """Values of left alpha, right alpha, left error, right error, table."""
    own = events.desk(desk)
    session = own.session
    with session.lock:
        truth = own.truth
        state = (session.photo, session.drawing.objects, session.layers, id(truth))
        if state == own.shown:
            return [gr.skip()] * 5
        own.shown = state
        hidden = [gr.update(value=None, visible=False)] * 4
        if session.photo is None or not any(one.count for one in session.drawing.objects):
            return [*hidden, ""]
        try:
            result = compared(session, own.ask, truth)
        except Exception as error:
            return [*hidden, f"<p role='alert'>{message_of(error)}</p>"]
    mattes, errors = [], [gr.update(value=None, visible=False)] * 2
    for name, alpha in zip(result.names, result.alphas, strict=True):
        mattes.append(gr.update(value=(alpha * 255 + 0.5).astype(np.uint8), visible=True, label=f"{name}: alpha"))
    if truth is not None:
        errors = [
            gr.update(
                value=error_picture(alpha, truth, long_side=SHOWN_SIDE),
                visible=True,
                label=f"{name}: error (orange too much, blue too little)",
            )
            for name, alpha in zip(result.names, result.alphas, strict=True)
        ]
    return [*reversed(mattes), *reversed(errors), TABLE_STYLE + table_html(result)]


def _result(desk: Desk | None) -> tuple[CompareDesk, Result]:
    if not isinstance(desk, CompareDesk) or desk.session.photo is None:
        raise PromptError(NO_PHOTO)
    with desk.session.lock:
        return desk, compared(desk.session, desk.ask, desk.truth)


def _alpha_file(place: int) -> Callable[[Desk | None], Path]:
    def make(desk: Desk | None) -> Path:
        if not isinstance(desk, CompareDesk) or desk.session.photo is None:
            raise PromptError(NO_PHOTO)
        session, photo = desk.session, desk.session.photo
        with session.lock:
            name = session.layers[place]
            path = desk.outbox.path(f"{photo.name}_{safe_name(name)}_alpha.png")
            save_png(path, session.united_alpha(name))
        return path

    return make


def _table_file(desk: Desk | None) -> Path:
    own, result = _result(desk)
    path = own.outbox.path("comparison.json")
    write_json_atomic(path, report(result, own.session))
    return path


def _api(services: Services, names: Sequence[str]) -> None:
    def compare(photo: Any, prompts: Any, first: Any, second: Any, truth: Any) -> tuple[str, str, dict[str, Any]]:
        """Ask two models the same. `prompts` as in /click_to_matte: {"points": [[x, y, 1 or 0]], "box": [x1, y1, x2,
        y2], "strokes": [...]} or {"objects": [...]}; `first`, `second`: names that the page offers; `truth`: a grey
        picture of the photo's size, or None. Returns both alphas (grey PNG) and the table: seconds, the difference of
        the two and, with `truth`, SAD, MSE, MAE, Grad, Conn of each."""
        ask = TimedModels(services.pool)
        session = PhotoSession(ask, chosen_pair(first, second, names))
        opened = open_photo(photo)
        session.start(opened)
        session.load(prompts_from_json(prompts, opened.hw))
        result = compared(session, ask, open_truth(truth, opened) if truth else None)
        folder = answer_folder()
        files = []
        for place, (name, alpha) in enumerate(zip(result.names, result.alphas, strict=True), 1):
            files.append(folder.beside(f"{opened.name}_{place}_{safe_name(name)}_alpha.png"))
            save_png(files[-1], alpha)
        return str(files[0]), str(files[1]), report(result, session)

    photo = gr.File(label="photo", type="filepath", visible=False)
    prompts = gr.JSON(label="prompts", visible=False)
    pair = [gr.Textbox(label=label, visible=False) for label in ("first", "second")]
    truth = gr.File(label="truth", type="filepath", visible=False)
    answers: list[Any] = [gr.File(label=label, visible=False) for label in ("first alpha", "second alpha")]
    endpoint("compare", compare, [photo, prompts, *pair, truth], [*answers, gr.JSON(label="table", visible=False)])


def main() -> int:
    """Serve the app until Ctrl-C. Returns 0, or 1 after an error of one line."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--predictors",
        default=",".join(PREDICTORS),
        help="names to choose from, separated by commas, as zim.load_predictor takes them",
    )
    options = parser.parse_args()
    try:
        services = services_of(options)
        names = names_of(options.predictors.split(","), services)
        services.pool.warm(*names)
        launch(blocks(TITLE, partial(build, predictors=names), services), host=options.host, port=options.port)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
