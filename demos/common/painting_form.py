"""The form of the inpainting app: settings, and a tab for each thing to do."""

from typing import Any

import gradio as gr

from adapters.inpaint_anything.compositing import REFINE
from adapters.inpaint_anything.inpainting import PaintSettings
from adapters.inpaint_anything.masks import THRESHOLD
from adapters.inpaint_anything.results import Task

from .painting import NO_TEXT_ENGINE, Engines

OPENCV_ONLY = (
    "OpenCV paints here: quick and smooth, so that large holes look blurred. LaMa continues textures: "
    "`python -m adapters.inpaint_anything download lama`, then start this app with `--lama big-lama.pt`."
)
HOW_TO_FILL = (
    f"Fill {NO_TEXT_ENGINE}. It needs `pip install 'zim-matting[inpaint]'` and the model's weights "
    "(several gigabytes, which diffusers fetches), and a GPU if you do not want to wait."
)
COLOUR, PICTURE, WORDS = "A colour", "A picture", "Words"


def settings_controls() -> dict[str, Any]:
    """How much is painted, by the names of OPTIONS, with the adapter's defaults."""
    with gr.Row():
        dilation = gr.Textbox(label="Grow the mask by (px)", placeholder="automatic", elem_id="inpaint-dilation")
        feather = gr.Textbox(label="Soft seam (px)", placeholder="automatic", elem_id="inpaint-feather")
        threshold = gr.Slider(
            0, 0.95, THRESHOLD, step=0.05, label="Object where alpha is above", elem_id="inpaint-threshold"
        )
    with gr.Row():
        context = gr.Slider(
            0, 2, PaintSettings.context, step=0.1, label="Surroundings that are seen", elem_id="inpaint-context"
        )
        seed = gr.Number(0, label="Seed of a diffusion model", precision=0, minimum=0, elem_id="inpaint-seed")
    with gr.Row():
        shadows = gr.Checkbox(False, label="Remove its soft shadow too (even ground only)", elem_id="inpaint-shadows")
        refine = gr.Checkbox(REFINE > 0, label="Replace: refine uncertain edges", elem_id="inpaint-refine")
    return {
        "dilation": dilation,
        "feather": feather,
        "threshold": threshold,
        "context": context,
        "seed": seed,
        "shadows": shadows,
        "refine": refine,
    }


def _engine_choice(engines: Engines, task: Task) -> gr.Radio:
    names = [name for name, engine in engines.items() if task == "remove" or engine.follows_text]
    return gr.Radio(names, value=names[0], label="Painted by", visible=len(names) > 1, elem_id=f"inpaint-{task}-engine")


def remove_tab(engines: Engines) -> tuple[gr.Button, dict[str, Any]]:
    """The button, and the values that it takes beyond the settings."""
    with gr.Tab("Remove", elem_id="inpaint-tab-remove"):
        if len(engines) == 1:
            gr.Markdown(OPENCV_ONLY)
        own = {"engine": _engine_choice(engines, "remove")}
        return gr.Button("Remove it", variant="primary", elem_id="inpaint-remove"), own


def fill_tab(engines: Engines) -> tuple[gr.Button, dict[str, Any]] | None:
    """As `remove_tab`; where no engine follows words, how to get one, and None."""
    with gr.Tab("Fill", elem_id="inpaint-tab-fill"):
        if not _follow_text(engines):
            gr.Markdown(HOW_TO_FILL, elem_id="inpaint-fill-how")
            return None
        text = gr.Textbox(label="Paint in its place", placeholder="a teddy bear on a bench", elem_id="inpaint-text")
        own = {"engine": _engine_choice(engines, "fill"), "text": text}
        return gr.Button("Fill", variant="primary", elem_id="inpaint-fill"), own


def replace_tab(engines: Engines) -> tuple[gr.Button, dict[str, Any]]:
    """As `remove_tab`; `kind` says which of COLOUR, PICTURE and WORDS counts."""
    with gr.Tab("Replace background", elem_id="inpaint-tab-replace"):
        kinds = [COLOUR, PICTURE, *([WORDS] if _follow_text(engines) else [])]
        with gr.Row():
            # Beside its details, not below: a colour picker that closes would move the button from under the mouse.
            with gr.Column():
                kind = gr.Radio(kinds, value=COLOUR, label="New background", elem_id="inpaint-kind")
                button = gr.Button("Replace the background", variant="primary", elem_id="inpaint-replace")
            with gr.Column():
                colour = gr.ColorPicker("#0050c8", label="Colour", elem_id="inpaint-colour")
                picture = gr.File(
                    label="Picture",
                    file_types=["image"],
                    type="filepath",
                    height=140,
                    visible=False,
                    elem_id="inpaint-picture",
                )
                text = gr.Textbox(
                    label="What is behind it", placeholder="a beach", visible=False, elem_id="inpaint-background-text"
                )
        own: dict[str, Any] = {"kind": kind, "background": colour, "picture": picture, "text": text}
        if WORDS in kinds:
            own["engine"] = _engine_choice(engines, "replace")
        kind.change(_shown_kind, [kind], [colour, picture, text], api_visibility="private", show_progress="hidden")
        return button, own


def _follow_text(engines: Engines) -> bool:
    return any(engine.follows_text for engine in engines.values())


def _shown_kind(kind: Any) -> tuple[Any, ...]:
    return tuple(gr.update(visible=kind == one) for one in (COLOUR, PICTURE, WORDS))
