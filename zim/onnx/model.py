"""A folder with encoder.onnx and decoder.onnx as a model: the surface of `Zim`, computed by onnxruntime."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import CheckpointError, ImageError, PromptError
from zim.modeling.config import ZIM_VIT_B, ZimConfig
from zim.modeling.features import ImageFeatures
from zim.modeling.mask_decoder import NUM_MASK_TOKENS, MaskDecoder
from zim.modeling.prompt_attention import (
    POSITIVE,
    box_indicator,
    boxes_from_corners,
    point_distances,
    prompt_attention_bias,
)
from zim.modeling.prompt_encoder import PromptEncoder
from zim.modeling.zim import Zim, ZimImageEncoder
from zim.onnx import file_format
from zim.onnx.record import ExportRecord, read_record
from zim.onnx.session import OnnxGraph

MASK_CHANNELS = 16
"""A mask input of S/4 rides along as this many channels of the embedding's grid."""


class OnnxZim(Zim):
    """A model for prediction only; its networks are the graphs of a folder.

    `record` is what `zim export` wrote beside them, None in a foreign folder (the official release);
    `takes_mask_input` tells whether there is a graph for that.
    """

    def __init__(self, folder: Path, *, device: str, config: ZimConfig) -> None:
        file_format.require_files(folder)
        record = read_record(folder)
        encoder = _graph(folder / file_format.ENCODER_FILE, device, file_format.ENCODER_INPUTS)
        decoder = _graph(folder / file_format.DECODER_FILE, device, file_format.DECODER_INPUTS)
        mask_file = folder / file_format.MASK_DECODER_FILE
        with_mask = (
            _graph(mask_file, device, file_format.MASK_DECODER_INPUTS)
            if record is not None and mask_file.is_file()
            else None
        )
        side = encoder.inputs["image"][-1]
        img_size = side if isinstance(side, int) else config.img_size
        config = replace(config, img_size=img_size) if record is None else record.zim_config
        super().__init__(
            image_encoder=cast(ZimImageEncoder, OnnxImageEncoder(encoder, img_size)),
            prompt_encoder=OnnxPromptEncoder(config, official=record is None, takes_masks=with_mask is not None),
            mask_decoder=cast(MaskDecoder, OnnxMaskDecoder(decoder, with_mask)),
            config=config,
        )
        self.record: ExportRecord | None = record
        self.takes_mask_input = with_mask is not None
        self.requires_grad_(False)
        self.to(encoder.device)


