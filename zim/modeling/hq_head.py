"""HQ-SAM's head: one more output token and a finer map for it, beside a mask decoder that stays as it is.

After Ke et al., "Segment Anything in High Quality" (arXiv 2306.01567, section 3.2). The *HQ token* goes through the
frozen two-way transformer with the others; a three-layer MLP turns it into the weights of one more mask. They are
applied to the sum of three maps: the decoder's own upscaled map, convolved; the image encoder's early map; and the
final image embedding. The last two depend on the image alone and are made once an image (`image_features`).

Three kinds of early maps give three heads, which differ in shape only:

| head | early maps | the sum lies at |
|---|---|---|
| SAM with a ViT (as published, same parameter names) | output of the first block with global attention, stride 16 | 4 |
| SAM with the tiny encoder | its own maps at strides 4 and 8 | 4 |
| ZIM | the image halves of the pixel decoder at strides 2 and 4 | 2 |
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError
from zim.modeling.common import MLP, LayerNorm2d
from zim.modeling.config import ZimConfig

HqKind = Literal["hq_sam", "hq_zim"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HqHeadConfig:
    """Everything that is needed to rebuild a head.

    architecture: whose mask decoder it stands beside. embed_dim: channels of the image embedding and of the tokens.
    early_widths: channels of the early maps: one number for a ViT's, two for strides 4 and 8 (SAM) or 2 and 4 (ZIM).
    width: channels of the decoder's upscaled map. hidden: channels between the two convolutions on it.
    """

    architecture: HqKind
    embed_dim: int
    early_widths: tuple[int, ...]
    width: int
    hidden: int

    def __post_init__(self) -> None:
        if self.architecture not in ("hq_sam", "hq_zim"):
            raise ConfigError(f"head.architecture: expected hq_sam or hq_zim, got {self.architecture!r}")
        numbers = (self.embed_dim, *self.early_widths, self.width, self.hidden)
        if not all(isinstance(n, int) and n >= 1 for n in numbers):
            raise ConfigError(f"head: expected positive integers as widths, got {dataclasses.asdict(self)}")
        if len(self.early_widths) not in ((1, 2) if self.architecture == "hq_sam" else (2,)):
            raise ConfigError(f"head.early_widths: unexpected number for {self.architecture}: {self.early_widths}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that `from_dict` turns back into an equal configuration."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HqHeadConfig":
        """Rebuild a configuration from `to_dict`'s dictionary (or the JSON of it).

        Raises:
            ConfigError: an unknown or missing key, or an impossible value.
        """
        try:
            return cls(**{**values, "early_widths": tuple(values.get("early_widths", ()))})
        except TypeError as error:
            raise ConfigError(f"head: {error}") from error

    @classmethod
    def for_base(cls, base: ZimConfig) -> "HqHeadConfig":
        """The head that fits a base model: ZIM's, or SAM's when its pixel decoder is SAM's.

        Raises:
            ConfigError: the base has neither a ViT nor the tiny encoder.
        """
        if base.pixel_decoder == "hierarchical":
            _, w4, w2 = base.pixel_widths
            return cls(architecture="hq_zim", embed_dim=base.embed_dim, early_widths=(w2, w4), width=w2, hidden=w2)
        if base.tiny_encoder is not None:
            early: tuple[int, ...] = base.tiny_encoder.stem_widths[1:]
        elif base.vit is not None:
            early = (base.vit.embed_dim,)
        else:
            raise ConfigError("base: expected a model with a ViT or the tiny encoder, got one with another encoder")
        width = base.embed_dim // 8
        return cls(
            architecture="hq_sam", embed_dim=base.embed_dim, early_widths=early, width=width, hidden=2 * width
        )


class EarlyMapFusion(nn.Module):
    """Two early maps of the image, the second at half the resolution of the first, as one."""

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(widths[0], outputs, 3, padding=1)
        self.coarse = nn.Conv2d(widths[1], outputs, 1)
        self.norm = LayerNorm2d(outputs)
        self.out = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, C1, h, w), (B, C2, h/2, w/2) -> (B, outputs, h, w)."""
        raised = F.interpolate(self.coarse(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(F.gelu(self.norm(self.fine(fine) + raised)))


class EmbeddingRise(nn.Module):
    """The final embedding at ZIM's stride 2: narrow first, which commutes with the bilinear upsampling."""

    def __init__(self, embed_dim: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(embed_dim, 2 * outputs, 1)
        self.norm = LayerNorm2d(2 * outputs)
        self.out = nn.Conv2d(2 * outputs, outputs, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, C, S/16, S/16) -> (B, outputs, S/2, S/2)."""
        x = self.out(F.gelu(self.norm(self.reduce(embedding))))
        return F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)


class HqHead(nn.Module):
    """The HQ token, its MLP and the fusion; parameter names as published (`hf_token`, `compress_vit_feat`, ...)."""

    def __init__(
        self,
        *,
        config: HqHeadConfig,
        compress_vit_feat: nn.Module,
        embedding_encoder: nn.Module,
        embedding_maskfeature: nn.Module,
    ) -> None:
        super().__init__()
        self.config = config
        self.hf_token = nn.Embedding(1, config.embed_dim)
        self.hf_mlp = MLP(config.embed_dim, config.embed_dim, config.width, 3)
        self.compress_vit_feat = compress_vit_feat
        self.embedding_encoder = embedding_encoder
        self.embedding_maskfeature = embedding_maskfeature

    def image_features(self, embedding: Tensor, early: Sequence[Tensor]) -> Tensor:
        """What the head needs of the image.

        Args:
            embedding: (B, C, S/16, S/16) final image embedding.
            early: the early maps, each (B, width, h, w), in the order of `config.early_widths`.

        Returns:
            (B, width, S/4, S/4), for ZIM (B, width, S/2, S/2).
        """
        return self.embedding_encoder(embedding) + self.compress_vit_feat(*early)

    def logits(self, hidden: Tensor, upscaled: Tensor, image_features: Tensor) -> Tensor:
        """The HQ token's mask.

        Args:
            hidden: (B, C) the token after the transformer.
            upscaled: (B, width, m, m) the decoder's upscaled map.
            image_features: (B or 1, width, m, m).

        Returns:
            (B, 1, m, m) logits, to be added to the base's or to stand alone.
        """
        fused = self.embedding_maskfeature(upscaled) + image_features
        weights = self.hf_mlp(hidden)[:, None]  # (B, 1, width)
        return (weights @ fused.flatten(2)).view(len(hidden), 1, *upscaled.shape[-2:])


def build_hq_head(config: HqHeadConfig) -> HqHead:
    """A head with random weights, whose answer is 0 everywhere until it has been trained."""
    width, channels = config.width, config.embed_dim
    if config.architecture == "hq_zim":
        encoder: nn.Module = EmbeddingRise(channels, width)
    else:
        encoder = _upscaling(channels, channels // 4, width)
    if len(config.early_widths) == 1:
        compress: nn.Module = _upscaling(config.early_widths[0], channels, width)
    else:
        compress = EarlyMapFusion(config.early_widths, width)
    mask_feature = nn.Sequential(
        nn.Conv2d(width, config.hidden, 3, padding=1),
        LayerNorm2d(config.hidden),
        nn.GELU(),
        nn.Conv2d(config.hidden, width, 3, padding=1),
    )
    head = HqHead(
        config=config,
        compress_vit_feat=compress,
        embedding_encoder=encoder,
        embedding_maskfeature=mask_feature,
    )
    for parameter in head.hf_mlp.layers[-1].parameters():
        nn.init.zeros_(parameter)
    return head


def _upscaling(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Stride 16 to stride 4, as published."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, hidden, kernel_size=2, stride=2),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.ConvTranspose2d(hidden, outputs, kernel_size=2, stride=2),
    )
