"""A base model with an HQ head beside its mask decoder: asked like any ZIM, and the base stays what it is.

The base is a `Zim`; SAM is one too, with ZIM's two novelties switched off (`pixel_decoder="sam"`,
`prompt_attention="none"`), which `zim.hq_checkpoints` builds from SAM's weights. Nothing of the base is changed or
copied: its own modules answer as before when they are called without the head.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zim.errors import ConfigError
from zim.modeling.features import ImageFeatures
from zim.modeling.hq_head import HqHead, HqHeadConfig
from zim.modeling.image_encoder import ImageEncoderViT
from zim.modeling.mask_decoder import NUM_MASK_TOKENS, MaskDecoder
from zim.modeling.tiny_encoder import TinyImageEncoder
from zim.modeling.zim import Zim, ZimImageEncoder


class HqImageEncoder(nn.Module):
    """The base's image encoder, and the head's view of the image riding along.

    It becomes `feat_s4` for SAM, where that is empty, and further channels of `feat_s2` for ZIM: so features are kept,
    moved, saved and put back with everything that decoding needs.
    """

    def __init__(self, base: ZimImageEncoder, head: HqHead) -> None:
        super().__init__()
        self.base = base
        self.head = head

    @property
    def img_size(self) -> int:
        """Side of the padded frame."""
        return self.base.img_size

    @img_size.setter
    def img_size(self, side: int) -> None:
        self.base.img_size = side

    def forward(self, x: Tensor) -> ImageFeatures:
        """(B, 3, S, S) normalised and padded -> features of B images, the head's among them."""
        features, early = base_features(self.base, x)
        return joined(features, self.head.image_features(features.embedding, early), self.head.config)


