"""A button that makes a file and hands it over with one click."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from .errors import message_of

Make = Callable[..., Path]
"""Inputs' values -> the finished file."""


def download(label: str, make: Make, inputs: list[Any], *, elem_id: str, **look: Any) -> gr.Button:
    """A button; what `make` raises is shown as a message.

    Gradio's download button hands over the file that it was given before it was clicked, so a hidden one is clicked
    once the file is there.
    """
    button = gr.Button(label, size="sm", elem_id=elem_id, **look)
    link = gr.DownloadButton("Download", elem_id=f"{elem_id}-link", elem_classes="hidden-link")

    def prepare(*values: Any) -> str:
        try:
            return str(make(*values))
        except Exception as error:
            raise gr.Error(message_of(error), print_exception=False) from error

    link_id = f"#{elem_id}-link"
    click = f"() => {{ const link = document.querySelector('{link_id}'); (link.querySelector('a') || link).click(); }}"
    made = button.click(prepare, inputs, [link], show_progress="minimal", api_visibility="private")
    made.success(None, None, None, js=click, api_visibility="private")
    return button
