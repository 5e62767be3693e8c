"""Find everything in a photo: masks and alphas of all objects without prompts; click on one to pick it.

    python demos/everything.py [--port 7860] [--model zim_tiny]

As an API:

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    records, overview, archive = client.predict(handle_file("cat.png"), {"points_per_side": 8}, api_name="/everything")
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr
import numpy as np

from demos.common.api import answer_folder, endpoint
from demos.common.downloads import download
from demos.common.found_objects import (
    LEAST_THRESHOLD,
    MAX_CLEANED,
    OVERVIEW,
    SIDES,
    FindSettings,
    Found,
    FoundSession,
    find_everything,
    settings_from,
)
from demos.common.limits import number
from demos.common.long_jobs import long_steps
from demos.common.outbox import safe_name
from demos.common.photo_desk import NO_PHOTO, Desk, DeskEvents, photo_desk
from demos.common.photos import open_photo
from demos.common.serving import Services, main_of
from zim.cutout import cutout
from zim.errors import PromptError
from zim.image_io import save_png
from zim.mask_files import write_records

TITLE = "Everything"
HINT = 'Press "Find everything", then click on what was found.'
COLUMNS = {"No.": "14%", "Area": "22%", "Box": "36%", "Quality": "28%"}
PICK_FIRST = "Pick an object first: click on it in the picture, or on its line in the table."
DEFAULTS = FindSettings()
HONEST = (
    "The small models that come with this package find large, clear objects and miss many small ones. Settings: more "
    "points find more and take longer; lower thresholds keep masks that the model is less sure of."
)


class FoundEvents(DeskEvents):
    """Picking leads to a view that shows what was picked."""

    def prompt(self, event: gr.EventData, desk: Desk | None) -> Iterator[tuple[Any, ...]]:
        """The stage reported something."""
        data = event._data if isinstance(event._data, dict) else {}
        hides = data.get("kind") == "point" and data.get("view") in (f"picture:{OVERVIEW}", "photo")
        yield from self.steps(desk, lambda own: _handled(own, data), show="matte" if hides else None)


def build(services: Services) -> None:
    """The app, in the surrounding blocks."""
    gr.Markdown(f"# {TITLE}\nAll objects of a photo without a prompt. Pick one, or download them all.")
    events = FoundEvents(FoundSession, HINT)
    parts = photo_desk(events, "everything", tools=("foreground",), several=False)
    with gr.Row(elem_classes="examples-row"):
        start = gr.Button("Find everything", variant="primary", size="md", elem_id="everything-start")
        stop = gr.Button("Stop", size="md", elem_id="everything-stop")
    status = gr.Markdown(HONEST, elem_id="everything-status", min_height=64)
    with gr.Accordion("Settings", open=False, elem_id="everything-settings"):
        controls = _controls()
    table = gr.Dataframe(
        headers=list(COLUMNS),
        column_widths=list(COLUMNS.values()),
        wrap=True,
        label="Found: area, box (x, y, width, height) in pixels",
        interactive=False,
        max_height=320,
        elem_id="everything-table",
    )
    with gr.Row(elem_classes="examples-row"):
        download("Picked object (RGBA PNG)", _picked_file, [parts.desk], elem_id="everything-cutout")
        download("All of them (ZIP)", _zip_file, [parts.desk], elem_id="everything-zip")

    found = start.click(
        _finder(events, services),
        [parts.desk, *controls],
        [*parts.outputs, status],
        show_progress="full",
        show_progress_on=[status],
        api_visibility="private",
    )
    stop.click(_stop, [parts.desk], [], queue=False, show_progress="hidden", api_visibility="private")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    found.then(_rows, [parts.desk], [table], **quiet)
    parts.stage.change(_rows_gone, [parts.desk], [table], **quiet)
    table.select(_row_picker(events), [parts.desk], parts.outputs, **quiet)
    _api(services)


def _controls() -> list[Any]:
    """In the order of `FindSettings`."""
    per_side = gr.Radio(list(SIDES), value=DEFAULTS.points_per_side, label="Points per side", elem_id="everything-side")
    with gr.Row():
        quality = gr.Slider(
            LEAST_THRESHOLD, 1, DEFAULTS.pred_iou_thresh, step=0.01, label="Least quality", elem_id="everything-quality"
        )
        stability = gr.Slider(
            LEAST_THRESHOLD,
            1,
            DEFAULTS.stability_score_thresh,
            step=0.01,
            label="Least stability",
            elem_id="everything-stability",
        )
        area = gr.Number(
            DEFAULTS.min_mask_region_area,
            label="Minimal area (px)",
            info=f"Smaller holes and islands of masks are cleaned away (0 to {MAX_CLEANED}).",
            precision=0,
            elem_id="everything-area",
        )
    return [per_side, quality, stability, area]


def _session(desk: Desk | None) -> FoundSession:
    if desk is None or not isinstance(desk.session, FoundSession) or desk.session.photo is None:
        raise PromptError(NO_PHOTO)
    return desk.session


def _handled(desk: Desk, data: dict[str, Any]) -> str | None:
    """Do what the stage reported, and say what is picked."""
    desk.session.handle(data)
    return None if desk.session.photo is None else _said(_session(desk))


def _said(session: FoundSession) -> str | None:
    index, found = session.picked, session.found
    if found is None:
        return None
    if index is None:
        return f"{len(found.candidates)} objects. Click on one to pick it."
    place, area, box, quality = found.rows()[index]
    return f"Object {place}: {area} px, box {box}, quality {quality:g}."


def _finder(events: DeskEvents, services: Services) -> Callable[..., Iterator[Any]]:
    def find(
        desk: Desk | None,
        per_side: Any,
        quality: Any,
        stability: Any,
        area: Any,
        progress: gr.Progress = gr.Progress(),
    ) -> Iterator[Any]:
        def tell(done: int, total: int) -> None:
            progress(done / total, desc=f"{done} of {total} points")

        def work(own: Desk) -> Found:
            settings = settings_from(
                {
                    "points_per_side": per_side,
                    "pred_iou_thresh": quality,
                    "stability_score_thresh": stability,
                    "min_mask_region_area": area,
                }
            )
            tell(0, settings.points_per_side**2)
            return _session(own).search(services.pool, services.model, settings, tell)

        def take(own: Desk, found: Found) -> str:
            session = _session(own)
            session.take(found)
            count = len(found.candidates)
            return _said(session) or "" if count else "Nothing was found; more points or lower thresholds find more."

        steps = long_steps(events, desk, work, take, waiting="Looking for everything...", show=f"picture:{OVERVIEW}")
        for step in steps:
            yield *step, "" if step[0]["busy"] else HONEST  # no text below the progress

    return find


def _stop(desk: Desk | None) -> None:
    if isinstance(desk, Desk) and isinstance(desk.session, FoundSession):
        desk.session.stop()


def _rows(desk: Desk | None) -> list[list[Any]]:
    found = desk.session.found if isinstance(desk, Desk) and isinstance(desk.session, FoundSession) else None
    return [] if found is None else found.rows()


def _rows_gone(desk: Desk | None) -> Any:
    """The table of another photo goes away."""
    return gr.skip() if _rows(desk) else []


def _row_picker(events: DeskEvents) -> Callable[..., Iterator[Any]]:
    def pick(event: gr.SelectData, desk: Desk | None) -> Iterator[Any]:
        def act(own: Desk) -> str | None:
            line = getattr(event, "row_value", None) or [None]  # as it is shown, whatever it is sorted by
            session = _session(own)
            session.pick(int(number(line[0], "object")) - 1)
            return _said(session)

        yield from events.steps(desk, act, show="matte")

    return pick


def _picked_file(desk: Desk | None) -> Path:
    session = _session(desk)
    with session.lock:
        index, found = session.picked, session.found
    if index is None or found is None or desk is None:
        raise PromptError(PICK_FIRST)
    path = desk.outbox.path(safe_name(f"{found.photo.name}_{index}_cutout.png"))
    save_png(path, cutout(found.photo.full(), found.alpha(index) / np.float32(255)))
    return path


def _zip_file(desk: Desk | None) -> Path:
    found = _session(desk).found
    if found is None or desk is None:
        raise PromptError(HINT)
    return found.write_zip(desk.outbox.path(safe_name(f"{found.photo.name}_everything.zip")))


def _api(services: Services) -> None:
    def everything(photo: str | None, settings: Any) -> tuple[str, str, str]:
        """Find all objects of a photo. `settings`: {"points_per_side": 8, 12, 16 or 32, "pred_iou_thresh": 0.88,
        "stability_score_thresh": 0.95, "min_mask_region_area": 0}, each may be left out. Returns SAM's records with
        COCO's RLE (JSON), an overview (PNG) and all masks and alphas as `zim auto` writes them (ZIP)."""
        opened = open_photo(photo)
        found = find_everything(opened, services.pool, services.model, settings_from(settings))
        folder = answer_folder()
        records = folder.beside(f"{opened.name}_records.json")
        write_records(records, found.candidates)
        overview = folder.beside(f"{opened.name}_overview.png")
        save_png(overview, found.overview())
        archive = found.write_zip(folder.beside(f"{opened.name}_everything.zip"))
        return str(records), str(overview), str(archive)

    photo = gr.File(label="photo", type="filepath", visible=False)
    settings = gr.JSON(label="settings", visible=False)
    answers = [gr.File(label=label, visible=False) for label in ("records", "overview", "archive")]
    endpoint("everything", everything, [photo, settings], answers)


def main() -> int:
    """Serve the app until Ctrl-C."""
    return main_of(TITLE, build, __doc__)


if __name__ == "__main__":
    sys.exit(main())
