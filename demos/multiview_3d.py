"""Prompt an object in one view of a scene; get it in 3-D and as a matte in every view.

    pip install 'zim-matting[demo,multiview]'
    python demos/multiview_3d.py [--port 7860] [--model zim_tiny]

As an API (a scene is a .zip of pictures and cameras: transforms.json, COLMAP, LLFF, ScanNet or open3d):

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    points, report = client.predict(
        handle_file("scene.zip"), "0000", {"box": [90, 60, 230, 250]}, api_name="/multiview_3d"
    )
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from demos.common.api import answer_folder, endpoint
from demos.common.downloads import download
from demos.common.limits import JOB_SECONDS, MAX_UPLOAD_BYTES
from demos.common.long_jobs import long_steps
from demos.common.outbox import Outbox
from demos.common.photo_desk import Desk, DeskEvents, close_desk
from demos.common.photo_session import PhotoSession, asking
from demos.common.prompts import prompts_from_json
from demos.common.serving import Services, main_of, state
from demos.common.stage import stage
from demos.common.views_session import (
    EXAMPLES,
    FOUND,
    Files,
    Found,
    OpenScene,
    Tell,
    ViewsDesk,
    find_object,
    read_zip,
    summary,
    view_of,
)
from zim.errors import DataError, MissingDependencyError, PromptError

TITLE = "3-D from several views"
INSTALL = "pip install 'zim-matting[multiview]'"
MISSING = "3-D surfaces need open3d, which is not installed (about 2 GB with what it brings)"
HINT = "Drag a box around the object, or click on it. Then: Find it in 3-D."
INTRO = f"""# {TITLE}
Prompt an object in one view; it is carried to all others and voted on in 3-D. The scene must stand still and its
cameras must be known. Look at the matte in the prompted view first: where the small model fails there, the rest fails
too. A scene without depth or a mesh gets a coarse density grid, which takes minutes and wants one object on a plain
ground."""
NOTHING_YET = "What is found will be told and shown here."
GALLERY_STYLE = """<style>
#views-gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(min(130px, 24vw), 1fr)) !important; }
#views-gallery .grid-wrap { height: auto !important; max-height: 300px; min-height: 0; padding-top: 36px; }
#views-gallery .caption-label { max-width: 100%; font-size: 12px; padding: 1px 5px; }
#views-summary .meta-text, #views-summary .meta-text-center { display: none; }
</style>"""
DOWNLOADS: dict[Files, str] = {
    "points": "Points with alpha (PLY)",
    "mesh": "Mesh (GLB)",
    "alphas": "Alpha of every view (ZIP)",
    "report": "Report (JSON)",
}
Values = tuple[Any, ...]


class ViewsEvents(DeskEvents):
    """What happens on the page. Ends in stage value, desk, objects, gallery, summary, row of downloads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        super().__init__(lambda: PhotoSession(asking(services.pool), (services.model,)), HINT)

    def desk(self, desk: Desk | None) -> ViewsDesk:
        """This person's desk; a new one at first."""
        return desk if isinstance(desk, ViewsDesk) else ViewsDesk(self._new_session())

    def radio(self, session: PhotoSession) -> Any:
        """One object only, so there is nothing to choose."""
        return gr.skip()

    def example(self, name: str, desk: Desk | None) -> Iterator[Values]:
        """An example scene was chosen."""

        def act(own: Any) -> str:
            own.open_example(name)
            return self._scene_line(own)

        yield from self._with_views(self.steps(desk, act, "matte"))

    def upload(self, path: Any, desk: Desk | None) -> Iterator[Values]:
        """A scene was uploaded."""

        def act(own: Any) -> str:
            own.open_zip(path)
            return self._scene_line(own)

        if path:
            yield from self._with_views(self.steps(desk, act, "matte"))

    def _scene_line(self, own: ViewsDesk) -> str:
        scene = own.required.scene
        left_out = f", {len(scene.skipped)} left out ({scene.skipped[0].reason[:80]})" if scene.skipped else ""
        return f"{len(scene.views)} views{left_out}. Choose one in which the object is seen well. {HINT}"

    def choose_view(self, event: gr.SelectData, desk: Desk | None) -> Iterator[Values]:
        """A view was chosen in the gallery."""

        def act(own: Any) -> str:
            own.show_view(event.index)
            height, width = own.required.scene.views[own.view].hw
            return f"View {own.required.scene.names[own.view]}, {width} x {height}. {'' if own.found else HINT}"

        own = self.desk(desk)
        yield from self.steps(own, act, "matte" if own.found is None else f"picture:{FOUND}")

    def prompt(self, event: gr.EventData, desk: Desk | None) -> Iterator[Values]:
        """The stage reported something; a new prompt is shown with its matte."""
        data = event._data if isinstance(event._data, dict) else {}
        drawn = data.get("kind") in ("point", "box", "stroke")
        from_picture = str(data.get("view", "")).startswith("picture:")
        own = self.desk(desk)
        yield from self.steps(own, self.in_turn(own, data), "matte" if drawn and from_picture else None)

    def find(self, desk: Desk | None, progress: gr.Progress = gr.Progress()) -> Iterator[Values]:
        """The button was pressed."""
        files = Outbox()

        def work(own: Any) -> tuple[OpenScene, Found]:
            with own.session.lock:
                opened, view, prompts = own.required, own.view, own.session.drawing.current
            told: Tell = lambda what, done, total: progress((done, total), desc=what)  # noqa: E731
            try:
                pool, model = self._services.pool, self._services.model
                return opened, find_object(pool, model, opened.scene, view, prompts, files.path("found"), told)
            except BaseException:
                files.close()
                raise

        def take(own: Any, result: tuple[OpenScene, Found]) -> str:
            own.take_found(*result, files)
            return "Found. Choose another view above to see its matte there; below is the object in 3-D."

        searching = f"Searching in all views; at most {JOB_SECONDS / 60:.0f} minutes."
        yield from self._with_views(
            long_steps(self, desk, work, take, waiting=searching, show=f"picture:{FOUND}"), waits=True
        )

    def _with_views(self, values: Iterator[Values], waits: bool = False) -> Iterator[Values]:
        """The values of the stage with those of the rest of the page."""
        for number, value in enumerate(values):
            own: ViewsDesk = value[1]
            if value[0]["error"] or (waits and not number):
                yield (*value, gr.skip(), "" if waits and not number else gr.skip(), gr.skip())
                continue
            found = own.found
            yield (
                *value,
                gr.update(value=own.thumbnails(), selected_index=own.view, visible=own.opened is not None),
                NOTHING_YET if found is None else summary(found),
                gr.update(visible=found is not None),
            )


