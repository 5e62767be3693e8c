"""Detections drawn into their photo."""

import cv2
import numpy as np

from zim.text_detection import Detections

COLOURS = ((230, 60, 50), (40, 150, 240), (60, 180, 75), (245, 190, 30), (170, 80, 220), (70, 210, 210))


def draw_detections(image: np.ndarray, detections: Detections) -> np.ndarray:
    """Frames with number, label and score; line and letters grow with the photo.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: boxes in pixels of `image`.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    drawn = np.ascontiguousarray(image).copy()
    scale = max(image.shape[:2]) / 1000
    line, height = max(1, round(3 * scale)), max(0.35, 0.8 * scale)
    # The surest last, on top.
    for index in reversed(range(len(detections.labels))):
        colour = COLOURS[index % len(COLOURS)]
        x1, y1, x2, y2 = (round(float(value)) for value in detections.boxes[index])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, line)
        text = f"{index} {detections.labels[index]} {detections.scores[index]:.2f}"
        (text_width, text_height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height, line)
        top = min(max(y1 - text_height - below, 0), drawn.shape[0] - 1)
        left = max(min(x1, drawn.shape[1] - text_width), 0)
        cv2.rectangle(drawn, (left, top), (left + text_width, top + text_height + below), colour, cv2.FILLED)
        cv2.putText(
            drawn, text, (left, top + text_height), cv2.FONT_HERSHEY_SIMPLEX, height, (255, 255, 255), line, cv2.LINE_AA
        )
    return drawn
