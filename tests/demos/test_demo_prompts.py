"""Prompts of the demos: what a browser or a file says, checked and turned into what a predictor is asked."""

import json
import math
from typing import Any

import numpy as np
import pytest

from demos.common.errors import LimitError
from demos.common.prompts import ObjectPrompts, Stroke, apply_event, prompts_from_json
from zim.errors import PromptError, ZimError

HW = (100, 200)


def test_a_file_of_prompts_reads_back_what_was_drawn() -> None:
    drawn = ObjectPrompts()
    for event in (
        {"kind": "point", "x": 3, "y": 4, "label": 1},
        {"kind": "point", "x": 199, "y": 99, "label": 0},
        {"kind": "box", "box": [10, 20, 30, 40]},
        {"kind": "stroke", "label": 1, "points": [[5, 6], [7, 8]]},
    ):
        drawn = apply_event(drawn, event, HW)
    assert prompts_from_json(json.loads(json.dumps(drawn.as_json())), HW) == (drawn,)
    assert prompts_from_json({"objects": [drawn.as_json(), drawn.as_json()]}, HW) == (drawn, drawn)


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.1])
def test_points_and_boxes_go_where_their_pixels_go(scale: float) -> None:
    hw = round(HW[0] * scale), round(HW[1] * scale)
    drawn = ObjectPrompts(points=((120, 40, 1),), box=(10, 20, 110, 90))
    prompt = drawn.as_prompt(scale, hw)
    assert prompt.point_coords is not None and prompt.box is not None
    assert np.allclose((prompt.point_coords[0] + 0.5) / scale, (120.5, 40.5), atol=1e-4)
    assert np.allclose(prompt.box / scale, (10, 20, 110, 90), atol=1e-4)


def test_a_stroke_becomes_points_on_it() -> None:
    drawn = ObjectPrompts(strokes=(Stroke(label=1, points=((20, 50), (180, 50))), Stroke(label=0, points=((5, 5),))))
    prompt = drawn.as_prompt(1.0, HW)
    assert prompt.point_coords is not None and prompt.point_labels is not None
    on, off = prompt.point_coords[prompt.point_labels == 1], prompt.point_coords[prompt.point_labels == 0]
    assert len(on) > 8
    assert np.abs(on[:, 1] - 50).max() <= 2
    assert on[:, 0].min() < 40 and on[:, 0].max() > 160
    assert np.abs(off - 5).max() <= 2


def test_nothing_said_is_an_error() -> None:
    with pytest.raises(PromptError, match="expected a point, a box or a stroke"):
        ObjectPrompts().as_prompt(1.0, HW)


NAN, INFINITE = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, "expected a JSON object"),
        ([1], "expected a JSON object"),
        ("points", "expected a JSON object"),
        ({}, "expected a point, a box or a stroke"),
        ({"objects": []}, "at least one object"),
        ({"objects": "all"}, "at least one object"),
        ({"objects": [[]]}, "expected JSON objects"),
        ({"objects": [{"points": [[1, 1, 1]]}] * 17}, "at most 16"),
        ({"points": 3}, "points: expected a list"),
        ({"points": [[1, 1]]}, r"expected \[x, y, label\]"),
        ({"points": [[1, 1, 2]]}, "label: expected 1"),
        ({"points": [[NAN, 1, 1]]}, "x: expected a finite number"),
        ({"points": [[1, INFINITE, 1]]}, "y: expected a finite number"),
        ({"points": [["1", 1, 1]]}, "x: expected a finite number"),
        ({"points": [[True, 1, 1]]}, "x: expected a finite number"),
        ({"points": [[200, 1, 1]]}, r"expected a place in the photo \(200 x 100\)"),
        ({"points": [[1, 1, 1]] * 10_000}, "at most 64, got 10000"),
        ({"points": [[1, 1, 1]] * 60, "strokes": [{"label": 1, "points": [[1, 1]]}] * 10}, "at most 64"),
        ({"box": [1, 2, 3]}, "x1, y1, x2, y2"),
        ({"box": [10, 10, 10, 20]}, "x1 < x2"),
        ({"box": [300, 10, 400, 20]}, "x1 < x2"),
        ({"box": [NAN, 1, 2, 3]}, "box: expected a finite number"),
        ({"strokes": [{"label": 5, "points": [[1, 1]]}]}, "stroke: expected"),
        ({"strokes": [{"label": 1, "points": []}]}, "at least one point"),
        ({"strokes": [{"label": 1, "points": [[1, 1]] * 5000}]}, "at most 512"),
        ({"path": "../../etc/passwd", "points": [[1, 1, 1]]}, "expected points, box and strokes, got 'path'"),
    ],
)
def test_bad_prompts_are_named(value: Any, match: str) -> None:
    with pytest.raises(ZimError, match=match):
        prompts_from_json(value, HW)


def test_the_65th_prompt_is_refused_and_the_64_stay() -> None:
    drawn = ObjectPrompts()
    for i in range(64):
        drawn = apply_event(drawn, {"kind": "point", "x": i, "y": 1, "label": 1}, HW)
    with pytest.raises(LimitError, match="at most 64"):
        apply_event(drawn, {"kind": "point", "x": 70, "y": 1, "label": 1}, HW)
    assert drawn.count == 64


def test_an_unknown_event_is_named() -> None:
    with pytest.raises(PromptError, match="expected point, box or stroke, got 'shutdown'"):
        apply_event(ObjectPrompts(), {"kind": "shutdown"}, HW)
