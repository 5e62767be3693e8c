"""ZIM: SAM's architecture with a hierarchical pixel decoder and prompt-aware masked attention (arXiv 2411.00626)."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError
from zim.modeling.config import ZimConfig
from zim.modeling.detail_stem import DetailStem
from zim.modeling.features import ImageFeatures
from zim.modeling.image_encoder import ImageEncoderViT, build_vit_encoder
from zim.modeling.mask_decoder import MaskDecoder
from zim.modeling.pixel_decoder import FusionImageHalves, HierarchicalPixelDecoder, SamUpscaling
from zim.modeling.prompt_encoder import PromptEncoder
from zim.modeling.tiny_encoder import TinyImageEncoder
from zim.modeling.two_way_transformer import TwoWayTransformer

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class ZimImageEncoder(nn.Module):
    """A backbone and what the pixel decoder needs of the image; returns `ImageFeatures`.

    A ViT gives the embedding only, so a `DetailStem` makes the fine maps; the tiny encoder hands its own on.
    """

    def __init__(
        self, *, backbone: ImageEncoderViT | TinyImageEncoder, stem: DetailStem | None, halves: FusionImageHalves | None
    ) -> None:
        super().__init__()
        self.img_size = backbone.img_size
        self.backbone = backbone
        self.stem = stem
        self.halves = halves

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) normalised and padded -> features of B images."""
        if isinstance(self.backbone, TinyImageEncoder):
            embedding, maps = self.backbone(x)
        else:
            embedding, maps = self.backbone(x), self.stem(x) if self.stem is not None else None
        if self.halves is None:
            empty = (x.new_zeros(len(x), 0, x.shape[-2] // n, x.shape[-1] // n) for n in (2, 4, 8))
            return ImageFeatures(embedding, *empty)
        return ImageFeatures(embedding, *self.halves(maps))


class Zim(nn.Module):
    """The whole model, with the surface of segment_anything's `Sam`."""

    mask_threshold: float = 0.0
    image_format: str = "RGB"

    def __init__(
        self,
        *,
        image_encoder: ZimImageEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        config: ZimConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return cast(Tensor, self.pixel_mean).device

    def preprocess(self, x: Tensor) -> Tensor:
        """(..., 3, h, w) RGB in 0..255, long side <= S -> normalised, zero-padded right and below to (..., 3, S, S)."""
        x = (x - cast(Tensor, self.pixel_mean)) / cast(Tensor, self.pixel_std)
        side = self.image_encoder.img_size
        return F.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(self, masks: Tensor, input_size: tuple[int, ...], original_size: tuple[int, ...]) -> Tensor:
        """Logits of the padded frame at any size -> logits of the original frame.

        Args:
            masks: (B, C, m, m) logits.
            input_size: (h, w) of the input frame, before padding.
            original_size: (H, W) of the image as loaded.

        Returns:
            (B, C, H, W) logits.
        """
        side = self.image_encoder.img_size
        height, width = input_size
        if side % masks.shape[-1] == 0:  # the padding, and what is next to it for the interpolation, need no resizing
            factor = side // masks.shape[-1]
            rows, columns = (min(-(-size // factor) + 1, masks.shape[-1]) for size in (height, width))
            masks = masks[..., :rows, :columns]
            frame = (rows * factor, columns * factor)
        else:
            frame = (side, side)
        masks = F.interpolate(masks, frame, mode="bilinear", align_corners=False)[..., :height, :width]
        if (height, width) == tuple(original_size):
            return masks.contiguous()
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    def low_res_logits(self, logits: Tensor) -> Tensor:
        """The decoder's logits (B, C, S/2, S/2) -> (B, C, S/4, S/4), SAM's size, which can be fed back: 2x2 means."""
        side = self.image_encoder.img_size // 4
        return logits if logits.shape[-1] == side else F.adaptive_avg_pool2d(logits, side)

    @torch.no_grad()
    def forward(self, batched_input: Sequence[dict[str, Any]], multimask_output: bool) -> list[dict[str, Tensor]]:
        """SAM's batch interface.

        Args:
            batched_input: per image a dict with `image` (3, h, w) in the input frame, `original_size` (H, W), and
                any of `point_coords` (B, N, 2) with `point_labels` (B, N), `boxes` (B, 4),
                `mask_inputs` (B, 1, m, m), in the input frame.
            multimask_output: three masks a prompt, or one.

        Returns:
            Per image a dict with `masks` (B, C, H, W) bool, `iou_predictions` (B, C), `low_res_logits`
            (B, C, S/4, S/4), as in SAM, and `alphas` (B, C, H, W) float in [0, 1].
        """
        images = torch.stack([self.preprocess(record["image"]) for record in batched_input])
        features = self.image_encoder(images)
        return [self._answer(record, features.select(i), multimask_output) for i, record in enumerate(batched_input)]

    def _answer(self, record: dict[str, Any], features: ImageFeatures, multimask_output: bool) -> dict[str, Tensor]:
        coords = record.get("point_coords")
        points = None if coords is None else (coords, record["point_labels"])
        masks = record.get("mask_inputs")
        sparse, dense = self.prompt_encoder(
            points=points,
            boxes=record.get("boxes"),
            masks=None if masks is None else masks.to(features.embedding.dtype),
        )
        native, quality = self.mask_decoder(
            image_embeddings=features,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
        )
        logits = self.postprocess_masks(native, record["image"].shape[-2:], record["original_size"])
        return {
            "masks": logits > self.mask_threshold,
            "iou_predictions": quality,
            "low_res_logits": self.low_res_logits(native),
            "alphas": torch.sigmoid(logits),
        }


def build_backbone(config: ZimConfig) -> tuple[ImageEncoderViT | TinyImageEncoder, tuple[int, int, int] | None]:
    """The image encoder of a configuration, and the widths of its own stride 2, 4, 8 maps (None: it has none)."""
    if config.tiny_encoder is not None:
        tiny = TinyImageEncoder(config=config.tiny_encoder, img_size=config.img_size, out_chans=config.embed_dim)
        return tiny, tiny.map_widths
    if config.vit is None or config.vit.img_size != config.img_size:
        raise ConfigError(f"config.vit.img_size: expected {config.img_size}, the model's own, got {config.vit}")
    return build_vit_encoder(config.vit), None


def build_prompt_encoder(config: ZimConfig) -> PromptEncoder:
    """The prompt encoder of a configuration."""
    return PromptEncoder(
        embed_dim=config.embed_dim,
        img_size=config.img_size,
        dense_prompt_map=config.dense_prompt_map,
        attention_sigma=None if config.prompt_attention == "none" else config.point_sigma,
    )


VIT_STEM_WIDTHS = (48, 96, 192)
"""Widths of the detail stem beside a ViT (reference section 1: a ViTMatte-style stack fits the published size)."""


def build_zim(config: ZimConfig) -> Zim:
    """A ZIM with random weights.

    Raises:
        ConfigError: the configuration describes the SAM baseline, or contradicts itself.
    """
    if config.architecture != "zim":
        raise ConfigError(f"config.architecture: expected 'zim', got {config.architecture!r}")
    backbone, map_widths = build_backbone(config)
    pixel_decoder: HierarchicalPixelDecoder | SamUpscaling
    stem = halves = None
    if config.pixel_decoder == "hierarchical":
        stem = None if map_widths else DetailStem(VIT_STEM_WIDTHS)
        halves = FusionImageHalves(map_widths or VIT_STEM_WIDTHS, config.pixel_widths)
        pixel_decoder = HierarchicalPixelDecoder(config.embed_dim, config.pixel_widths)
    else:
        pixel_decoder = SamUpscaling(config.embed_dim)
    transformer = TwoWayTransformer(
        depth=2,
        embedding_dim=config.embed_dim,
        num_heads=8,
        mlp_dim=config.transformer_mlp_dim,
        multiplicative_bias=config.prompt_attention == "multiplicative",
        mask_image_to_token=config.mask_image_to_token,
    )
    return Zim(
        image_encoder=ZimImageEncoder(backbone=backbone, stem=stem, halves=halves),
        prompt_encoder=build_prompt_encoder(config),
        mask_decoder=MaskDecoder(transformer=transformer, pixel_decoder=pixel_decoder, embed_dim=config.embed_dim),
        config=config,
    )
