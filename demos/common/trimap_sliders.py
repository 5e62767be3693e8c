"""The settings of Matte-Anything's two kinds of trimap."""

from typing import Any

import gradio as gr

from adapters.matte_anything import KernelTrimap, MatteTrimap

from .matte_job import MAX_ITERATIONS


def trimap_sliders(mode: gr.Radio, name: str) -> list[gr.Slider]:
    """Low, high, band, erode, dilate and iterations, in the surrounding blocks; those of the mode's kind are shown.

    Args:
        mode: the choice of the mode.
        name: of the app; ids begin with it.
    """

    def slider(field: str, label: str, low: float, high: float, value: float, step: float) -> gr.Slider:
        return gr.Slider(low, high, value, step=step, label=label, elem_id=f"{name}-{field}", min_width=200)

    soft, hard = MatteTrimap(), KernelTrimap()
    with gr.Accordion("Trimap", open=False, elem_id=f"{name}-trimap-settings"):
        with gr.Row() as bands:
            low = slider("low", "Background: alpha at most", 0, 0.5, soft.low, 0.01)
            high = slider("high", "Object: alpha at least", 0.5, 1, soft.high, 0.01)
            band = slider("band", "Unknown band, share of the object's size", 0, 0.3, soft.band_share, 0.01)
        with gr.Row(visible=False) as kernels:
            erode = slider("erode", "Erode the object, pixels", 1, 30, hard.erode, 1)
            dilate = slider("dilate", "Dilate the object, pixels", 1, 30, hard.dilate, 1)
            times = slider("iterations", "Times", 1, MAX_ITERATIONS, hard.iterations, 1)

    def shown(chosen: str) -> tuple[Any, Any]:
        kernel = str(chosen).startswith("sam")
        return gr.update(visible=not kernel), gr.update(visible=kernel)

    mode.change(shown, [mode], [bands, kernels], show_progress="hidden", api_visibility="private")
    return [low, high, band, erode, dilate, times]
