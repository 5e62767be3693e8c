"""Every prompt that cannot be meant is a PromptError (a ValueError) that names the argument."""

from typing import Any

import numpy as np
import pytest
import torch

from zim.checks import check_positive_int, prompts_of_batch, prompts_of_one
from zim.errors import ConfigError, PromptError

FRAME = {"frame_hw": (90, 160), "img_size": 128}
NAN, INF = float("nan"), float("inf")
LOGITS = np.zeros((1, 32, 32), dtype=np.float32)


def one(point_coords: Any = None, point_labels: Any = None, box: Any = None, mask_input: Any = None) -> Any:
    return prompts_of_one(point_coords, point_labels, box, mask_input, **FRAME)


def batch(point_coords: Any = None, point_labels: Any = None, boxes: Any = None, mask_input: Any = None) -> Any:
    return prompts_of_batch(point_coords, point_labels, boxes, mask_input, **FRAME)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "prompt: expected at least one of"),
        ({"point_coords": [], "point_labels": []}, "prompt: expected at least one of"),
        ({"point_coords": [[1, 2]]}, r"point_labels: expected \(N,\) labels with point_coords, got None"),
        ({"point_labels": [1]}, r"point_coords: expected \(N, 2\) coordinates with point_labels, got None"),
        ({"point_coords": [1, 2], "point_labels": [1]}, r"point_coords: expected shape \(N, 2\), got \(2,\)"),
        (
            {"point_coords": [[[1, 2]]], "point_labels": [[1]]},
            r"point_coords: expected shape \(N, 2\), got \(1, 1, 2\)",
        ),
        (
            {"point_coords": [[1, 2, 3]], "point_labels": [1]},
            r"point_coords: expected shape \(N, 2\), got \(1, 3\)",
        ),
        (
            {"point_coords": [[1, 2]], "point_labels": [1, 0]},
            r"point_labels: expected shape \(1,\) .*, got \(2,\)",
        ),
        ({"point_coords": [[1, 2]], "point_labels": 1}, r"point_labels: expected shape \(1,\) .*, got \(\)"),
        (
            {"point_coords": [[1, 2]], "point_labels": [2]},
            r"point_labels: expected 1 .foreground.*, got \[2\]",
        ),
        ({"point_coords": [[1, 2]], "point_labels": [0.5]}, r"point_labels: expected 1 .*, got \[0.5\]"),
        ({"point_coords": [[1, 2]], "point_labels": [NAN]}, "point_labels: expected finite values"),
        (
            {"point_coords": [[1, 2]], "point_labels": ["1"]},
            "point_labels: expected an array of numbers, got list",
        ),
        (
            {"point_coords": [[1, NAN]], "point_labels": [1]},
            "point_coords: expected finite values, got NaN or infinity",
        ),
        ({"point_coords": [[1, INF]], "point_labels": [1]}, "point_coords: expected finite values"),
        (
            {"point_coords": [[1, 2], [3]], "point_labels": [1, 1]},
            "point_coords: expected an array of numbers",
        ),
        (
            {"point_coords": "ab", "point_labels": [1]},
            "point_coords: expected an array of numbers, got str 'ab'",
        ),
        ({"point_coords": [[1j, 2]], "point_labels": [1]}, "point_coords: expected an array of numbers"),
        ({"point_coords": [[True, False]], "point_labels": [1]}, "point_coords: expected real numbers"),
        ({"box": [1, 2, 3]}, r"box: expected shape \(4,\) or \(1, 4\), got \(3,\)"),
        ({"box": np.zeros((0, 4))}, r"box: expected shape \(4,\) or \(1, 4\), got \(0, 4\)"),
        ({"box": np.zeros((1, 1, 4))}, r"box: expected shape .* got \(1, 1, 4\)"),
        ({"box": np.zeros((3, 4))}, "box: expected one box .* got 3 boxes; use predict_many"),
        ({"box": [5, 5, 4, 9]}, r"box: expected x1 <= x2 and y1 <= y2 \(xyxy\), got \[5.0, 5.0, 4.0, 9.0\]"),
        ({"box": [5, 5, 9, 4]}, "box: expected x1 <= x2"),
        ({"box": [5, 5, NAN, 9]}, "box: expected finite values"),
        ({"box": [160, 5, 170, 9]}, "box: expected a box that touches the 160 x 90 frame"),
        ({"box": object()}, "box: expected an array of numbers, got object"),
        (
            {"mask_input": np.zeros((1, 32, 33), dtype=np.float32)},
            r"mask_input: expected shape \(1, 32, 32\) or \(1, 64, 64\)",
        ),
        (
            {"mask_input": np.zeros((3, 32, 32), dtype=np.float32)},
            r"mask_input: expected one map .*low_res\[best\]\[None\]",
        ),
        (
            {"mask_input": np.zeros((1, 1, 32, 32), dtype=np.float32)},
            r"mask_input: expected shape .* got \(1, 1, 32, 32\)",
        ),
        ({"mask_input": np.zeros(32, dtype=np.float32)}, r"mask_input: expected shape .* got \(32,\)"),
        (
            {"mask_input": np.zeros((1, 32, 32), dtype=bool)},
            "mask_input: expected float logits, got bool array .*mask_input_from_mask",
        ),
        (
            {"mask_input": np.zeros((1, 32, 32), dtype=np.uint8)},
            "mask_input: expected float logits, got uint8",
        ),
        ({"mask_input": LOGITS + INF}, "mask_input: expected finite values"),
    ],
)
def test_one_prompt_is_refused(prompt: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        one(**prompt)
    assert isinstance(caught.value, PromptError)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "prompt: expected at least one of"),
        (
            {"point_coords": torch.zeros(2, 2), "point_labels": torch.zeros(2)},
            r"point_coords: expected shape \(B, N, 2\)",
        ),
        (
            {"point_coords": torch.zeros(2, 1, 2), "point_labels": torch.zeros(2)},
            r"point_labels: expected shape \(2, 1\)",
        ),
        ({"point_coords": torch.zeros(2, 1, 2), "point_labels": torch.full((2, 1), 3)}, r"got \[3\]"),
        ({"boxes": torch.zeros(4)}, r"boxes: expected shape \(B, 4\), got \(4,\)"),
        ({"boxes": torch.zeros(0, 4)}, "prompt: expected at least one row, got batch sizes {'boxes': 0}"),
        (
            {"boxes": torch.tensor([[0.0, 0, 5, 5], [9, 9, 5, 5]])},
            r"boxes: expected x1 <= x2 .* got \[9.0, 9.0, 5.0, 5.0\]",
        ),
        (
            {"boxes": torch.zeros(3, 4), "mask_input": torch.zeros(2, 1, 32, 32)},
            "one batch size B for all arguments, got",
        ),
        ({"mask_input": torch.zeros(1, 32, 32)}, r"mask_input: expected shape \(B, 1, 32, 32\)"),
        ({"mask_input": torch.zeros(1, 3, 32, 32)}, r"mask_input: expected shape \(B, 1, 32, 32\)"),
        ({"mask_input": torch.zeros(1, 1, 32, 32, dtype=torch.int32)}, "mask_input: expected float logits"),
    ],
)
def test_a_batch_is_refused(prompts: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        batch(**prompts)


@pytest.mark.parametrize(
    ("coords", "labels"),
    [
        ([[10, 20]], [1]),
        (((10, 20),), (True,)),
        (np.array([[10, 20]], dtype=np.uint16), np.array([True])),
        (np.array([[10, 20]], dtype=np.float16), np.array([1.0])),
        (np.array([[20, 10]])[:, ::-1], np.array([1], dtype=np.uint8)),
        (torch.tensor([[10, 20]]), torch.tensor([1])),
        (torch.tensor([[10.0, 20]], requires_grad=True), torch.tensor([True])),
    ],
)
def test_points_of_any_kind_mean_the_same(coords: Any, labels: Any) -> None:
    prompts = one(coords, labels)
    assert prompts.point_coords.tolist() == [[[10.0, 20.0]]]
    assert prompts.point_labels.tolist() == [[1]]
    assert prompts.batch_size == 1


def test_a_list_without_points_counts_as_none() -> None:
    prompts = one([], [], [1, 2, 3, 4])
    assert prompts.point_coords is None and prompts.point_labels is None
    assert prompts.boxes.tolist() == [[1, 2, 3, 4]]
    empty = batch(torch.zeros(2, 0, 2), torch.zeros(2, 0), torch.tensor([[1.0, 2, 3, 4]] * 2))
    assert empty.point_coords is None


def test_the_callers_arrays_stay_as_they_are() -> None:
    coords, box, boxes = (
        np.array([[-5.0, 20.0]]),
        np.array([-5.0, 2, 500, 9]),
        torch.tensor([[-5.0, 2, 500, 9]]),
    )
    prompts = one(coords, [1], box)
    batch(boxes=boxes)
    assert prompts.boxes.tolist() == [[0, 2, 160, 9]]
    assert prompts.point_coords.tolist() == [[[0, 20]]]
    assert coords.tolist() == [[-5, 20]] and box.tolist() == [-5, 2, 500, 9] and boxes.tolist() == [[-5, 2, 500, 9]]


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [159, 89, 159, 89], [159.5, 0, 200, 90], [-3, -3, 0, 0]])
def test_a_box_of_one_pixel_at_the_border_is_a_box(box: list[float]) -> None:
    x1, y1, x2, y2 = one(box=box).boxes[0].tolist()
    assert 0 <= x1 <= x2 <= 160 and 0 <= y1 <= y2 <= 90


def test_sixty_four_and_thirty_two_are_both_mask_inputs() -> None:
    assert one(mask_input=np.zeros((64, 64))).mask_input.shape == (1, 1, 64, 64)
    assert one(mask_input=LOGITS).mask_input.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "4"])
def test_counts_are_positive_integers(value: Any) -> None:
    with pytest.raises(ConfigError, match="chunk_size: expected an integer >= 1, got"):
        check_positive_int(value, "chunk_size")
    assert check_positive_int(np.int64(3), "chunk_size") == 3
