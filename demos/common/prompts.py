"""One object's prompts as a value: what the browser reports, what JSON files hold, what a predictor is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import PromptError
from zim.prompts import SCRIBBLE_BACKGROUND, SCRIBBLE_FOREGROUND, SCRIBBLE_NOTHING, Prompt, points_from_scribble

from .errors import LimitError
from .limits import MAX_OBJECTS, MAX_PROMPTS, MAX_STROKE_POINTS, number, short

Point = tuple[float, float, int]
Box = tuple[float, float, float, float]
BRUSH_SHARE = 1 / 150
"""Width of a stroke, as a share of the long side."""


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A line painted over the object (label 1) or over what is not it (0); xy in pixels of the photo."""

    label: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class ObjectPrompts:
    """Everything that was said of one object, in pixels of the photo: points (x, y, label), xyxy boxes, strokes."""

    points: tuple[Point, ...] = ()
    box: Box | None = None
    strokes: tuple[Stroke, ...] = ()

    @property
    def count(self) -> int:
        """Points, strokes and box together."""
        return len(self.points) + len(self.strokes) + (self.box is not None)

    def with_point(self, point: Point) -> "ObjectPrompts":
        """One point more."""
        return _within(replace(self, points=(*self.points, point)))

    def with_box(self, box: Box) -> "ObjectPrompts":
        """With this box in place of the one before."""
        return _within(replace(self, box=box))

    def with_stroke(self, stroke: Stroke) -> "ObjectPrompts":
        """One stroke more."""
        return _within(replace(self, strokes=(*self.strokes, stroke)))

    def as_prompt(self, scale: float, hw: tuple[int, int]) -> Prompt:
        """For a picture of size `hw` that is the photo times `scale`.

        Raises:
            PromptError: nothing was said.
        """
        if not self.count:
            raise PromptError("prompt: expected a point, a box or a stroke, got none")
        points = [(*_centre(x, y, scale, hw), label) for x, y, label in self.points]
        if self.strokes:
            coords, labels = points_from_scribble(_painted(self.strokes, scale, hw))
            points += [(float(x), float(y), int(label)) for (x, y), label in zip(coords, labels, strict=True)]
        box = None if self.box is None else np.array(self.box, np.float32) * np.float32(scale)
        return Prompt(
            point_coords=np.array([point[:2] for point in points], np.float32) if points else None,
            point_labels=np.array([point[2] for point in points], np.int32) if points else None,
            box=box,
        )

    def as_json(self) -> dict[str, Any]:
        """What `prompts_from_json` reads."""
        return {
            "points": [list(point) for point in self.points],
            "box": None if self.box is None else list(self.box),
            "strokes": [{"label": one.label, "points": [list(xy) for xy in one.points]} for one in self.strokes],
        }


def apply_event(prompts: ObjectPrompts, event: Mapping[str, Any], hw: tuple[int, int]) -> ObjectPrompts:
    """What the browser reported (kind point, box or stroke), added.

    Raises:
        PromptError: an unknown kind, or coordinates outside the photo.
        LimitError: no numbers, or too many prompts.
    """
    kind = event.get("kind")
    if kind == "point":
        return prompts.with_point(_point([event.get("x"), event.get("y"), event.get("label")], hw))
    if kind == "box":
        return prompts.with_box(_box(event.get("box"), hw))
    if kind == "stroke":
        return prompts.with_stroke(_stroke(event, hw))
    raise PromptError(f"kind: expected point, box or stroke, got {short(kind)}")


def prompts_from_json(value: Any, hw: tuple[int, int]) -> tuple[ObjectPrompts, ...]:
    """The objects of a prompts file or of an API call.

    {"objects": [{"points": [[x, y, label]], "box": [x1, y1, x2, y2], "strokes": [{"label": 1, "points": [[x, y]]}]}]},
    or one such object by itself.

    Raises:
        PromptError, LimitError: anything else; the message names the field.
    """
    if not isinstance(value, Mapping):
        raise PromptError(f"prompts: expected a JSON object, got {short(value)}")
    objects = value.get("objects", [value])
    if not isinstance(objects, Sequence) or isinstance(objects, str) or not objects:
        raise PromptError(f"objects: expected a list with at least one object, got {short(objects)}")
    if len(objects) > MAX_OBJECTS:
        raise LimitError(f"objects: expected at most {MAX_OBJECTS}, got {len(objects)}")
    return tuple(_object(one, hw) for one in objects)


