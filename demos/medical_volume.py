"""Medical volumes: prompt an object on a slice, follow it through the volume, take the soft segmentation home.

    python demos/medical_volume.py [--port 7860] [--model zim_tiny] [--baseline sam_tiny]

As an API (coordinates are voxels of the file's array, boxes include their corner voxels; `alphas` is a list of files):

    from gradio_client import Client, handle_file
    client = Client("http://127.0.0.1:7860")
    prompts = {"boxes": [[20, 30, 12, 60, 70, 12]], "points": [[40, 50, 12, 1]], "axis": "axial"}
    labels, alphas, report = client.predict(
        handle_file("brain.nii.gz"), prompts, "zim_tiny_medical", api_name="/medical_volume"
    )
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from adapters.medical_volume.answer_store import AnswerStore
from adapters.medical_volume.outputs import write_outputs
from adapters.medical_volume.windowing import PRESETS
from demos.common.api import answer_folder, endpoint
from demos.common.downloads import download
from demos.common.limits import MAX_UPLOAD_BYTES, short
from demos.common.serving import Services, main_of, state
from demos.common.stage import stage
from demos.common.volume_desk import VolumeDesk, VolumeEvents, close_desk
from demos.common.volume_downloads import DOWNLOADS, write_download
from demos.common.volume_files import EXAMPLES, SUFFIXES, VolumeShelf, at_step, check_volume
from demos.common.volume_job import TurnTaker, segmented
from demos.common.volume_prompts import request_from_json
from demos.common.volume_session import NO_VOLUME, TOOLS, VolumeSession
from zim.errors import ConfigError, PromptError

TITLE = "Medical volumes"
SPECIALIST = "zim_tiny_medical"
INTRO = f"""# {TITLE}
Mark an object on one slice or a few, then follow it through the volume.
**A research tool, no medical device: not for diagnosis or treatment.** The models are small and young; the medical one
was fine-tuned on hippocampus MR and made-up shapes only; none of them follows a branching tree from one slice. Look at
every slice before you use a result.
"""
JOBS = 2
"""Volumes that are followed at once; each may need some 1.5 GB."""
WINDOWS = [("auto (percentiles)", "auto"), *((f"CT {name.replace('_', ' ')}", name) for name in PRESETS)]


def models_of(services: Services) -> tuple[str, ...]:
    """The names that may be chosen; no other reaches `zim.load_predictor`."""
    return tuple(dict.fromkeys((SPECIALIST, *services.layers)))


class _Parts(NamedTuple):
    """The components; see `VolumeEvents`."""

    stage: gr.HTML
    desk: gr.State
    objects: gr.Radio
    slider: gr.Slider
    axis: gr.Radio
    first: gr.Number
    last: gr.Number
    time_row: gr.Row
    results: gr.Row
    surface: gr.Model3D
    montage: gr.Image


class _Looking(NamedTuple):
    """What chooses the volume, its slices and who answers."""

    examples: dict[str, gr.Button]
    upload: gr.UploadButton
    step: gr.Number
    open_step: gr.Button
    window: gr.Dropdown
    model: gr.Dropdown


class _Editing(NamedTuple):
    """What changes the prompts, and follows them."""

    edits: dict[str, gr.Button]
    thick: gr.Button
    consensus: gr.Checkbox
    follow: gr.Button
    stop: gr.Button
    status: gr.Markdown


def build(services: Services) -> None:
    """The app, in the surrounding blocks."""
    shelf = VolumeShelf()
    events = VolumeEvents(lambda: VolumeSession(services.pool, shelf, models_of(services)))
    gr.Markdown(INTRO)
    desk = state(close=close_desk)
    looking, time_row, axis = _looking(models_of(services))
    shown = stage(TOOLS, elem_id="medical-stage")
    slider = gr.Slider(0, 1, 0, step=1, label="Slice, numbered as in the file", elem_id="medical-slice")
    editing, objects, first, last = _editing()
    results, surface, montage = _results(desk)
    parts = _Parts(shown, desk, objects, slider, axis, first, last, time_row, results, surface, montage)
    _listen(events, parts, looking, editing)
    _api(services, shelf)


def _looking(models: tuple[str, ...]) -> tuple[_Looking, gr.Row, gr.Radio]:
    """Also the row of the time steps, and the direction of the slices."""
    with gr.Row(elem_classes="examples-row"):
        examples = {
            one: gr.Button(f"{one.capitalize()} (made up)", size="sm", elem_id=f"medical-example-{one}")
            for one in EXAMPLES
        }
        upload = gr.UploadButton(
            f"Upload .nii, .nii.gz, .nrrd or .mha (at most {MAX_UPLOAD_BYTES >> 20} MB)",
            file_types=[*SUFFIXES, ".gz"],
            type="filepath",
            size="sm",
            variant="primary",
            elem_id="medical-upload",
        )
    with gr.Row(visible=False) as time_row:
        step = gr.Number(0, label="Time step", precision=0, elem_id="medical-time")
        open_step = gr.Button("Open this time step", elem_id="medical-open-step")
    with gr.Row():
        directions = [(name, name) for name in ("axial", "coronal", "sagittal")]
        axis = gr.Radio(directions, value="axial", label="Slices", elem_id="medical-axis", min_width=260)
        window = gr.Dropdown(
            WINDOWS,
            value="auto",
            label="Grey levels: choose, or write LOWER,UPPER",
            allow_custom_value=True,
            elem_id="medical-window",
            min_width=260,
        )
        model = gr.Dropdown(list(models), value=SPECIALIST, label="Model", elem_id="medical-model", min_width=200)
    return _Looking(examples, upload, step, open_step, window, model), time_row, axis


def _editing() -> tuple[_Editing, gr.Radio, gr.Number, gr.Number]:
    """Also the choice of an object, and the first and last slice of a 3-D box."""
    with gr.Row(elem_classes="examples-row"):
        edits = {
            kind: gr.Button(kind.capitalize(), size="sm", elem_id=f"medical-{kind}")
            for kind in ("undo", "redo", "clear")
        }
        edits["add"] = gr.Button("Another object", size="sm", elem_id="medical-add")
    objects = gr.Radio([("Object 1", 0)], value=0, label="Object to prompt", visible=False, elem_id="medical-objects")
    with gr.Accordion("3-D box: let the box on this slice reach through several", open=False):
        with gr.Row():
            first = gr.Number(0, label="First slice", precision=0, elem_id="medical-first", min_width=120)
            last = gr.Number(0, label="Last slice", precision=0, elem_id="medical-last", min_width=120)
            thick = gr.Button("Make it a 3-D box", elem_id="medical-thick", min_width=160)
    consensus = gr.Checkbox(
        label="Consensus: follow in all three directions (steadier, three times the work; 3-D boxes mostly are)",
        elem_id="medical-consensus",
    )
    with gr.Row(elem_classes="examples-row"):
        follow = gr.Button("Follow through the volume", variant="primary", elem_id="medical-follow")
        stop = gr.Button("Stop", elem_id="medical-stop")
    status = gr.Markdown("", elem_id="medical-status", min_height=90)
    return _Editing(edits, thick, consensus, follow, stop, status), objects, first, last


def _results(desk: gr.State) -> tuple[gr.Row, gr.Model3D, gr.Image]:
    """What was found, to see and to take home."""
    with gr.Row(visible=False) as results:
        surface = gr.Model3D(
            label="Surface where alpha passes 0.5", interactive=False, height=360, elem_id="medical-surface"
        )
        montage = gr.Image(
            label="Slices with outlines", interactive=False, height=360, elem_id="medical-montage", buttons=[]
        )
    with gr.Row(elem_classes="examples-row"):
        for kind, label in DOWNLOADS.items():
            download(label, _maker(kind), [desk], elem_id=_id_of(kind))
    return results, surface, montage


def _listen(events: VolumeEvents, parts: _Parts, looking: _Looking, editing: _Editing) -> None:
    """Every control does what its name says; all but following answer at once."""
    desk = parts.desk
    quiet: dict[str, Any] = {"outputs": list(parts), "show_progress": "hidden", "api_visibility": "private"}
    for one, button in looking.examples.items():
        button.click(_with(events.example, one), [desk], **quiet)
    looking.upload.upload(events.open, [looking.upload, desk], **quiet)
    looking.open_step.click(events.open_step, [looking.step, desk], **quiet)
    looking.window.input(events.set_window, [looking.window, desk], **quiet)
    looking.model.input(events.set_model, [looking.model, desk], **quiet)
    parts.stage.prompt(events.prompt, [desk], trigger_mode="multiple", **quiet)  # no click of a quick hand is dropped
    parts.slider.input(events.go_to, [parts.slider, desk], trigger_mode="always_last", **quiet)
    parts.axis.input(events.look_along, [parts.axis, desk], **quiet)
    parts.objects.input(events.choose, [parts.objects, desk], **quiet)
    editing.thick.click(events.make_box_thick, [parts.first, parts.last, desk], **quiet)
    for kind, button in editing.edits.items():
        button.click(_with(events.edit, kind), [desk], **quiet)
    followed = editing.follow.click(
        events.follow,
        [editing.consensus, desk],
        [*parts, editing.status],
        show_progress="full",
        show_progress_on=[editing.status],
        concurrency_limit=JOBS,
        api_visibility="private",
    )
    followed.then(events.surface, [desk], [parts.surface], show_progress="hidden", api_visibility="private")
    editing.stop.click(events.stop, [desk], [editing.status], show_progress="hidden", api_visibility="private")


def _with(handler: Callable[[str, Any], Iterator[Any]], name: str) -> Callable[[Any], Iterator[Any]]:
    def handle(desk: Any) -> Iterator[Any]:
        yield from handler(name, desk)

    return handle


def _id_of(kind: str) -> str:
    """Of a download's button; the surface and the montage are also shown."""
    return f"medical-{kind}-file" if kind in ("surface", "montage") else f"medical-{kind}"


