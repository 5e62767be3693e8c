"""HQ models from files: the shipped heads on their bases, heads of one's own, and SAM-HQ's `.pth`."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zim.checkpoints import SAM_ENCODER, ZIM_BACKBONE, Checkpoint, load_into, load_sam_pth, read_checkpoint
from zim.errors import CheckpointError, ConfigError
from zim.modeling.config import ZimConfig
from zim.modeling.hq_head import HqHeadConfig, build_hq_head
from zim.modeling.hq_model import HqModel
from zim.modeling.image_encoder import ViTConfig
from zim.modeling.zim import Zim, build_zim
from zim.registry import shipped_weights_path, show_licence

HQ_SHIPPED: Mapping[str, str] = {"hq_sam_tiny": "sam_tiny", "hq_zim_tiny": "zim_tiny"}
"""Shipped heads, and the shipped models that they stand on."""

DECODER = "mask_decoder."
HEAD_PARTS = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
"""Parts of the published mask decoder that are the head's."""

CONSTANTS = ("pixel_mean", "pixel_std")


def sam_as_zim(config: ZimConfig) -> Zim:
    """A model with random weights that is SAM: ZIM with its two novelties switched off."""
    return build_zim(
        dataclasses.replace(
            config,
            architecture="zim",
            prompt_attention="none",
            mask_image_to_token=False,
            pixel_decoder="sam",
            quality_scale=config.quality_scale_in_use,
            stability_scale=config.stability_scale_in_use,
        )
    )


def load_base(path: str | Path) -> tuple[Zim, Checkpoint]:
    """A base for a head, from a checkpoint of ZIM or of the SAM baseline.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    checkpoint = read_checkpoint(path)
    kind = checkpoint.config.get("architecture", "zim")
    if kind not in ("zim", "sam"):
        raise CheckpointError(f'{path}: expected a base model, architecture "zim" or "sam", got {kind!r}')
    try:
        config = ZimConfig.from_dict(checkpoint.config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    base = build_zim(config) if kind == "zim" else sam_as_zim(config)
    state = checkpoint.state_dict if kind == "zim" else _renamed(checkpoint.state_dict)
    load_into(base, state)
    show_licence(checkpoint.metadata, checkpoint.sha256)
    return base.eval(), checkpoint


def load_hq(path: str | Path, base: str | Path | None = None) -> HqModel:
    """An HQ model from a head's checkpoint (`python -m training.train_hq`).

    Args:
        path: the head.
        base: the checkpoint of its base; None takes the shipped one that the head names.

    Raises:
        CheckpointError: a file cannot be read, or the head was trained on another base.
    """
    checkpoint = read_checkpoint(path)
    named, wanted = str(checkpoint.config.get("base")), checkpoint.config.get("base_sha256")
    try:
        head = build_hq_head(HqHeadConfig.from_dict(checkpoint.config.get("head") or {}))
    except ConfigError as error:
        raise CheckpointError(f"{path}: expected the config of an HQ head, got one that fails: {error}") from error
    model, found = load_base(shipped_weights_path(named) if base is None else base)
    if found.sha256 != wanted:
        raise CheckpointError(
            f"{path}: expected the base {named} with sha256 {wanted}, got {found.sha256}: the base has been trained "
            "since, and the head does not fit it any more; train the head again (python -m training.train_hq)"
        )
    load_into(head, {_own_name(key): value for key, value in checkpoint.state_dict.items()})
    show_licence(checkpoint.metadata, checkpoint.sha256)
    return HqModel(model, head).eval()


def load_shipped_hq(name: str) -> HqModel:
    """One of `HQ_SHIPPED`.

    Raises:
        CheckpointError: the file is missing or altered.
    """
    return load_hq(shipped_weights_path(name))


def is_sam_hq(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of a SAM with the HQ head."""
    return f"{DECODER}hf_token.weight" in state_dict


def load_sam_hq_pth(path: str | Path) -> HqModel:
    """A whole SAM-HQ from its published checkpoint (ViT-B, L or H); the sizes are read from the weights.

    Raises:
        CheckpointError: no SAM-HQ checkpoint, or one of another encoder (Light HQ-SAM's TinyViT).
    """
    return sam_hq_from_state(load_sam_pth(path), source=str(path))


def sam_hq_from_state(state_dict: Mapping[str, Tensor], *, source: str = "state_dict") -> HqModel:
    """As `load_sam_hq_pth`, from the state dict itself; its tensors are copied.

    Raises:
        CheckpointError: as there.
    """
    if not is_sam_hq(state_dict):
        raise CheckpointError(f"{source}: expected a SAM-HQ checkpoint, found no {DECODER}hf_token.weight in it")
    config = vit_sam_config(state_dict, source=source)
    own = {key: value for key, value in state_dict.items() if not _is_head(key) and key not in CONSTANTS}
    base = sam_as_zim(config)
    load_into(base, _renamed(own))
    head = build_hq_head(HqHeadConfig.for_base(config))
    load_into(head, {_own_name(key): value for key, value in state_dict.items() if _is_head(key)})
    return HqModel(base, head).eval()


def vit_sam_config(state_dict: Mapping[str, Tensor], *, source: str = "state_dict") -> ZimConfig:
    """The sizes of a SAM with a ViT, from the shapes of its weights.

    Raises:
        CheckpointError: the image encoder is no ViT of SAM's.
    """
    encoder = {key.removeprefix(SAM_ENCODER): v.shape for key, v in state_dict.items() if key.startswith(SAM_ENCODER)}
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.rel_pos_h", "blocks.0.mlp.lin1.weight")
    absent = [name for name in needed if name not in encoder]
    if absent:
        raise CheckpointError(
            f"{source}: expected SAM's ViT as image encoder, found no {absent[0]} in it; "
            "Light HQ-SAM (TinyViT) is another architecture, which is not supported"
        )
    width, _, patch, _ = encoder["patch_embed.proj.weight"]
    grid = encoder["pos_embed"][1]
    depth = 1 + max(int(found.group(1)) for key in encoder if (found := re.match(r"blocks\.(\d+)\.", key)))
    reach = [(encoder[f"blocks.{i}.attn.rel_pos_h"][0] + 1) // 2 for i in range(depth)]  # 2 * side - 1 rows
    vit = ViTConfig(
        embed_dim=width,
        depth=depth,
        num_heads=width // encoder["blocks.0.attn.rel_pos_h"][1],
        global_attn_indexes=tuple(i for i, side in enumerate(reach) if side == grid),
        img_size=grid * patch,
        patch_size=patch,
        window_size=min(reach),
        out_chans=encoder["neck.0.weight"][0],
        mlp_ratio=encoder["blocks.0.mlp.lin1.weight"][0] / width,
    )
    return ZimConfig(
        architecture="sam",
        img_size=vit.img_size,
        embed_dim=vit.out_chans,
        vit=vit,
        transformer_mlp_dim=state_dict[f"{DECODER}transformer.layers.0.mlp.lin1.weight"].shape[0],
        prompt_attention="none",
        pixel_decoder="sam",
    )


def _is_head(key: str) -> bool:
    return key.removeprefix(DECODER).split(".")[0] in HEAD_PARTS and key.startswith(DECODER)


def _own_name(key: str) -> str:
    return key.removeprefix(DECODER)


def _renamed(sam_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAM's image encoder is ZIM's backbone."""
    return {
        ZIM_BACKBONE + key.removeprefix(SAM_ENCODER) if key.startswith(SAM_ENCODER) else key: value
        for key, value in sam_state.items()
    }
