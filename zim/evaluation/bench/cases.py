"""What is timed: encoders, single prompts, 64 boxes, whole images; each the same work for every contestant."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zim.alpha import predict_alpha
from zim.errors import ConfigError
from zim.evaluation.bench.interleaved import Case
from zim.modeling.config import ZIM_VIT_B, ZIM_VIT_H, ZIM_VIT_L
from zim.modeling.image_encoder import ViTConfig, build_vit_encoder
from zim.protocol import Predictor

VITS: dict[str, ViTConfig] = {
    name: config.vit
    for name, config in (("vit_b", ZIM_VIT_B), ("vit_l", ZIM_VIT_L), ("vit_h", ZIM_VIT_H))
    if config.vit is not None
}
MANY = 64
"""Box prompts of the case with many."""


def encoder_case(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Case:
    """Ours and `segment_anything`'s ViT with the same random weights, on one image of 1024 px.

    Raises:
        ConfigError: no such encoder.
        MissingDependencyError: segment_anything is not installed.
    """
    if name not in VITS:
        raise ConfigError(f"--encoder: expected one of {', '.join(VITS)}, got {name!r}")
    theirs = sam_encoder(VITS[name]).to(device).eval()
    randomise(theirs)
    with torch.device("meta"):
        ours = build_vit_encoder(VITS[name])
    ours.load_state_dict(theirs.state_dict(), assign=True)
    image = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0)).to(device)
    encoders = {"segment_anything": theirs, "zim": ours.eval()}
    return Case(f"encoder {name}", {n: partial(_encode, encoder, image, dtype) for n, encoder in encoders.items()})


def sam_encoder(config: ViTConfig) -> nn.Module:
    """`segment_anything`'s encoder of these dimensions."""
    from zim.compat.segment_anything import import_segment_anything

    encoder: nn.Module = import_segment_anything().modeling.ImageEncoderViT(
        img_size=config.img_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        out_chans=config.out_chans,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window_size,
        global_attn_indexes=config.global_attn_indexes,
    )
    return encoder


def randomise(module: nn.Module) -> None:
    """Small normal weights, relative positions included; the same in every run."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in module.parameters():
            parameter.normal_(0, 0.02)


@torch.inference_mode()
def _encode(encoder: nn.Module, image: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast(image.device.type, dtype, enabled=dtype != torch.float32):
        embedding: Tensor = encoder(image)
    return embedding


def embedding_case(predictors: Mapping[str, Predictor], image: NDArray[np.uint8]) -> Case:
    """`set_image`."""
    return Case("set_image", {name: partial(p.set_image, image) for name, p in predictors.items()})


def prompt_case(predictors: Mapping[str, Predictor], image: NDArray[np.uint8]) -> Case:
    """One box prompt to alpha; all have the image already."""
    box = boxes_of(image, 1)[0]
    return Case("one prompt", {name: partial(predict_alpha, p, box=box) for name, p in predictors.items()})


def many_prompts_case(predictors: Mapping[str, Predictor], image: NDArray[np.uint8]) -> Case:
    """64 boxes of one image to logits, through `predict_torch` where there is one."""
    boxes = boxes_of(image, MANY)
    return Case(f"{MANY} prompts", {name: _many_call(p, image, boxes) for name, p in predictors.items()})


def whole_image_case(predictors: Mapping[str, Predictor], image: NDArray[np.uint8], points_per_side: int) -> Case:
    """Everything in the image by a grid of points: `segment_anything`'s own generator for its own model, ours else."""
    name = f"whole image, {points_per_side} x {points_per_side} points"
    return Case(name, {n: partial(_generator(p, points_per_side), image) for n, p in predictors.items()}, long=True)


def boxes_of(image: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """(count, 4) xyxy boxes of several sizes all over the image; the same in every run."""
    height, width = image.shape[:2]
    rng = np.random.default_rng(0)
    sizes = rng.uniform(0.1, 0.6, (count, 2)) * (width, height)
    corners = rng.uniform(0, 1, (count, 2)) * ((width - 1, height - 1) - sizes)
    return np.concatenate([corners, corners + sizes], 1).astype(np.float32)


def _many_call(predictor: Any, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Callable[[], object]:
    if not hasattr(predictor, "predict_torch"):
        return lambda: [predictor.predict(box=box, multimask_output=False, return_logits=True)[1] for box in boxes]
    scaled = predictor.transform.apply_boxes(boxes, image.shape[:2])
    tensor = torch.as_tensor(scaled, dtype=torch.float32, device=predictor.device)
    return torch.inference_mode()(
        lambda: predictor.predict_torch(None, None, tensor, None, multimask_output=False, return_logits=True)
    )


def _generator(predictor: Predictor, points_per_side: int) -> Callable[[NDArray[np.uint8]], object]:
    model = getattr(predictor, "model", None)
    if getattr(predictor, "reports_binary", False) and model is not None:
        from zim.compat.segment_anything import import_segment_anything

        stock = import_segment_anything().SamAutomaticMaskGenerator(model, points_per_side=points_per_side)
        generate: Callable[[NDArray[np.uint8]], object] = stock.generate
        return generate
    from zim.automatic_mask_generator import ZimAutomaticMaskGenerator

    return ZimAutomaticMaskGenerator(predictor, points_per_side=points_per_side).generate