def base_features(encoder: ZimImageEncoder, x: Tensor) -> tuple[ImageFeatures, tuple[Tensor, ...]]:
    """The base's own features of (B, 3, S, S) images, and the early maps that a head takes beside them."""
    if encoder.halves is not None:
        features = encoder(x)
        return features, (features.feat_s2, features.feat_s4)
    early: tuple[Tensor, ...]
    if isinstance(encoder.backbone, TinyImageEncoder):
        embedding, maps = encoder.backbone(x)
        early = (maps.s4, maps.s8)
    else:
        embedding, early = _vit_with_early_map(encoder.backbone, x)
    empty = (x.new_zeros(len(x), 0, x.shape[-2] // n, x.shape[-1] // n) for n in (2, 4, 8))
    return ImageFeatures(embedding, *empty), early


def _vit_with_early_map(vit: ImageEncoderViT, x: Tensor) -> tuple[Tensor, tuple[Tensor]]:
    """The image embedding, and what the first block with global attention gave, (B, C, h, w)."""
    early: Tensor | None = None
    x = vit.patch_embed(x) + vit.pos_embed
    for block in vit.blocks:
        x = block(x)
        if early is None and not block.window_size:
            early = x
    embedding = vit.neck(x.permute(0, 3, 1, 2)).contiguous()
    if early is None:
        raise ConfigError("base: expected a ViT with global attention in some block, got none")
    return embedding, (early.permute(0, 3, 1, 2),)


def joined(features: ImageFeatures, fine: Tensor, config: HqHeadConfig) -> ImageFeatures:
    """A base's features with a head's map of the same images."""
    embedding, s2, s4, s8 = features
    if config.architecture == "hq_sam":
        return ImageFeatures(embedding, s2, fine, s8)
    return ImageFeatures(embedding, torch.cat([s2, fine], dim=1), s4, s8)


def apart(features: ImageFeatures, config: HqHeadConfig) -> tuple[ImageFeatures, Tensor]:
    """What `joined` joined; for SAM the first still has the map, which it does not look at."""
    if config.architecture == "hq_sam":
        return features, features.feat_s4
    own, fine = features.feat_s2.split(config.width, dim=1)
    return ImageFeatures(features.embedding, own, features.feat_s4, features.feat_s8), fine


class BaseAnswer(NamedTuple):
    """logits: (B, 4, m, m). quality: (B, 4). hidden: (B, C), the HQ token. upscaled: (B, width, m, m)."""

    logits: Tensor
    quality: Tensor
    hidden: Tensor
    upscaled: Tensor


class HqMaskDecoder(nn.Module):
    """The base's mask decoder with one more output token; called with SAM's keywords and two more."""

    def __init__(self, base: MaskDecoder, head: HqHead) -> None:
        super().__init__()
        self.base = base
        self.head = head

    def forward(
        self,
        image_embeddings: ImageFeatures,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        hq_token_only: bool = False,
        hq_compat: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict logits and qualities; the arguments of `MaskDecoder.forward`, features of `HqImageEncoder`, and:

        Args:
            hq_token_only: the HQ token's logits alone, rather than added to the base's.
            hq_compat: with `multimask_output`, only the mask of highest quality, as HQ-SAM's own code answers.

        Returns:
            Logits (B, 3 or 1, m, m) and the base's qualities (B, 3 or 1). The head has one mask: with `hq_token_only`
            three answers are three times the same.
        """
        logits, quality = self.predict_masks(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
        base, fine = logits[:, :NUM_MASK_TOKENS], logits[:, NUM_MASK_TOKENS:]
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        base, quality = base[:, wanted], quality[:, wanted]
        if multimask_output and hq_compat:
            best = quality.argmax(1, keepdim=True)  # (B, 1)
            rows = torch.arange(len(best), device=best.device)[:, None]
            base, quality = base[rows, best], quality[rows, best]
        return (fine.expand_as(base) if hq_token_only else base + fine), quality

    def predict_masks(
        self, image_embeddings: ImageFeatures, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks by themselves: logits (B, 5, m, m), the HQ token's last, and qualities (B, 4)."""
        features, fine = apart(image_embeddings, self.head.config)
        decoded = self.decode_base(features, image_pe, sparse, dense)
        added = self.head.logits(decoded.hidden, decoded.upscaled, per_prompt(fine, len(sparse)))
        return torch.cat([decoded.logits, added], dim=1), decoded.quality

    def decode_base(self, features: ImageFeatures, image_pe: Tensor, sparse: Tensor, dense: Tensor) -> BaseAnswer:
        """The base's part, from its own features: its answers, and what the head makes its own of."""
        base, batch = self.base, len(sparse)
        dense, bias = dense[:, : base.embed_dim], dense[:, base.embed_dim :]
        output_tokens = torch.cat([base.iou_token.weight, base.mask_tokens.weight, self.head.hf_token.weight])
        tokens = torch.cat([output_tokens.expand(batch, -1, -1), sparse], dim=1)  # (B, 6 + N, C)
        src = per_prompt(features.embedding, batch) + dense
        hidden, cells = base.transformer(
            src, image_pe.expand(batch, -1, -1, -1), tokens, bias if bias.shape[1] else None
        )
        upscaled = self._upscaled(cells.transpose(1, 2).reshape(src.shape), features, batch)
        mask_hidden = hidden[:, 1 : 1 + NUM_MASK_TOKENS].unbind(1)
        weights = torch.stack(
            [mlp(token) for mlp, token in zip(base.output_hypernetworks_mlps, mask_hidden, strict=True)], dim=1
        )  # (B, 4, width)
        logits = (weights @ upscaled.flatten(2)).view(batch, NUM_MASK_TOKENS, *upscaled.shape[-2:])
        return BaseAnswer(logits, base.iou_prediction_head(hidden[:, 0]), hidden[:, 1 + NUM_MASK_TOKENS], upscaled)

    def _upscaled(self, src: Tensor, features: ImageFeatures, batch: int) -> Tensor:
        if self.head.config.architecture == "hq_sam":
            return self.base.output_upscaling(src)
        fine = (features.feat_s2, features.feat_s4, features.feat_s8)
        return self.base.pixel_decoder(src, *(per_prompt(feature, batch) for feature in fine))


def per_prompt(feature: Tensor, batch: int) -> Tensor:
    """(I, C, h, w) of I images, I a divisor of `batch` -> (B, C, h, w); of one image -> (1, C, h, w)."""
    return feature if len(feature) in (1, batch) else feature.repeat_interleave(batch // len(feature), dim=0)


class HqModel(Zim):
    """A base and its head, with the surface of `Zim`; the base's modules are shared, not copied.

    Raises:
        ConfigError: the head is for another kind of base.
    """

    mask_decoder: HqMaskDecoder  # type: ignore[assignment]

    def __init__(self, base: Zim, head: HqHead) -> None:
        expected = HqHeadConfig.for_base(base.config)
        if head.config != expected:
            raise ConfigError(f"head: expected {expected} for this base, got {head.config}")
        super().__init__(
            image_encoder=HqImageEncoder(base.image_encoder, head),  # type: ignore[arg-type]
            prompt_encoder=base.prompt_encoder,
            mask_decoder=HqMaskDecoder(base.mask_decoder, head),  # type: ignore[arg-type]
            config=base.config,
        )
        self.pixel_mean, self.pixel_std = base.pixel_mean, base.pixel_std

    @property
    def head(self) -> HqHead:
        """The head."""
        return self.mask_decoder.head
