"""All apps in one page, in tabs; models are loaded once.

    python demos/gallery.py [--port 7860] [--model zim_tiny] [--baseline sam_tiny] [--detector NAME] [--apps NAME ...]

Every app's API endpoint is there too: `Client("http://127.0.0.1:7860").view_api()` lists them.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr

from demos.common.serving import Services, blocks, launch, parser_of, services_of
from zim.errors import ConfigError, ZimError

TITLE = "ZIM gallery"
APPS = (
    "click_to_matte",
    "matte_anything",
    "hq_sam",
    "inpaint_anything",
    "everything",
    "medical_volume",
    "multiview_3d",
    "compare",
)


def modules(names: Sequence[str]) -> list[ModuleType]:
    """The apps of these names.

    Raises:
        ConfigError: no app of that name.
    """
    unknown = [name for name in names if name not in APPS]
    if unknown:
        raise ConfigError(f"--apps: expected names of {', '.join(APPS)}, got {unknown[0]!r}")
    return [importlib.import_module(f"demos.{name}") for name in names]


def build(services: Services, apps: Sequence[str] = APPS) -> None:
    """One tab for each app, in the surrounding blocks."""
    with gr.Tabs():
        for module in modules(apps):
            with gr.Tab(module.TITLE, id=module.__name__.rpartition(".")[2]):
                module.build(services)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the gallery until Ctrl-C. Returns 0, or 1 after an error of one line."""
    parser = parser_of(__doc__)
    parser.add_argument("--apps", nargs="+", default=list(APPS), metavar="NAME", help="only these, in this order")
    options = parser.parse_args(arguments)
    try:
        modules(options.apps)
        services = services_of(options)
        app = blocks(TITLE, lambda given: build(given, options.apps), services)
        launch(app, host=options.host, port=options.port)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
