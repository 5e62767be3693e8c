"""OWLv2 (arXiv 2306.09683) through transformers: one score for each phrase and patch of the picture."""

from typing import Any

import cv2
import numpy as np
import torch

from zim.errors import PromptError
from zim.text_detection import Detections, check_image, check_thresholds, split_phrases

from .loading import OWLV2, load
from .selection import NMS_THRESHOLD, check_nms_threshold, corners, select

DEFAULT_SOURCE = "google/owlv2-base-patch16-ensemble"
PAD_VALUE = 128
"""Grey, as in the model's training; transformers 4 pads so too, transformers 5 pads black."""


class Owlv2Detector:
    """Boxes for phrases by OWLv2. Its scores are for whole phrases, so that `text_threshold` plays no part."""

    def __init__(
        self,
        source: str = DEFAULT_SOURCE,
        *,
        device: str | torch.device = "auto",
        nms_threshold: float = NMS_THRESHOLD,
    ) -> None:
        """Load the model, or take the one that this process has loaded from there before.

        Args:
            source: a folder, or OWNER/MODEL[@REVISION] on the hub.
            device: "auto" takes CUDA, else MPS, else the CPU.
            nms_threshold: of two boxes with a higher IoU the surer stays.

        Raises:
            MissingDependencyError: transformers or scipy is not installed.
            CheckpointError: the weights are not there or do not fit.
            ConfigError: the threshold is outside [0, 1].
        """
        self.nms_threshold = check_nms_threshold(nms_threshold)
        self._loaded = load(OWLV2, source, device)

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        """As `zim.text_detection.TextDetector.detect`.

        Raises:
            PromptError: no phrase, or one that is longer than the model takes (16 tokens).
        """
        hw = check_image(image)
        check_thresholds(box_threshold=box_threshold, text_threshold=text_threshold)
        texts = split_phrases(phrases)
        tokens = self._tokens(texts)
        outputs = self._forward(image, tokens)
        scores, phrase_indices = outputs.logits[0].sigmoid().max(dim=1)  # (patches, phrases) -> (patches,)
        kept = scores > box_threshold
        # Boxes are relative to the padded square, whose side is the picture's long one.
        boxes = corners(outputs.pred_boxes[0][kept]) * max(hw)
        labels = [texts[index] for index in phrase_indices[kept].tolist()]
        return select(boxes, scores[kept], labels, hw=hw, nms_threshold=self.nms_threshold)

    def _tokens(self, texts: list[str]) -> Any:
        """One row for each phrase."""
        tokenizer, limit = self._loaded.tokenizer, self._loaded.model.config.text_config.max_position_embeddings
        for text in texts:
            if (count := len(tokenizer(text)["input_ids"])) > limit:
                raise PromptError(f"text: expected phrases of at most {limit} tokens, got {count} in {text!r}")
        return tokenizer(texts, padding="max_length", max_length=limit, return_tensors="pt")

    def _forward(self, image: np.ndarray, tokens: Any) -> Any:
        size = self._loaded.image_processor.size
        square = padded_square(image, 2 * max(size["height"], size["width"]))
        pixels = self._loaded.image_processor(images=square, return_tensors="pt", input_data_format="channels_last")
        inputs = {name: value.to(self._loaded.device) for name, value in (*pixels.items(), *tokens.items())}
        with torch.inference_mode():
            return self._loaded.model(**inputs)


def padded_square(image: np.ndarray, max_side: int) -> np.ndarray:
    """The picture at the top left of a grey square; both smaller, by area, when it is longer than `max_side`.

    The processor works in float64, in copies: a 24-megapixel square would take gigabytes.
    """
    height, width = image.shape[:2]
    long_side = max(height, width)
    if long_side > max_side:
        scale = max_side / long_side
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        height, width, long_side = *image.shape[:2], max_side
    square = np.full((long_side, long_side, 3), PAD_VALUE, dtype=np.uint8)
    square[:height, :width] = image
    return square