class OnnxImageEncoder(nn.Module):
    """encoder.onnx; its state dict is the file's sha256, so that saved embeddings know whose they are."""

    def __init__(self, graph: OnnxGraph, img_size: int) -> None:
        super().__init__()
        self.img_size = img_size
        self._graph = graph
        with graph.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        self.register_buffer("file_sha256", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) normalised and padded -> features of B images; `feat_D0..2` take the places of strides 2..8."""
        if self._graph.inputs["image"][0] == 1 and len(x) > 1:
            return ImageFeatures(*(torch.cat(maps) for maps in zip(*(self(row[None]) for row in x), strict=True)))
        found = dict(zip(self._graph.outputs, self._graph.run(image=x), strict=True))
        return ImageFeatures(*(found[name] for name in file_format.ENCODER_OUTPUTS))


class OnnxPromptEncoder(PromptEncoder):
    """Gathers prompts as SAM does and passes them on unembedded: the decoder's graph embeds them.

    Of the base class only the gathering and the sizes are used; its weights play no role.
    """

    def __init__(self, config: ZimConfig, *, official: bool, takes_masks: bool) -> None:
        sigma = None if config.prompt_attention == "none" else config.point_sigma
        super().__init__(embed_dim=config.embed_dim, img_size=config.img_size, attention_sigma=sigma)
        self.official = official
        self.takes_masks = takes_masks

    def embed(self, coords: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pack prompts for `OnnxMaskDecoder`; arguments as in the base class.

        Returns:
            (B, N, 3) coordinates and label; (B, 1, g, g) attention mask, with 16 channels of the mask input after
            it when there is one.

        Raises:
            PromptError: a mask input, in a folder whose graphs take none; or one of another shape.
        """
        if masks is not None and not self.takes_masks:
            raise PromptError(
                "mask_input: this ONNX folder takes none, it has no decoder_mask.onnx (no official release has); "
                "leave it out, use the torch model, or write the folder with `zim export --with-mask-input`"
            )
        pad = (labels == -1)[..., None]
        rows = torch.cat([torch.where(pad, file_format.PADDING_COORDINATE, coords), labels[..., None]], dim=-1)
        dense = self._attention_mask(coords, labels)[:, None]
        if masks is not None:
            dense = torch.cat([dense, F.pixel_unshuffle(self._reduced(masks).to(dense.dtype), 4)], dim=1)
        return rows, dense

    def _attention_mask(self, coords: Tensor, labels: Tensor) -> Tensor:
        grid = self.image_embedding_size
        if not labels.shape[1] or (self.attention_sigma is None and not self.official):
            return coords.new_zeros(len(coords), *grid)
        if self.official:
            return official_attention_mask(coords, labels, grid, self.stride)
        sigma = cast(float, self.attention_sigma) * grid[0] / 64
        return prompt_attention_bias(coords, labels, grid, self.stride, sigma)[:, 0]

    def _reduced(self, masks: Tensor) -> Tensor:
        height, width = self.mask_input_size
        if masks.shape[1:] not in ((1, height, width), (1, 2 * height, 2 * width)):
            raise PromptError(
                f"masks: expected (B, 1, {height}, {width}) or (B, 1, {2 * height}, {2 * width}) logits, "
                f"got {tuple(masks.shape)}"
            )
        return F.adaptive_avg_pool2d(masks, (height, width))


def official_attention_mask(coords: Tensor, labels: Tensor, grid: tuple[int, int], stride: float) -> Tensor:
    """The attention mask as the official release makes it, except that negative points open nothing.

    A box is 0 inside and -inf outside, also with points beside it; points alone are the largest of their Gaussians;
    without either it is 1 everywhere, which changes nothing, whether the graph adds it or multiplies by it.

    Args:
        coords: (B, N, 2) float xy in the padded frame, N >= 1.
        labels: (B, N) int, box corners included.
        grid: (h, w) of the image embedding.
        stride: pixels of the padded frame per cell.

    Returns:
        (B, h, w) float.
    """
    boxes, has_box = boxes_from_corners(coords, labels)
    sigma = file_format.OFFICIAL_POINT_SIGMA * grid[0] / 64
    positive = labels == POSITIVE
    gaussians = torch.exp(point_distances(coords, grid, stride) / (-2.0 * sigma * sigma))  # (B, N, h, w)
    soft = torch.where(positive[..., None, None], gaussians, 0.0).amax(1)
    soft = torch.where(positive.any(1)[:, None, None], soft, 1.0)
    hard = torch.log(box_indicator(boxes, grid, stride))
    return torch.where(has_box[:, None, None], hard, soft)


