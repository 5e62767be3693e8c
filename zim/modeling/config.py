"""Frozen configurations of the networks, and their named presets."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from zim.errors import ConfigError
from zim.modeling.image_encoder import VIT_B, VIT_H, VIT_L, ViTConfig

PromptAttention = Literal["none", "additive", "multiplicative"]
PixelDecoderKind = Literal["hierarchical", "sam"]
Architecture = Literal["zim", "sam"]

CALIBRATION_FIELDS = ("quality_scale", "stability_scale")
ZIM_QUALITY_SCALE = 0.6
ZIM_STABILITY_SCALE = 0.1
"""Scales for the automatic generator, chosen with the shipped zim_tiny on 19 demo photographs (not calibrated)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyEncoderConfig:
    """The small two-rate encoder: a context trunk at a fixed low resolution, a detail stem at full resolution."""

    trunk_size: int = 256
    trunk_widths: tuple[int, int, int] = (32, 64, 192)
    trunk_depths: tuple[int, int, int] = (1, 2, 6)
    num_heads: int = 6
    mlp_ratio: float = 3.0
    context_width: int = 64
    stem_widths: tuple[int, int, int] = (16, 24, 48)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZimConfig:
    """Everything that is needed to rebuild a model from its weights.

    `prompt_attention` is the form of prompt-aware masked attention (paper section 3.3; which of the two forms the
    paper uses is not published), `pixel_decoder` the hierarchical decoder or SAM's two transposed convolutions:
    both can be switched off for ablation. `mask_image_to_token` (for ablation only, the paper found it harmful) masks
    the image cells' look at the tokens too. `point_sigma` is the standard deviation of a point's attention mask in
    cells of a 64 x 64 grid. `dense_prompt_map` adds a rasterised prompt to the dense embedding, without which
    training from scratch hardly starts. `architecture` "sam" describes the baseline: SAM's own classes around the
    same encoder and prompt encoder.

    `quality_scale` and `stability_scale` say what the automatic generator needs to know of trained weights: the
    predicted quality that counts as 1 under SAM's default thresholds, and the change of a logit that counts as 1.
    They describe no part of the network, so they play no role when two configurations are compared; None takes
    the defaults below, 1 for the "sam" architecture.
    """

    architecture: Architecture = "zim"
    img_size: int = 1024
    embed_dim: int = 256
    tiny_encoder: TinyEncoderConfig | None = None
    vit: ViTConfig | None = None
    transformer_mlp_dim: int = 2048
    prompt_attention: PromptAttention = "additive"
    mask_image_to_token: bool = False
    point_sigma: float = 21.0
    dense_prompt_map: bool = False
    pixel_decoder: PixelDecoderKind = "hierarchical"
    pixel_widths: tuple[int, int, int] = (48, 24, 16)
    quality_scale: float | None = dataclasses.field(default=None, compare=False)
    stability_scale: float | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        if (self.tiny_encoder is None) == (self.vit is None):
            raise ConfigError("config: expected exactly one of tiny_encoder and vit")
        for name in ("img_size", "embed_dim", "transformer_mlp_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"config.{name}: expected a positive integer, got {value!r}")
        if self.img_size % 16:
            raise ConfigError(f"config.img_size: expected a positive multiple of 16, got {self.img_size}")
        if self.architecture not in ("zim", "sam"):
            raise ConfigError(f"config.architecture: unknown kind {self.architecture!r}")
        if len(self.pixel_widths) != 3 or min(self.pixel_widths) < 1:
            raise ConfigError(f"config.pixel_widths: expected three positive integers, got {self.pixel_widths}")
        if self.prompt_attention not in ("none", "additive", "multiplicative"):
            raise ConfigError(f"config.prompt_attention: unknown form {self.prompt_attention!r}")
        if not isinstance(self.mask_image_to_token, bool):
            raise ConfigError(f"config.mask_image_to_token: expected true or false, got {self.mask_image_to_token!r}")
        if self.mask_image_to_token and self.prompt_attention == "none":
            raise ConfigError("config.mask_image_to_token: expected a prompt_attention other than 'none' beside it")
        if self.pixel_decoder not in ("hierarchical", "sam"):
            raise ConfigError(f"config.pixel_decoder: unknown kind {self.pixel_decoder!r}")
        if not 0 < self.point_sigma < float("inf"):
            raise ConfigError(f"config.point_sigma: expected a positive number, got {self.point_sigma}")
        for name in CALIBRATION_FIELDS:
            scale = getattr(self, name)
            if scale is not None and not 0 < scale < float("inf"):
                raise ConfigError(f"config.{name}: expected a positive number or None, got {scale!r}")

    @property
    def grid_size(self) -> int:
        """Side of the image embedding in cells."""
        return self.img_size // 16

    @property
    def quality_scale_in_use(self) -> float:
        """Predicted quality that counts as 1 under SAM's default `pred_iou_thresh`."""
        return _scale(self.quality_scale, ZIM_QUALITY_SCALE, self.architecture)

    @property
    def stability_scale_in_use(self) -> float:
        """Change of a logit that counts as 1 under SAM's default `stability_score_offset`."""
        return _scale(self.stability_scale, ZIM_STABILITY_SCALE, self.architecture)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that `from_dict` turns back into an equal configuration; unset scales left out."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if value is not None or key not in CALIBRATION_FIELDS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ZimConfig":
        """Rebuild a configuration from `to_dict`'s dictionary (or the JSON of it).

        Raises:
            ConfigError: an unknown key or an impossible value.
        """
        fields = dict(values)
        try:
            for name, kind in (("tiny_encoder", TinyEncoderConfig), ("vit", ViTConfig)):
                if fields.get(name) is not None:
                    if not isinstance(fields[name], Mapping):
                        raise ConfigError(f"config.{name}: expected a mapping, got {fields[name]!r}")
                    fields[name] = kind(**_tuples(fields[name]))
            return cls(**_tuples(fields))
        except TypeError as error:
            raise ConfigError(f"config: {error}") from error


def _scale(given: float | None, default: float, architecture: Architecture) -> float:
    if given is not None:
        return given
    return 1.0 if architecture == "sam" else default


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


ZIM_TINY = ZimConfig(tiny_encoder=TinyEncoderConfig(), transformer_mlp_dim=512, dense_prompt_map=True)
"""The shipped model: about 5.4 M parameters; see its model card for command, time and score."""

SAM_TINY = dataclasses.replace(ZIM_TINY, architecture="sam", prompt_attention="none", pixel_decoder="sam")
"""The shipped baseline: the same encoder and prompt encoder under segment_anything's own Sam and MaskDecoder."""

ZIM_VIT_B = ZimConfig(vit=VIT_B, pixel_widths=(96, 48, 32))
"""The paper's model: SAM's ViT-B. No weights are shipped; initialise from SAM's checkpoint."""

ZIM_VIT_L = dataclasses.replace(ZIM_VIT_B, vit=VIT_L)
"""The paper's larger model: SAM's ViT-L. No weights are shipped."""

ZIM_VIT_H = dataclasses.replace(ZIM_VIT_B, vit=VIT_H)
"""SAM's ViT-H, not explored in the paper. No weights are shipped."""

ZIM_TEST = ZimConfig(
    img_size=128,
    tiny_encoder=TinyEncoderConfig(
        trunk_size=64,
        trunk_widths=(8, 8, 16),
        trunk_depths=(1, 1, 1),
        num_heads=2,
        context_width=8,
        stem_widths=(4, 4, 8),
    ),
    transformer_mlp_dim=32,
    dense_prompt_map=True,
    pixel_widths=(8, 8, 4),
)
"""A model small enough for tests; its weights are random."""