def _maker(kind: str) -> Callable[[Any], Path]:
    def make(desk: Any) -> Path:
        if not isinstance(desk, VolumeDesk) or not desk.session.is_open:
            raise PromptError(NO_VOLUME)
        return write_download(desk.session, kind, desk.outbox)

    return make


def _api(services: Services, shelf: VolumeShelf) -> None:
    def segment(volume: str | None, prompts: Any, model: Any) -> tuple[str, list[str], str]:
        """Segment objects of a volume (.nii, .nii.gz, .nrrd, .mha). `prompts`: {"objects": [{"label": "liver",
        "points": [[i, j, k, 1 or 0]], "boxes": [[i1, j1, k1, i2, j2, k2]]}], "axis": "auto", "window": "auto",
        "consensus": false, "time": 0}, or one such object by itself; voxels of the file, boxes include their corner
        voxels, a box of several slices bounds the object. `model`: zim_tiny_medical (when empty) or another one that
        the app offers. Returns the label map, a list with the alpha of each object, both on exactly the grid of the
        file, and the report (JSON)."""
        name = model or SPECIALIST
        if name not in models_of(services):
            raise ConfigError(f"model: expected one of {', '.join(models_of(services))}, got {short(name)}")
        request = request_from_json(prompts)
        file, steps = check_volume(volume)
        file = at_step(file, request.step, steps)
        loaded = shelf.volume(file)
        folder = answer_folder()
        predictor = TurnTaker(services.pool, name)
        answers = AnswerStore(folder.beside("answers"), predictor.identity)
        segmenter, found = segmented(loaded, request.objects, request.settings, predictor, answers)
        objects = [one.as_json(label) for label, one in request.objects.items()]
        identity = {"model": name, "objects": objects, "time": request.step}
        files = write_outputs(segmenter, found, folder.beside("result"), identity=identity)
        shelf.forget(file)
        return str(files[0]), [str(one) for one in files[1 : 1 + len(found)]], str(files[-1])

    volume = gr.File(label="volume", type="filepath", visible=False)
    prompts = gr.JSON(label="prompts", visible=False)
    model = gr.Textbox(label="model", value=SPECIALIST, visible=False)
    answers = [
        gr.File(label="labels", visible=False),
        gr.File(label="alphas", file_count="multiple", visible=False),
        gr.File(label="report", visible=False),
    ]
    endpoint("medical_volume", segment, [volume, prompts, model], answers)


def main() -> int:
    """Serve the app until Ctrl-C."""
    return main_of(TITLE, build, __doc__)


if __name__ == "__main__":
    sys.exit(main())
