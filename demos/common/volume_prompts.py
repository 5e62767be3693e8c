"""What a person points at in a volume, as values: voxels of the file, whatever slice they were seen on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.medical_volume.pointing import ShownSlice
from adapters.medical_volume.prompts import BoxPrompt, PointPrompt, VolumePrompt
from adapters.medical_volume.settings import Settings
from adapters.medical_volume.slicing import AXIS_NAMES
from zim.errors import PromptError

from .errors import LimitError
from .limits import MAX_PROMPTS, MAX_TEXT, number, short, text_within
from .outbox import safe_name
from .prompts import list_of
from .stage import ShownObject

MOST_OBJECTS = 6
FIELDS = ("axis", "window", "consensus", "time", "volume", "model")
"""Of a prompts file beside its objects; `volume` and `model` are for people."""


@dataclass(frozen=True, kw_only=True)
class VolumeObject:
    """Everything that was said of one object; boxes of one slice are prompts on it, a thicker one bounds the object."""

    points: tuple[PointPrompt, ...] = ()
    boxes: tuple[BoxPrompt, ...] = ()

    @property
    def count(self) -> int:
        """Points and boxes together."""
        return len(self.points) + len(self.boxes)

    @property
    def says_where(self) -> bool:
        """Whether there is a box or an object point, not only what is not it."""
        return bool(self.boxes) or any(point.label == 1 for point in self.points)

    def as_prompts(self) -> list[VolumePrompt]:
        """For the adapter."""
        return [*self.points, *self.boxes]

    def with_point(self, point: PointPrompt) -> "VolumeObject":
        """One point more."""
        return _within(replace(self, points=(*self.points, point)))

    def with_box(self, box: BoxPrompt, shown: ShownSlice) -> "VolumeObject":
        """With this box in place of the flat one that was on the slice."""
        return _within(replace(self, boxes=(*(one for one in self.boxes if one != self.flat_box(shown)), box)))

    def with_thick_box(self, box: BoxPrompt, shown: ShownSlice) -> "VolumeObject":
        """With this 3-D box in place of the one before and of the flat one that it was made of."""
        flat = self.flat_box(shown)
        kept = tuple(one for one in self.boxes if one != flat and not thick(one, shown))
        return _within(replace(self, boxes=(*kept, box)))

    def flat_box(self, shown: ShownSlice) -> BoxPrompt | None:
        """The box that lies on this slice alone."""
        on_it = (one for one in self.boxes if not thick(one, shown) and shown.box_in_picture(one))
        return next(on_it, None)

    def on_slice(self, shown: ShownSlice) -> "VolumeObject":
        """What bears on the answer on this slice: its points and its box, and the 3-D box."""
        flat = self.flat_box(shown)
        return VolumeObject(
            points=tuple(point for point in self.points if shown.point_in_picture(point)),
            boxes=tuple(box for box in self.boxes if box == flat or thick(box, shown)),
        )

    def starts_on(self, shown: ShownSlice) -> bool:
        """Whether the slice can be answered by itself."""
        here = (point.label == 1 and shown.point_in_picture(point) for point in self.points)
        return self.flat_box(shown) is not None or any(here)

    def as_json(self, label: str) -> dict[str, Any]:
        """What `request_from_json` reads."""
        return {
            "label": label,
            "points": [[*map(int, point.at), point.label] for point in self.points],
            "boxes": [[*map(int, box.corner), *map(int, box.opposite)] for box in self.boxes],
        }


@dataclass(frozen=True, kw_only=True)
class VolumeDrawing:
    """What undo goes back to. axis: canonical, of the slices that were prompted first: they are followed across it."""

    objects: tuple[VolumeObject, ...] = (VolumeObject(),)
    active: int = 0
    axis: int | None = None

    @property
    def current(self) -> VolumeObject:
        """The object that is being prompted."""
        return self.objects[self.active]

    def with_current(self, one: VolumeObject, axis: int) -> "VolumeDrawing":
        """With the active object changed by what was seen across `axis`."""
        objects = tuple(one if place == self.active else other for place, other in enumerate(self.objects))
        kept = (axis if self.axis is None else self.axis) if any(other.count for other in objects) else None
        return replace(self, objects=objects, axis=kept)

    def labelled(self) -> dict[str, VolumeObject]:
        """Those that were prompted, by name."""
        return {label_of(place): one for place, one in enumerate(self.objects) if one.count}


def label_of(place: int) -> str:
    """The name of an object; 0 is the first."""
    return f"object{place + 1}"


def apply_event(drawing: VolumeDrawing, event: Mapping[str, Any], shown: ShownSlice) -> VolumeDrawing:
    """What the browser reported (kind point or box), added to the active object.

    Raises:
        PromptError: an unknown kind, coordinates outside the slice, or a box on slices of another direction.
        LimitError: no numbers, or too many prompts.
    """
    kind, axis = event.get("kind"), shown.view.axis
    height, width = shown.picture_hw
    if kind == "point":
        x, y, label = number(event.get("x"), "x"), number(event.get("y"), "y"), number(event.get("label"), "label")
        if not (0 <= x < width and 0 <= y < height) or label not in (0, 1):
            raise PromptError(f"point: expected a place on the slice and label 0 or 1, got {short(dict(event))}")
        return drawing.with_current(drawing.current.with_point(shown.point_at(x, y, int(label))), axis)
    if kind != "box":
        raise PromptError(f"kind: expected point or box, got {short(kind)}")
    if drawing.axis not in (None, axis):
        name = AXIS_NAMES[drawing.axis or 0]
        raise PromptError(f"box: the object was prompted on {name} slices; go back to them, or clear it first")
    edges = event.get("box")
    if not isinstance(edges, Sequence) or isinstance(edges, str) or len(edges) != 4:
        raise PromptError(f"box: expected [x1, y1, x2, y2], got {short(edges)}")
    x1, y1, x2, y2 = (number(edge, "box") for edge in edges)
    if max(x1, x2) <= 0 or max(y1, y2) <= 0 or min(x1, x2) >= width or min(y1, y2) >= height:
        raise PromptError(f"box: expected a box on the slice ({width} x {height}), got {short(list(edges))}")
    return drawing.with_current(drawing.current.with_box(shown.box_between(x1, y1, x2, y2), shown), axis)


def shown_object(one: VolumeObject, shown: ShownSlice, colour: str, mattes: Mapping[str, str]) -> ShownObject:
    """An object's prompts where they cut a slice, for the stage. `mattes`: see `ShownObject`."""
    places = [(shown.point_in_picture(point), point.label) for point in one.points]
    boxes = [shown.box_in_picture(box) for box in one.boxes]
    return ShownObject(
        colour=colour,
        points=[[*place, label] for place, label in places if place is not None],
        boxes=[list(box) for box in boxes if box is not None],
        mattes=mattes,
    )


