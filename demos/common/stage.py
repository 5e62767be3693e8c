"""The picture that one prompts by mouse, finger or keyboard, as a Gradio component.

Gradio's own picture component reports clicks only, on the picture as it was sent. This one draws boxes and strokes,
zooms, shows mattes, cut-outs and a comparison, and reports places in pixels of the photo, whatever size is shown. Its
event is `prompt`; the event's data has a `kind` (point, box, stroke, undo, redo, look, refresh) and the current `view`.
Its value is made by `StageValue`, never read back.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
Tool = Literal["foreground", "background", "box", "brush", "eraser"]
TOOLS: tuple[Tool, ...] = ("foreground", "background", "box", "brush", "eraser")
COLOURS = ("#3b82f6", "#f59e0b", "#a855f7", "#14b8a6", "#ef4444", "#84cc16", "#ec4899", "#64748b")
CSS = (HERE / "stage.css").read_text()


def stage(tools: Sequence[Tool] = TOOLS, *, elem_id: str = "stage") -> gr.HTML:
    """The picture that one prompts, in the surrounding blocks.

    No subclass of `gr.HTML`: for those Gradio writes a file of type hints beside the source.

    Args:
        tools: what it offers, in this order.
        elem_id: of the element; ends in "-stage" where an upload button of the same prefix takes dropped photos.
    """
    return gr.HTML(
        value=StageValue(tools=tools).as_dict(),
        html_template=(HERE / "stage.html").read_text(),
        js_on_load=(HERE / "stage.js").read_text(),
        apply_default_css=False,
        elem_id=elem_id,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownObject:
    """One object: colour of its matte, what was said of it, and keys of its mattes and cut-outs by layer."""

    colour: str
    points: Sequence[Sequence[float]] = ()
    boxes: Sequence[Sequence[float]] = ()
    strokes: Sequence[Mapping[str, Any]] = ()
    mattes: Mapping[str, str] = field(default_factory=dict)
    cutouts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class StageValue:
    """All that is shown.

    photo: key and size (height, width) of the photo, or None. layers: names of who answered; the first is shown, two
    are compared. pictures: name -> key of further pictures of the photo's frame. assets: key -> data URL of what the
    browser may not have yet. show: the view to go to. busy: an answer is still to come.
    """

    revision: int = 0
    tools: Sequence[Tool] = TOOLS
    photo: tuple[str, tuple[int, int]] | None = None
    layers: Sequence[str] = ()
    objects: Sequence[ShownObject] = ()
    active: int = 0
    pictures: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    error: bool = False
    show: str | None = None
    busy: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What stage.js reads."""
        photo = None
        if self.photo is not None:
            key, (height, width) = self.photo
            photo = {"key": key, "width": width, "height": height}
        return {
            "revision": self.revision,
            "tools": list(self.tools),
            "photo": photo,
            "layers": list(self.layers),
            "objects": [vars(one) for one in self.objects],
            "active": self.active,
            "pictures": [{"name": name, "key": key} for name, key in self.pictures.items()],
            "assets": dict(self.assets),
            "message": self.message,
            "error": self.error,
            "show": self.show,
            "busy": self.busy,
        }


def photo_url(picture: NDArray[np.uint8]) -> str:
    """(H, W, 3) uint8 RGB as a JPEG data URL."""
    return _url("jpeg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])


def matte_url(alpha: NDArray[np.float32]) -> str:
    """(H, W) float in [0, 1] as a data URL of a black PNG with that alpha."""
    pixels = np.zeros((*alpha.shape, 4), np.uint8)
    pixels[..., 3] = alpha * 255.0 + 0.5
    return _url("png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def cutout_url(rgba: NDArray[np.uint8]) -> str:
    """(H, W, 4) uint8 RGBA as a PNG data URL."""
    return _url("png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _url(kind: str, pixels: NDArray[Any], options: list[int]) -> str:
    written, data = cv2.imencode(f".{kind}", pixels, options)
    if not written:
        raise ValueError(f"a picture of shape {pixels.shape} could not be encoded as {kind}")
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
