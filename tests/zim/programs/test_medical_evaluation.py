"""The prompt loop of segment-anything-medical-evaluation: farthest point of the error, logits cut at 0, oracle."""

from typing import Any

import cv2
import numpy as np
import pytest

from zim.predictor import ZimPredictor


def innermost(region: np.ndarray) -> tuple[int, int]:
    """(x, y) of a pixel farthest from the border of a uint8 region."""
    depth = cv2.distanceTransform(np.pad(region, 1), distanceType=cv2.DIST_L2, maskSize=5)[1:-1, 1:-1]
    y, x = np.where(depth == depth.max())
    return int(x[0]), int(y[0])


def best_slice(answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Logits below 0 become 0 in place, the slices go last, and the oracle takes the best one."""
    answer[answer < 0] = 0
    answer = answer.transpose((1, 2, 0))
    slices = [np.array(answer[:, :, number] > 0, dtype=int) for number in range(answer.shape[-1])]
    overlaps = [np.bitwise_and(each, truth).sum() / max(1, np.bitwise_or(each, truth).sum()) for each in slices]
    return slices[int(np.argmax(overlaps))]


def ask(predictor: Any, truth: np.ndarray, count: int) -> tuple[list[tuple[int, int]], list[int], list[np.ndarray]]:
    points, labels, answers = [innermost(truth)], [1], []
    for number in range(count):
        answer, _, _ = predictor.predict(
            point_coords=np.array(points), point_labels=np.array(labels), return_logits=True
        )
        answers.append(answer.copy())
        if number + 1 < count:
            error = np.uint8(np.bitwise_xor(truth, best_slice(answer, truth).astype(np.uint8)))
            points.append(innermost(error))
            labels.append(int(truth[points[-1][1], points[-1][0]] > 0))
    return points, labels, answers


@pytest.mark.usefixtures("program")
def test_the_loop_gets_logits_that_it_may_change(photo: np.ndarray, direct: ZimPredictor) -> None:
    from segment_anything import SamPredictor, sam_model_registry

    sam = sam_model_registry["default"](checkpoint="./sam_vit_h_4b8939.pth")
    sam.to("cuda")
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    truth = np.zeros(photo.shape[:2], np.uint8)
    cv2.ellipse(truth, (70, 45), (30, 25), 0, 0, 360, 1, -1)
    points, labels, answers = ask(predictor, truth, 4)
    assert abs(points[0][0] - 70) <= 2 and abs(points[0][1] - 45) <= 2  # the middle of the ellipse
    for number, answer in enumerate(answers, start=1):
        expected = direct.predict(np.array(points[:number]), np.array(labels[:number]), return_logits=True)[0]
        assert answer.dtype == np.float32 and answer.shape == (3, 90, 160)
        assert answer.min() < 0 < answer.max()
        assert np.array_equal(answer, expected)


@pytest.mark.usefixtures("program")
def test_boxes_as_plain_lists_of_the_mask(photo: np.ndarray, direct: ZimPredictor) -> None:
    """The box mode: the corners of the truth's pixels, three masks, one of them taken by the oracle."""
    from segment_anything import SamPredictor, sam_model_registry

    predictor = SamPredictor(sam_model_registry["vit_b"](checkpoint="sam_vit_b_01ec64.pth"))
    predictor.set_image(photo)
    truth = np.zeros(photo.shape[:2], np.uint8)
    truth[20:60, 30:101] = 1
    rows, columns = np.nonzero(truth)
    box = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    assert box.tolist() == [30, 20, 100, 59]
    masks, _, _ = predictor.predict(box=box)
    assert np.array_equal(masks, direct.predict(box=box)[0])
    best = best_slice(masks.astype(np.float32), truth)
    assert any(np.array_equal(best, mask) for mask in masks.astype(int))
