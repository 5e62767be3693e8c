"""How an app is served: options of the command line, limits, look, and what every app has at its foot."""

import argparse
import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from zim.errors import ZimError
from zim.text_detection import TextDetector, load_text_detector

from .limits import MAX_UPLOAD_BYTES, QUEUE
from .models import ModelPool
from .stage import CSS

SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
PAGE_CSS = """
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
.examples-row { gap: 8px; flex-wrap: wrap; }
.examples-row button { min-width: 90px !important; }
@media (max-width: 640px) { .prose td, .prose th { padding: 6px 8px !important; font-size: 13px !important; } }
.hidden-link {
  position: absolute !important; width: 1px; height: 1px; overflow: hidden; opacity: 0; pointer-events: none;
}
"""
SESSIONS = 64
"""Browsers whose state is kept; the longest unused go first."""
STATE_SECONDS = 3600.0
PARALLEL = 8
"""Requests that are worked on at once; at the models they take turns."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the apps share: models, the names of the one that is shown and the one it is compared with, a detector."""

    pool: ModelPool
    model: str = "zim_tiny"
    baseline: str | None = "sam_tiny"
    detector: TextDetector | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Who answers: the model, and the baseline if there is one."""
        return (self.model,) if self.baseline is None else (self.model, self.baseline)


Build = Callable[[Services], None]
"""Puts an app's components into the surrounding `gr.Blocks`."""


def blocks(title: str, build: Build, services: Services) -> gr.Blocks:
    """An app by itself."""
    _own_folder()
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 3600)) as app:
        build(services)
    return app


def _own_folder() -> None:
    """A folder of this process for Gradio's copies: several apps on one machine must not empty each other's."""
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="zim-gradio-")
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def launch(app: gr.Blocks, *, host: str = "127.0.0.1", port: int | None = None, wait: bool = True) -> str:
    """Serve an app and return its address; with `wait`, until Ctrl-C."""
    app.queue(max_size=QUEUE, default_concurrency_limit=PARALLEL, api_open=False)
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not wait,
        max_file_size=MAX_UPLOAD_BYTES,
        state_session_capacity=SESSIONS,
        theme=_theme(),
        css=PAGE_CSS + CSS,
        footer_links=["api"],
        share=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        quiet=not wait,
    )
    return str(address)


def _theme() -> gr.themes.Base:
    """System fonts, so that nothing is fetched from elsewhere; buttons dark enough for white letters."""
    theme = gr.themes.Default(primary_hue="blue", font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"])
    return theme.set(button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700")


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that all apps have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--model", default="zim_tiny", help="what zim.load_predictor answers (default zim_tiny)")
    parser.add_argument("--baseline", default="sam_tiny", help="what it is compared with; 'none' leaves it out")
    parser.add_argument("--detector", help="finds what words name: as for `zim matte --detector`")
    return parser


def main_of(title: str, build: Build, description: str | None, arguments: Sequence[str] | None = None) -> int:
    """The command line of an app. Returns 0, or 1 after an error of one line."""
    options = parser_of(description).parse_args(arguments)
    try:
        services = services_of(options)
        launch(blocks(title, build, services), host=options.host, port=options.port)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def services_of(options: argparse.Namespace) -> Services:
    """Load what the options name.

    Raises:
        ZimError: nothing answers to a name.
    """
    pool = ModelPool()
    baseline = None if options.baseline in ("none", options.model) else options.baseline
    pool.warm(options.model)
    if baseline is not None:
        try:
            pool.warm(baseline)
        except ZimError as error:
            print(f"without the baseline: {error}", file=sys.stderr)
            baseline = None
    detector = load_text_detector(options.detector) if options.detector else None
    return Services(pool=pool, model=options.model, baseline=baseline, detector=detector)


def state(value: Any = None, close: Callable[[Any], None] | None = None) -> gr.State:
    """Per-person state, forgotten after an hour without use; `close` tidies up after it."""
    return gr.State(value, time_to_live=STATE_SECONDS, delete_callback=close)
