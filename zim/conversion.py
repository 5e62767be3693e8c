"""A ZIM out of a live model of SAM's shape: `segment_anything`'s `Sam`, MobileSAM, HQ-SAM and their kin.

What is taken over is copied, so that training the ZIM leaves the model it came from as it is:

| part | in the ZIM |
|---|---|
| image encoder | the module itself (a deep copy), whatever its class: the same embedding, bit for bit |
| prompt encoder | the weights, in ZIM's own class: the same sparse tokens; the attention bias rides along |
| two-way transformer, output tokens, quality head | the weights, in ZIM's own classes |
| detail stem, hierarchical pixel decoder, last hypernetwork layers | new, random |
| SAM's transposed convolutions, HQ-SAM's additions | left out |

The result is trained and asked like any other ZIM. `ZimConfig` can describe SAM's ViT and this package's tiny
encoder, so that a checkpoint of them is rebuilt from its file alone (by this package's faster ViT, whose embedding
differs by rounding only). Any other encoder lives in its own library: `config.to_dict()` says so.
"""

import copy
import dataclasses
import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from zim.checkpoints import initialise_from_sam
from zim.checks import describe
from zim.errors import CheckpointError, ConfigError
from zim.modeling.config import ZIM_VIT_B, ZimConfig
from zim.modeling.image_encoder import NORM_EPS, ViTConfig, build_vit_encoder
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD, Zim, build_zim

NEEDED = (
    "image_encoder.img_size",
    "prompt_encoder.pe_layer",
    "prompt_encoder.point_embeddings",
    "prompt_encoder.image_embedding_size",
    "prompt_encoder.no_mask_embed",
    "mask_decoder.transformer.layers",
    "mask_decoder.iou_token",
    "mask_decoder.mask_tokens",
    "mask_decoder.output_hypernetworks_mlps",
    "mask_decoder.iou_prediction_head",
    "pixel_mean",
    "pixel_std",
)
"""Attributes by which a model of SAM's shape is known."""

HQ_ADDITIONS: Mapping[str, str] = {
    "mask_decoder.hf_token.*": "HQ-SAM's output token",
    "mask_decoder.hf_mlp.*": "the hypernetwork of HQ-SAM's token",
    "mask_decoder.compress_vit_feat.*": "HQ-SAM's early encoder features; ZIM looks at the image itself",
    "mask_decoder.embedding_encoder.*": "HQ-SAM's upscaling",
    "mask_decoder.embedding_maskfeature.*": "HQ-SAM's upscaling",
}
"""Weights of HQ-SAM that ZIM has no place for (pattern -> what they are)."""

STRIDE, TRANSFORMER_LAYERS, TRANSFORMER_HEADS = 16, 2, 8

