"""The one way from checked prompts to an answer, shared by every method of the predictor."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.checks import PromptTensors
from zim.features import PredictorFeatures
from zim.logit_windows import Frames, Promising
from zim.modeling.zim import Zim

Output = Literal["alpha", "mask"]
Answer = Literal["alpha", "mask", "logits"]
Triple = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]


DECODE_CHUNK = 16
"""Prompts that go through the decoder at once; more are taken in turns, so that memory stays bounded."""


def decode(
    model: Zim,
    features: PredictorFeatures,
    prompts: PromptTensors,
    *,
    answer: Answer,
    multimask_output: bool,
    chunk_size: int = DECODE_CHUNK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode B prompts of the input frame about one image.

    Returns:
        (B, C, H, W) logits of the original frame, or their sigmoid ("alpha"), or where they are above the
        threshold ("mask"); (B, C) float32 qualities; (B, C, S/4, S/4) float32 logits of the padded frame.
    """
    chunks = [
        _decode_chunk(model, features, prompts.rows(start, start + chunk_size), answer, multimask_output)
        for start in range(0, prompts.batch_size, chunk_size)
    ]
    if len(chunks) == 1:
        return chunks[0]
    masks, qualities, low_res = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return masks, qualities, low_res


@torch.no_grad()
def decode_promising(
    model: Zim,
    features: PredictorFeatures,
    prompts: PromptTensors,
    *,
    least_quality: float,
    multimask_output: bool,
    chunk_size: int = DECODE_CHUNK,
) -> Promising:
    """Decode B prompts, and keep only answers of a higher quality than `least_quality`."""
    places, logits, qualities = [], [], []
    for start in range(0, prompts.batch_size, chunk_size):
        native, quality = _native(model, features, prompts.rows(start, start + chunk_size), multimask_output)
        chosen = torch.nonzero(quality.float() > least_quality)
        places.append(chosen + torch.tensor([start, 0], device=chosen.device))
        logits.append(native[chosen[:, 0], chosen[:, 1]].float())  # (k, S/2, S/2)
        qualities.append(quality.float())
    frames = Frames(model.image_encoder.img_size, features.input_size, features.original_size)
    return Promising(torch.cat(places), torch.cat(qualities), torch.cat(logits), frames)


@torch.no_grad()
def _decode_chunk(
    model: Zim, features: PredictorFeatures, prompts: PromptTensors, answer: Answer, multimask_output: bool
) -> tuple[Tensor, Tensor, Tensor]:
    native, quality = _native(model, features, prompts, multimask_output)
    native = native.float()
    low_res = model.low_res_logits(native)
    logits = model.postprocess_masks(native, features.input_size, features.original_size)
    if answer == "mask":
        return logits > model.mask_threshold, quality.float(), low_res
    return logits if answer == "logits" else logits.sigmoid_(), quality.float(), low_res


def _native(
    model: Zim, features: PredictorFeatures, prompts: PromptTensors, multimask_output: bool
) -> tuple[Tensor, Tensor]:
    """The decoder's own logits (B, C, S/2, S/2) and qualities (B, C)."""
    coords, labels, boxes, mask_input = prompts.to(model.device)
    sparse, dense = model.prompt_encoder(
        points=None if coords is None or labels is None else (coords, labels),
        boxes=boxes,
        masks=None if mask_input is None else mask_input.to(features.embedding.dtype),
    )
    native, quality = model.mask_decoder(
        image_embeddings=features,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
    )
    return native, quality


def join(prompts: Sequence[PromptTensors]) -> PromptTensors:
    """Prompts of one kind (the same fields, the same shapes) as one batch."""
    return PromptTensors(*(None if fields[0] is None else torch.cat(fields) for fields in zip(*prompts, strict=True)))


def row_as_numpy(answer: tuple[Tensor, Tensor, Tensor], row: int) -> Triple:
    """The answer to one prompt of a batch."""
    masks, qualities, low_res = (part[row].cpu().numpy() for part in answer)
    return masks, qualities, low_res
