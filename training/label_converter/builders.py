"""Converters out of their configurations."""

from .backbone import Backbone, TinyBackbone
from .config import ConverterConfig
from .hiera_backbone import HieraBackbone
from .matting import MaskGuidedMatting
from .zim_backbone import ZimBackbone


def build_backbone(config: ConverterConfig) -> Backbone:
    """The backbone with random weights.

    Raises:
        MissingDependencyError: Hiera without the transformers library.
    """
    if config.backbone == "tiny":
        return TinyBackbone(config.widths, depths=config.depths, stem=config.detail_widths[1])
    if config.backbone == "zim":
        return ZimBackbone(side=config.side, s32=config.widths[3])
    return HieraBackbone(embed_dim=config.widths[0], depths=config.depths, heads=config.heads, side=config.side)


def build_matting(config: ConverterConfig) -> MaskGuidedMatting:
    """The whole converter model with random weights.

    Raises:
        MissingDependencyError: Hiera without the transformers library.
    """
    return MaskGuidedMatting(
        build_backbone(config),
        detail_widths=config.detail_widths,
        decoder_widths=config.decoder_widths,
        guidance_radii=config.guidance_radii,
    )