_log = logging.getLogger("zim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignEncoderConfig(ZimConfig):
    """The configuration of a ZIM around an encoder that this package cannot build; `reason` says why it cannot."""

    reason: str = ""

    def __post_init__(self) -> None:
        """Nothing to check: neither `vit` nor `tiny_encoder` is set, the rest was checked when ZIM was built."""

    def to_dict(self) -> dict[str, Any]:
        """Refuse: no dictionary could rebuild the encoder.

        Raises:
            ConfigError: always; it tells how the weights can be kept.
        """
        raise ConfigError(
            f"config: this ZIM cannot be rebuilt from a checkpoint alone: {self.reason}. Its weights can be kept: "
            "save_checkpoint(path, model.state_dict(), config={}) of zim.checkpoints, and later "
            "load_into(zim.from_sam(sam), read_checkpoint(path).state_dict) with the same kind of sam"
        )


def convert_sam(sam: nn.Module) -> Zim:
    """A ZIM with the encoder, prompt encoder, transformer and tokens of a SAM-like model, on its device.

    The new parts are random: the ZIM has to be trained before its alphas mean anything. All its parameters can
    be trained, also those that the model held fixed. Any input size that is a multiple of 16 is kept.

    Args:
        sam: a model of SAM's shape; it is not changed, and shares no memory with the result.

    Returns:
        The ZIM, in evaluation mode, in the floating type of the model.

    Raises:
        ConfigError: a model of another shape; the message names what is missing or differs.
    """
    _require_shape(sam)
    config = _config_for(sam)
    model = _build(sam, config)
    try:
        report = initialise_from_sam(model, shared_weights(sam.state_dict()))
    except CheckpointError as error:
        raise ConfigError(f"sam: {_name(sam)} is not of SAM's shape: {error}") from error
    like = next(sam.parameters())
    model.to(device=like.device, dtype=like.dtype).requires_grad_(True)
    model.pixel_mean = _pixel_constant(sam, "pixel_mean").to(model.device)
    model.pixel_std = _pixel_constant(sam, "pixel_std").to(model.device)
    _log.warning("ZIM from %s; train it before use\n%s", _name(sam), report.summary())
    return model.eval()


def shared_weights(sam_state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a SAM or HQ-SAM without HQ-SAM's additions."""
    return {
        key: value
        for key, value in sam_state_dict.items()
        if not any(fnmatchcase(key, pattern) for pattern in HQ_ADDITIONS)
    }


def _require_shape(sam: Any) -> None:
    """Raise a ConfigError that lists what is missing or other than in SAM."""
    if isinstance(sam, Zim):
        raise ConfigError("sam: expected a model of SAM's shape, got one that is a ZIM already")
    missing = list(dict.fromkeys(_missing_part(sam, path) for path in NEEDED if not _has(sam, path)))
    if missing or not isinstance(sam, nn.Module):
        advice = "; give its .model" if isinstance(getattr(sam, "model", None), nn.Module) else ""
        got = f"{_name(sam)} without {', '.join(missing)}" if missing else f"{_name(sam)}, which is no torch module"
        raise ConfigError(f"sam: expected a model of SAM's shape or the path of its checkpoint, got {got}{advice}")
    model: Any = sam
    _require_frame(model)
    _require_transformer(model.mask_decoder.transformer)


def _require_frame(sam: Any) -> None:
    """Raise a ConfigError where the input size, the grid of cells or the order of colours cannot be ZIM's."""
    side = sam.image_encoder.img_size
    if isinstance(side, bool) or not isinstance(side, int) or side < STRIDE or side % STRIDE:
        raise ConfigError(f"sam.image_encoder.img_size: expected a positive multiple of {STRIDE}, got {side!r}")
    grid = tuple(sam.prompt_encoder.image_embedding_size)
    if grid != (side // STRIDE, side // STRIDE):
        raise ConfigError(
            f"sam.prompt_encoder.image_embedding_size: expected {(side // STRIDE,) * 2}, the input size of {side} "
            f"in cells of {STRIDE} pixels, got {grid}"
        )
    if getattr(sam, "image_format", "RGB") != "RGB":
        raise ConfigError(f'sam.image_format: expected "RGB", got {sam.image_format!r}')


def _require_transformer(transformer: Any) -> None:
    """Raise a ConfigError where the numbers that no weight shows are other than SAM's."""
    layers = list(transformer.layers)
    heads = {module.num_heads for module in transformer.modules() if hasattr(module, "num_heads")}
    if len(layers) != TRANSFORMER_LAYERS or heads != {TRANSFORMER_HEADS}:
        raise ConfigError(
            f"sam.mask_decoder.transformer: expected {TRANSFORMER_LAYERS} layers of {TRANSFORMER_HEADS} heads, "
            f"got {len(layers)} of {sorted(heads, key=str)}"
        )
    if not all(_has(layer, "mlp.lin1") and isinstance(layer.mlp.act, nn.ReLU) for layer in layers):
        raise ConfigError("sam.mask_decoder.transformer: expected layers with an mlp (lin1, ReLU act, lin2)")


def _config_for(sam: Any) -> ZimConfig:
    """The configuration of the ZIM to be: one that rebuilds it, or one that says why none can."""
    side, width = sam.image_encoder.img_size, sam.mask_decoder.mask_tokens.weight.shape[1]
    mlp_dim = sam.mask_decoder.transformer.layers[0].mlp.lin1.out_features
    own = getattr(sam, "config", None)
    if isinstance(own, ZimConfig) and own.tiny_encoder is not None:
        return dataclasses.replace(own, architecture="zim", prompt_attention="additive", pixel_decoder="hierarchical")
    common = dict(
        img_size=side,
        embed_dim=width,
        transformer_mlp_dim=mlp_dim,
        pixel_widths=ZIM_VIT_B.pixel_widths,
        dense_prompt_map=getattr(sam.prompt_encoder, "dense_prompt_map", None) is not None,
    )
    vit = _vit_config(sam.image_encoder)
    usual = ZimConfig(vit=_stand_in(side, width), **common)
    if vit is None:
        reason = f"its image encoder, {_name(sam.image_encoder)}, belongs to another library"
    elif not (_normalises_by(sam, "pixel_mean", PIXEL_MEAN) and _normalises_by(sam, "pixel_std", PIXEL_STD)):
        reason = "it normalises pixels in another way than SAM (pixel_mean, pixel_std)"
    else:
        return dataclasses.replace(usual, vit=vit)
    return ForeignEncoderConfig(reason=reason, **common)


def _build(sam: Any, config: ZimConfig) -> Zim:
    """A ZIM of that configuration; but for the tiny encoder, with a copy of the model's own encoder."""
    if config.tiny_encoder is not None:
        return build_zim(config)
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(ZimConfig)}
    model = build_zim(ZimConfig(**{**fields, "vit": _stand_in(config.img_size, config.embed_dim)}))
    try:
        encoder = copy.deepcopy(sam.image_encoder)
    except Exception as error:  # whatever a module of somebody else's cannot copy
        raise ConfigError(f"sam.image_encoder: expected a module that can be copied, got {error}") from error
    encoder.register_forward_hook(partial(_embedding_alone, config.embed_dim))
    model.image_encoder.backbone = encoder
    model.config = config
    return model


def _embedding_alone(width: int, encoder: Any, inputs: Any, output: Any) -> Tensor:
    """A forward hook: of an answer with more in it (HQ-SAM's early features) keep the embedding, which comes first."""
    embedding = output[0] if isinstance(output, tuple | list) and output else output
    cells = encoder.img_size // STRIDE
    if not isinstance(embedding, Tensor) or tuple(embedding.shape[1:]) != (width, cells, cells):
        raise ConfigError(
            f"image_encoder: expected {_name(encoder)} to answer with an embedding (B, {width}, {cells}, {cells}), "
            f"alone or first of several, got {describe(embedding)}"
        )
    return embedding


def _vit_config(encoder: Any) -> ViTConfig | None:
    """The numbers of an encoder that is SAM's ViT in every weight and constant; None for any other."""
    try:
        blocks = list(encoder.blocks)
        config = ViTConfig(
            embed_dim=encoder.patch_embed.proj.out_channels,
            depth=len(blocks),
            num_heads=blocks[0].attn.num_heads,
            global_attn_indexes=tuple(index for index, block in enumerate(blocks) if not block.window_size),
            img_size=encoder.img_size,
            patch_size=encoder.patch_embed.proj.kernel_size[0],
            window_size=max(block.window_size for block in blocks) or ViTConfig.window_size,
            out_chans=encoder.neck[0].out_channels,
            mlp_ratio=blocks[0].mlp.lin1.out_features / encoder.patch_embed.proj.out_channels,
        )
        same_numbers = all(
            block.attn.num_heads == config.num_heads and isinstance(block.mlp.act, nn.GELU) for block in blocks
        )
    except (AttributeError, IndexError, TypeError, ConfigError):
        return None
    with torch.device("meta"):
        twin = build_vit_encoder(config)
    same_norms = all(module.eps == NORM_EPS for module in encoder.modules() if hasattr(module, "eps"))
    return config if same_numbers and same_norms and _shapes(encoder) == _shapes(twin) else None


def _stand_in(side: int, width: int) -> ViTConfig:
    """The smallest encoder of an input size and width, to be replaced."""
    return ViTConfig(embed_dim=8, depth=1, num_heads=1, global_attn_indexes=(), img_size=side, out_chans=width)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items()}


def _pixel_constant(sam: Any, name: str) -> Tensor:
    return getattr(sam, name).detach().cpu().float().reshape(-1, 1, 1).clone()


def _normalises_by(sam: Any, name: str, usual: tuple[float, ...]) -> bool:
    return torch.allclose(_pixel_constant(sam, name).flatten(), torch.tensor(usual), atol=1e-3)


def _has(value: Any, path: str) -> bool:
    try:
        attrgetter(path)(value)
    except AttributeError:
        return False
    return True


def _missing_part(value: Any, path: str) -> str:
    """The first step of a path that is not there: the whole encoder rather than its attributes."""
    steps = path.split(".")
    prefixes = (".".join(steps[:count]) for count in range(1, len(steps)))
    return next((prefix for prefix in prefixes if not _has(value, prefix)), path)


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