def _viewer(desk: Desk | None) -> Any:
    """What the 3-D viewer shows. An event of its own: one that ends a generator comes twice, and stops its loading."""
    if not isinstance(desk, ViewsDesk) or desk.found is None:
        return gr.update(value=None, visible="hidden")
    return gr.update(value=str(desk.found.folder / "preview.glb"), visible=True)


def build(services: Services) -> None:
    """The app, in the surrounding blocks; without open3d, how to install it."""
    gr.Markdown(INTRO)
    _api(services)
    if not has_open3d():
        gr.Markdown(
            f"**{MISSING}.** Install it and start again:\n\n```\n{INSTALL}\n```\n\n"
            "On Debian and Ubuntu it also needs `apt-get install libusb-1.0-0`.",
            elem_id="views-missing",
        )
        return
    events = ViewsEvents(services)
    desk = state(close=close_desk)
    with gr.Row(elem_classes="examples-row"):
        examples = {
            name: gr.Button(f"Example: {name}", size="sm", elem_id=f"views-example-{name}") for name in EXAMPLES
        }
        upload = gr.UploadButton(
            f"Upload a scene (.zip, at most {MAX_UPLOAD_BYTES >> 20} MB)",
            file_types=[".zip"],
            type="filepath",
            size="sm",
            variant="primary",
            elem_id="views-upload",
        )
    gr.HTML(GALLERY_STYLE, elem_classes="hidden-link")
    gallery = gr.Gallery(
        label="Views: choose one",
        columns=8,
        height="auto",
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
        elem_id="views-gallery",
    )
    shown = stage(elem_id="views-stage")
    with gr.Row(elem_classes="examples-row"):
        edits = {
            kind: gr.Button(kind.capitalize(), size="sm", elem_id=f"views-{kind}") for kind in ("undo", "redo", "clear")
        }
        find = gr.Button("Find it in 3-D", size="sm", variant="primary", elem_id="views-find")
    objects = gr.Radio([("Object 1", 0)], value=0, label="Object", visible=False, elem_id="views-objects")
    told = gr.Markdown(NOTHING_YET, min_height=80, elem_id="views-summary")
    viewer = gr.Model3D(
        label="In 3-D: drag to turn it",
        clear_color=(0.95, 0.95, 0.95, 1.0),
        height=420,
        interactive=False,
        visible="hidden",  # one that is not there at all does not show its first value
        elem_id="views-viewer",
    )
    with gr.Row(elem_classes="examples-row", visible=False) as row:
        for wanted, label in DOWNLOADS.items():
            download(label, _file(wanted), [desk], elem_id=f"views-get-{wanted}")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    on_stage, everywhere = [shown, desk, objects], [shown, desk, objects, gallery, told, row]
    searched = find.click(
        events.find, [desk], everywhere, show_progress="full", show_progress_on=[told], api_visibility="private"
    )
    changes = [searched, upload.upload(events.upload, [upload, desk], everywhere, **quiet)]
    changes += [button.click(_example(events, name), [desk], everywhere, **quiet) for name, button in examples.items()]
    for change in changes:
        change.then(_viewer, [desk], [viewer], **quiet)
    gallery.select(events.choose_view, [desk], on_stage, **quiet)
    shown.prompt(events.prompt, [desk], on_stage, trigger_mode="multiple", **quiet)
    for kind, button in edits.items():
        button.click(events.do(kind), [desk], on_stage, **quiet)


