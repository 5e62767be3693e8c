"""GroundingDINO (arXiv 2303.05499) through transformers: one pass for all phrases, a score for every word."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zim.errors import PromptError
from zim.text_detection import Detections, check_image, check_thresholds, split_phrases

from .loading import GROUNDING_DINO, load
from .selection import NMS_THRESHOLD, check_nms_threshold, corners, select

DEFAULT_SOURCE = "IDEA-Research/grounding-dino-tiny"
MAX_ASPECT = 16
"""Longer pictures are padded to this: else the short side would have few or no pixels in a frame of 1333 x 800."""
PAD_COLOUR = (124, 116, 104)
"""The mean of ImageNet, which is zero in the model's frame."""


class GroundingDinoDetector:
    """Boxes for phrases by GroundingDINO.

    A box counts when its best token scores above `box_threshold` (as in the reference code) and its phrase's best
    word above `text_threshold`; its label is that phrase, in full.
    """

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
        self._loaded = load(GROUNDING_DINO, source, device)

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        """As `zim.text_detection.TextDetector.detect`.

        Raises:
            PromptError: no phrase, or more words than the model takes (256 tokens).
        """
        hw = check_image(image)
        check_thresholds(box_threshold=box_threshold, text_threshold=text_threshold)
        texts = split_phrases(phrases)
        tokens = self._tokens(texts)
        framed = _padded_to_aspect(image)
        outputs = self._forward(framed, tokens)
        probabilities = outputs.logits[0].sigmoid()[:, : tokens["input_ids"].shape[1]]  # (queries, tokens)
        by_phrase = _best_by_phrase(probabilities, self._phrase_of_token(tokens["input_ids"][0]), len(texts))
        scores, (word_scores, phrase_indices) = probabilities.amax(dim=1), by_phrase.max(dim=1)
        kept = (scores > box_threshold) & (word_scores > text_threshold)
        height, width = framed.shape[:2]
        boxes = corners(outputs.pred_boxes[0][kept]) * torch.tensor([width, height, width, height]).to(scores)
        labels = [texts[index] for index in phrase_indices[kept].tolist()]
        return select(boxes, scores[kept], labels, hw=hw, nms_threshold=self.nms_threshold)

    def _tokens(self, texts: list[str]) -> Any:
        """The caption "cat. remote." as the model was trained with it."""
        tokens = self._loaded.tokenizer(". ".join(texts) + ".", return_tensors="pt", return_token_type_ids=True)
        limit, count = self._loaded.model.config.max_text_len, tokens["input_ids"].shape[1]
        if count > limit:
            raise PromptError(f"text: expected at most {limit} tokens for {type(self).__name__}, got {count}")
        return tokens

    def _forward(self, image: np.ndarray, tokens: Any) -> Any:
        pixels = self._loaded.image_processor(images=image, return_tensors="pt", input_data_format="channels_last")
        inputs = {name: value.to(self._loaded.device) for name, value in (*pixels.items(), *tokens.items())}
        with torch.inference_mode():
            return self._loaded.model(**inputs)

    def _phrase_of_token(self, ids: Tensor) -> Tensor:
        """(tokens,) index of the phrase of each token; -1 for full stops, start and end."""
        tokenizer = self._loaded.tokenizer
        stop = ids == tokenizer.convert_tokens_to_ids(".")
        special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
        unknown = ids == tokenizer.unk_token_id  # special, but a word
        return torch.where(stop | (special & ~unknown), -1, torch.cumsum(stop, 0))


def _padded_to_aspect(image: np.ndarray) -> np.ndarray:
    """The picture at the top left of a frame that is at most `MAX_ASPECT` times as long as it is wide."""
    height, width = image.shape[:2]
    least = -(-max(height, width) // MAX_ASPECT)
    if min(height, width) >= least:
        return image
    framed = np.empty((max(height, least), max(width, least), 3), dtype=np.uint8)
    framed[:] = PAD_COLOUR
    framed[:height, :width] = image
    return framed


def _best_by_phrase(probabilities: Tensor, phrase_of_token: Tensor, count: int) -> Tensor:
    """(queries, tokens) probabilities -> (queries, phrases): the best word of each phrase; 0 for one without words."""
    best = probabilities.new_zeros((len(probabilities), count))
    for index in range(count):
        words = (phrase_of_token == index).to(probabilities.device)
        if words.any():
            best[:, index] = probabilities[:, words].amax(dim=1)
    return best
