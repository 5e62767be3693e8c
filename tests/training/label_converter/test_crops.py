"""Crops around labels: exact where nothing is scaled, faithful where something is."""

from collections.abc import Callable

import numpy as np
import pytest

from training.label_converter.crops import CropWindow, convert_labels, window_around
from zim.errors import ConfigError, DataError


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_unscaled_crops_come_back_exactly(make_echo: Callable, make_disc: Callable) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    label = make_disc((200, 300), (150, 90), 24)  # 49 px with 15% on each side: 64 px
    (matte,) = convert_labels(make_echo(64), image, [label])
    assert matte.box == (126, 66, 175, 115)
    np.testing.assert_array_equal(matte.full((200, 300)), label.astype(np.float32))


@pytest.mark.parametrize(
    ("size_hw", "centre", "radius"),
    [((400, 600), (300, 200), 150), ((120, 90), (45, 60), 4), ((100, 100), (0, 99), 30), ((40, 300), (150, 20), 60)],
)
def test_scaled_and_bordering_labels_keep_their_place(
    make_echo: Callable, make_disc: Callable, size_hw: tuple[int, int], centre: tuple[int, int], radius: int
) -> None:
    """Larger than the model, smaller than half of it, in a corner, wider than the image is high."""
    label = make_disc(size_hw, centre, radius)
    (matte,) = convert_labels(make_echo(64), np.zeros((*size_hw, 3), np.uint8), [label])
    assert _iou(matte.full(size_hw) > 0.5, label) > 0.9


def test_a_label_of_everything_fills_the_image(make_echo: Callable) -> None:
    label = np.ones((30, 50), bool)
    (matte,) = convert_labels(make_echo(64), np.zeros((30, 50, 3), np.uint8), [label])
    assert matte.box == (0, 0, 50, 30) and matte.alpha.min() == 1


def test_order_and_results_do_not_depend_on_the_batch(make_echo: Callable, make_disc: Callable) -> None:
    image = np.zeros((80, 80, 3), np.uint8)
    labels = [make_disc((80, 80), (10 + 6 * k, 40), 5 + k) for k in range(7)]
    one, many = make_echo(64), make_echo(64)
    single = convert_labels(one, image, labels, batch_size=1)
    grouped = convert_labels(many, image, labels, batch_size=3)
    assert one.batches == [1] * 7 and many.batches == [3, 3, 1]
    for first, second in zip(single, grouped, strict=True):
        assert first.box == second.box
        np.testing.assert_array_equal(first.alpha, second.alpha)
    assert [matte.box[0] for matte in single] == [5 + 5 * k for k in range(7)]


def test_no_labels_give_no_mattes(make_echo: Callable) -> None:
    assert convert_labels(make_echo(), np.zeros((9, 9, 3), np.uint8), []) == []


def test_an_empty_answer_is_one_empty_pixel(make_echo: Callable, make_disc: Callable) -> None:
    echo = make_echo(64)
    echo.refine = lambda images, labels: np.zeros(labels.shape, np.float32)
    (matte,) = convert_labels(echo, np.zeros((80, 80, 3), np.uint8), [make_disc((80, 80), (40, 40), 9)])
    assert matte.alpha.shape == (1, 1) and not matte.full((80, 80)).any()


def test_windows_stay_in_the_image_and_hold_the_label_with_its_margin() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(70, 200, 2)
        y, x = rng.integers(0, height - 12), rng.integers(0, width - 12)
        h, w = rng.integers(1, 12, 2)
        label = np.zeros((height, width), bool)
        label[y : y + h, x : x + w] = True
        window = window_around(label, 64, 0.2)
        assert 0 <= window.x <= x and x + w <= window.x + window.length <= width
        assert 0 <= window.y <= y and y + h <= window.y + window.length <= height
        assert window.length >= max(h, w) * 1.4 - 1


def test_a_window_beyond_the_border_mirrors_the_image() -> None:
    row = np.arange(6, dtype=np.float32)[None].repeat(6, 0)
    cut = CropWindow(-2, 0, 6).cut(row, 6)
    np.testing.assert_array_equal(cut[0], [2, 1, 0, 1, 2, 3])


def test_faults_are_named(make_echo: Callable) -> None:
    echo, image, label = make_echo(), np.zeros((20, 30, 3), np.uint8), np.ones((20, 30), bool)
    with pytest.raises(DataError, match=r"labels\[1\]: expected at least one pixel"):
        convert_labels(echo, image, [label, ~label])
    with pytest.raises(DataError, match=r"labels\[0\]: expected \(20, 30\) bool, got \(30, 20\)"):
        convert_labels(echo, image, [label.T])
    with pytest.raises(DataError, match=r"image: expected \(H, W, 3\) uint8"):
        convert_labels(echo, image.astype(np.float32), [label])
    with pytest.raises(ConfigError, match="batch_size"):
        convert_labels(echo, image, [label], batch_size=0)