def has_open3d() -> bool:
    """Whether open3d is installed; it takes seconds to import, so it is only looked for."""
    return importlib.util.find_spec("open3d") is not None


def _example(events: ViewsEvents, name: str) -> Callable[[Desk | None], Iterator[Values]]:
    def handler(desk: Desk | None) -> Iterator[Values]:
        yield from events.example(name, desk)

    return handler


def _file(kind: Files) -> Callable[[Desk | None], Path]:
    def make(desk: Desk | None) -> Path:
        if not isinstance(desk, ViewsDesk) or desk.found is None:
            raise DataError("expected an object to be found first")
        return desk.found.file(kind)

    return make


def _api(services: Services) -> None:
    def multiview_3d(scene: Any, view: Any, prompts: Any) -> tuple[str, dict[str, Any]]:
        """Find one object in 3-D. `scene`: a .zip of pictures and cameras (transforms.json, COLMAP, LLFF, ScanNet,
        open3d), with depth or a mesh.ply where there is one; `view`: the prompted view's name, or its number as text;
        `prompts` in pixels of that view: {"points": [[x, y, 1 or 0]], "box": [x1, y1, x2, y2], "strokes": [...]}.
        Returns the object's points (PLY with alpha) and the report (JSON)."""
        if not has_open3d():
            raise MissingDependencyError(f"{MISSING}: {INSTALL}")
        files, folder = Outbox(), answer_folder()
        try:
            opened = read_zip(scene, files)
            place = view_of(opened.scene, view)
            objects = prompts_from_json(prompts, opened.scene.views[place].hw)
            if len(objects) != 1:
                raise PromptError(f"prompts: expected one object, got {len(objects)}")
            found = find_object(
                services.pool, services.model, opened.scene, place, objects[0], folder.beside("found")
            )
        finally:
            files.close()
        return str(found.file("points")), dict(found.report)

    inputs = [
        gr.File(label="scene", type="filepath", visible=False),
        gr.Textbox(label="view", visible=False),
        gr.JSON(label="prompts", visible=False),
    ]
    answers = [gr.File(label="points", visible=False), gr.JSON(label="report", visible=False)]
    endpoint("multiview_3d", multiview_3d, inputs, answers)


def main() -> int:
    """Serve the app until Ctrl-C."""
    return main_of(TITLE, build, __doc__)


if __name__ == "__main__":
    sys.exit(main())
