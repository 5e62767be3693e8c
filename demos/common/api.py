"""Apps as an API: endpoints that take files and JSON and keep nothing between calls."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from .errors import message_of
from .outbox import Outbox

KEPT_CALLS = 16
"""Calls whose files stay on disk for their download; Gradio keeps its own copies for an hour."""

_calls: deque[Outbox] = deque()
_lock = threading.Lock()


def answer_folder() -> Outbox:
    """A folder for the files of one call; the oldest call's folder is removed."""
    with _lock:
        _calls.append(Outbox())
        if len(_calls) > KEPT_CALLS:
            _calls.popleft().close()
        return _calls[-1]


def endpoint(name: str, answer: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Offer `answer` to `gradio_client` as `api_name="/NAME"`.

    Args:
        name: of the endpoint.
        answer: takes the inputs' values; its docstring describes the endpoint. What it raises is the caller's message.
        inputs, outputs: components, made with `visible=False` in the surrounding blocks.
    """

    def call(*values: Any) -> Any:
        try:
            return answer(*values)
        except Exception as error:
            raise gr.Error(message_of(error), print_exception=False) from error

    button = gr.Button(visible=False)
    description = " ".join((answer.__doc__ or name).split())
    button.click(call, list(inputs), list(outputs), api_name=name, api_description=description)