def _object(value: Any, hw: tuple[int, int]) -> ObjectPrompts:
    if not isinstance(value, Mapping):
        raise PromptError(f"objects: expected JSON objects, got {short(value)}")
    unknown = set(value) - {"points", "box", "strokes", "image", "size", "name"}
    if unknown:
        raise PromptError(f"prompts: expected points, box and strokes, got {short(sorted(map(str, unknown))[0])}")
    points, strokes = list_of(value, "points"), list_of(value, "strokes")
    box = value.get("box")
    prompts = ObjectPrompts(
        points=tuple(_point(one, hw) for one in points),
        box=None if box is None else _box(box, hw),
        strokes=tuple(_stroke(one, hw) for one in strokes),
    )
    if not prompts.count:
        raise PromptError("prompts: expected a point, a box or a stroke, got none")
    return _within(prompts)


def list_of(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A field of at most MAX_PROMPTS entries; empty where it is missing."""
    found = value.get(name) or []
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise PromptError(f"{name}: expected a list, got {short(found)}")
    if len(found) > MAX_PROMPTS:
        raise LimitError(f"{name}: expected at most {MAX_PROMPTS}, got {len(found)}")
    return found


def _within(prompts: ObjectPrompts) -> ObjectPrompts:
    if prompts.count > MAX_PROMPTS:
        raise LimitError(f"prompts: expected at most {MAX_PROMPTS} for an object, got {prompts.count}")
    return prompts


def _xy(value: Any, hw: tuple[int, int]) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise PromptError(f"point: expected [x, y], got {short(value)}")
    x, y = number(value[0], "x"), number(value[1], "y")
    if not (0 <= x < hw[1] and 0 <= y < hw[0]):
        raise PromptError(f"point: expected a place in the photo ({hw[1]} x {hw[0]}), got ({x:g}, {y:g})")
    return x, y


def _point(value: Any, hw: tuple[int, int]) -> Point:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        raise PromptError(f"point: expected [x, y, label], got {short(value)}")
    if value[2] not in (0, 1):
        raise PromptError(f"label: expected 1 (object) or 0 (not it), got {short(value[2])}")
    x, y = _xy(value[:2], hw)
    return x, y, int(value[2])


def _box(value: Any, hw: tuple[int, int]) -> Box:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 4:
        raise PromptError(f"box: expected [x1, y1, x2, y2], got {short(value)}")
    x1, y1, x2, y2 = (number(one, "box") for one in value)
    x1, x2, y1, y2 = max(x1, 0.0), min(x2, hw[1]), max(y1, 0.0), min(y2, hw[0])
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise PromptError(f"box: expected x1 < x2 and y1 < y2 inside the photo ({hw[1]} x {hw[0]}), got {short(value)}")
    return x1, y1, x2, y2


def _stroke(value: Any, hw: tuple[int, int]) -> Stroke:
    if not isinstance(value, Mapping) or value.get("label") not in (0, 1):
        raise PromptError(f'stroke: expected {{"label": 0 or 1, "points": [[x, y], ...]}}, got {short(value)}')
    points = value.get("points")
    if not isinstance(points, Sequence) or isinstance(points, str) or not points:
        raise PromptError(f"stroke: expected at least one point, got {short(points)}")
    if len(points) > MAX_STROKE_POINTS:
        raise LimitError(f"stroke: expected at most {MAX_STROKE_POINTS} points, got {len(points)}")
    return Stroke(label=int(value["label"]), points=tuple(_xy(one, hw) for one in points))


def _centre(x: float, y: float, scale: float, hw: tuple[int, int]) -> tuple[float, float]:
    """A pixel of the photo in the scaled picture: its centre goes to where it lies there."""
    return (
        float(np.clip((x + 0.5) * scale - 0.5, 0, hw[1] - 1)),
        float(np.clip((y + 0.5) * scale - 0.5, 0, hw[0] - 1)),
    )


def _painted(strokes: Sequence[Stroke], scale: float, hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Strokes as a scribble (H, W) uint8; later ones lie on top."""
    scribble = np.full(hw, SCRIBBLE_NOTHING, np.uint8)
    width = max(1, round(max(hw) * BRUSH_SHARE))
    for stroke in strokes:
        line = np.rint([_centre(x, y, scale, hw) for x, y in stroke.points]).astype(np.int32)
        colour = SCRIBBLE_FOREGROUND if stroke.label else SCRIBBLE_BACKGROUND
        cv2.polylines(scribble, [line], False, colour, width)
        cv2.circle(scribble, (int(line[0, 0]), int(line[0, 1])), width // 2, colour, cv2.FILLED)  # a dab has no length
    return scribble