def thick(box: BoxPrompt, shown: ShownSlice) -> bool:
    """Whether a box has several slices of this direction."""
    axis = shown.geometry.reorientation.axes[shown.view.axis]
    return box.corner[axis] != box.opposite[axis]


@dataclass(frozen=True, kw_only=True)
class VolumeRequest:
    """A prompts file or an API call."""

    objects: Mapping[str, VolumeObject]
    settings: Settings
    step: int | None = None


def request_from_json(value: Any) -> VolumeRequest:
    """Objects and settings from JSON; coordinates are voxels of the file, boxes include their corner voxels.

    {"objects": [{"label": "liver", "points": [[i, j, k, 1 or 0]], "boxes": [[i1, j1, k1, i2, j2, k2]]}],
    "axis": "auto", "window": "auto", "consensus": true or false, "time": 0}; all but the prompts may be left out, and
    one object may stand by itself: {"boxes": [[...]]}.

    Raises:
        PromptError, LimitError, ConfigError: anything else; the message names the field.
    """
    if not isinstance(value, Mapping):
        raise PromptError(f"prompts: expected a JSON object, got {short(value)}")
    rest = {key: one for key, one in value.items() if key not in FIELDS}
    objects = rest.pop("objects", None)
    if objects is None:
        objects, rest = [rest], {}
    if rest:
        raise PromptError(f"prompts: expected objects, {', '.join(FIELDS[:4])}, got {short(min(map(str, rest)))}")
    if not isinstance(objects, Sequence) or isinstance(objects, str) or not objects:
        raise PromptError(f"objects: expected a list with at least one object, got {short(objects)}")
    if len(objects) > MOST_OBJECTS:
        raise LimitError(f"objects: expected at most {MOST_OBJECTS}, got {len(objects)}")
    found: dict[str, VolumeObject] = {}
    for place, one in enumerate(objects):
        label, prompts = _object(one, label_of(place))
        if label in found:
            raise PromptError(f"label: expected different names, got {label!r} twice")
        found[label] = prompts
    consensus, step = value.get("consensus"), value.get("time")
    if not isinstance(consensus, bool | None):
        raise PromptError(f"consensus: expected true or false, got {short(consensus)}")
    settings = Settings(
        axis=text_within(value.get("axis", "auto"), "axis"),
        window=text_within(value.get("window", "auto"), "window"),
        consensus=consensus,
    )
    return VolumeRequest(objects=found, settings=settings, step=None if step is None else whole(step, "time"))


def whole(value: Any, name: str) -> int:
    """A whole number.

    Raises:
        LimitError: anything else.
    """
    found = number(value, name)
    if found != int(found):
        raise LimitError(f"{name}: expected a whole number, got {short(value)}")
    return int(found)


def _object(value: Any, default: str) -> tuple[str, VolumeObject]:
    if not isinstance(value, Mapping):
        raise PromptError(f"objects: expected JSON objects, got {short(value)}")
    unknown = set(value) - {"label", "points", "boxes"}
    if unknown:
        raise PromptError(f"prompts: expected label, points and boxes, got {short(min(map(str, unknown)))}")
    label = text_within(value.get("label", default), "label", MAX_TEXT)
    if not label or safe_name(label) != label:
        raise PromptError(f"label: expected letters, digits, dots, dashes and underscores, got {short(label)}")
    points = tuple(_point(one) for one in list_of(value, "points"))
    boxes = tuple(_box(one) for one in list_of(value, "boxes"))
    return label, _within(VolumeObject(points=points, boxes=boxes))


def _numbers(value: Any, names: str, name: str) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(names.split(", ")):
        raise PromptError(f"{name}: expected [{names}], got {short(value)}")
    return [number(one, name) for one in value]


def _point(value: Any) -> PointPrompt:
    i, j, k, label = _numbers(value, "i, j, k, label", "points")
    if label not in (0, 1):
        raise PromptError(f"label: expected 1 (object) or 0 (not it), got {label:g}")
    return PointPrompt(at=(i, j, k), label=int(label))


def _box(value: Any) -> BoxPrompt:
    i1, j1, k1, i2, j2, k2 = _numbers(value, "i1, j1, k1, i2, j2, k2", "boxes")
    return BoxPrompt(corner=(i1, j1, k1), opposite=(i2, j2, k2))


def _within(one: VolumeObject) -> VolumeObject:
    if one.count > MAX_PROMPTS:
        raise LimitError(f"prompts: expected at most {MAX_PROMPTS} for an object, got {one.count}")
    return one