class OnnxMaskDecoder(nn.Module):
    """decoder.onnx, or decoder_mask.onnx where there is a mask input; called with SAM's keywords."""

    def __init__(self, graph: OnnxGraph, graph_with_mask: OnnxGraph | None) -> None:
        super().__init__()
        self._graph = graph
        self._graph_with_mask = graph_with_mask

    def forward(
        self,
        image_embeddings: ImageFeatures,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Predict logits and qualities.

        Args:
            image_embeddings: features of one image.
            image_pe: not used: the graph has its own.
            sparse_prompt_embeddings: what `OnnxPromptEncoder` returns first.
            dense_prompt_embeddings: what it returns second.
            multimask_output: three masks (tokens 1 to 3), or one (token 0).

        Returns:
            (B, 3 or 1, h, w) logits and (B, 3 or 1) predicted qualities.

        Raises:
            ImageError: `image_embeddings` is not `ImageFeatures`, or of several images.
        """
        logits, quality = self.predict_masks(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        return logits[:, wanted], quality[:, wanted]

    def predict_masks(
        self, image_embeddings: ImageFeatures, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, for all four tokens."""
        if not hasattr(image_embeddings, "feat_s2") or len(image_embeddings.embedding) != 1:
            shape = tuple(image_embeddings.shape)
            raise ImageError(
                "image_embeddings: expected ImageFeatures of one image, "
                f"got {type(image_embeddings).__name__} of shape {shape}"
            )
        features = {
            "feat_D0": image_embeddings.feat_s2,
            "feat_D1": image_embeddings.feat_s4,
            "feat_D2": image_embeddings.feat_s8,
            "image_embeddings": image_embeddings.embedding,
        }
        prompts = {"point_coords": sparse[..., :2], "point_labels": sparse[..., 2]}
        graph = self._graph
        if dense.shape[1] == 1:
            prompts["attn_mask"] = dense[:, 0]
        elif self._graph_with_mask is None:
            raise PromptError("mask_input: this ONNX folder has no decoder_mask.onnx")
        else:
            graph = self._graph_with_mask
            prompts["mask_input"] = F.pixel_shuffle(dense[:, 1:], 4)
            prompts["has_mask_input"] = dense.new_ones(len(dense))
        return _run_decoder(graph, features, prompts)


def _run_decoder(graph: OnnxGraph, features: dict[str, Tensor], prompts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Decode B prompts in one run where the graph's axes say that it can, else one by one."""
    image_axis, prompt_axis = graph.inputs["feat_D0"][0], graph.inputs["point_coords"][0]
    count = len(prompts["point_coords"])
    if count > 1 and not isinstance(prompt_axis, str):  # fixed, or nothing is known about it
        rows = [
            _run_decoder(graph, features, {name: value[row : row + 1] for name, value in prompts.items()})
            for row in range(count)
        ]
        logits, qualities = zip(*rows, strict=True)
        return torch.cat(logits), torch.cat(qualities)
    if count > 1 and image_axis == prompt_axis:  # one axis for both: the image once for each prompt
        features = {name: value.expand(count, -1, -1, -1) for name, value in features.items()}
    found = dict(zip(graph.outputs, graph.run(**features, **prompts), strict=True))
    masks, quality = found["masks"], found["iou_predictions"]
    if masks.shape[:2] != (count, NUM_MASK_TOKENS):
        raise CheckpointError(
            f"{graph.path}: expected masks ({count}, {NUM_MASK_TOKENS}, h, w), got {tuple(masks.shape)}"
        )
    return masks, quality


def _graph(path: Path, device: str, inputs: tuple[str, ...]) -> OnnxGraph:
    graph = OnnxGraph(path, device)
    outputs = file_format.ENCODER_OUTPUTS if inputs == file_format.ENCODER_INPUTS else file_format.DECODER_OUTPUTS
    if set(graph.inputs) != set(inputs) or set(graph.outputs) != set(outputs):
        raise CheckpointError(
            f"{path}: expected inputs {', '.join(inputs)} and outputs {', '.join(outputs)}, "
            f"got {', '.join(graph.inputs)} and {', '.join(graph.outputs)}"
        )
    return graph


def load_onnx_folder(folder: str | Path, device: Any = "auto", config: ZimConfig = ZIM_VIT_B) -> OnnxZim:
    """A model from a folder in the official release's format.

    Args:
        folder: with encoder.onnx and decoder.onnx, and zim_export.json where `zim export` wrote it.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps", for onnxruntime: torch need not have it.
        config: what a foreign folder is taken for; an exported one knows its own.

    Raises:
        CheckpointError: a file is missing, altered, or of another format.
        ConfigError: an impossible device.
        MissingDependencyError: onnxruntime is not installed.
    """
    return OnnxZim(Path(folder), device=str(device), config=config).eval()
