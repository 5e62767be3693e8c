"""The mask decoder at the widths of the paper's models, the same in its naive form, and SAM's."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError
from zim.evaluation.bench.cases import randomise
from zim.evaluation.bench.interleaved import Case
from zim.modeling.config import ZimConfig
from zim.modeling.detail_stem import DetailMaps, DetailStem
from zim.modeling.features import ImageFeatures
from zim.modeling.mask_decoder import MaskDecoder
from zim.modeling.pixel_decoder import FusionImageHalves, HierarchicalPixelDecoder, upsample2
from zim.modeling.two_way_transformer import TwoWayTransformer
from zim.modeling.zim import VIT_STEM_WIDTHS

EMBED_DIM, GRID = 256, 64


class NaivePixelDecoder(HierarchicalPixelDecoder):
    """The pixel decoder as one would write it down: upsample, concatenate with the image's maps, convolve; each time.

    With the weights of the split form its result is the same.
    """

    def __init__(self, widths: tuple[int, int, int], halves: FusionImageHalves, maps: DetailMaps) -> None:
        super().__init__(EMBED_DIM, widths)
        self._halves, self._maps = (halves,), maps  # in a tuple: the halves are no part of this module

    def forward(self, embedding: Tensor, feat_s2: Tensor, feat_s4: Tensor, feat_s8: Tensor) -> Tensor:
        """As the split form; the image's features are not looked at."""
        (halves,), maps = self._halves, self._maps
        x = _fused(self.reduce8(embedding), maps.s8, self.fuse8, halves.half8)
        x = _fused(self.reduce4(F.gelu(self.norm8(x))), maps.s4, self.fuse4, halves.half4)
        x = _fused(self.reduce2(F.gelu(self.norm4(x))), maps.s2, self.fuse2, halves.half2)
        return F.gelu(x)


def _fused(x: Tensor, feature: Tensor, prompt_half: nn.Conv2d, image_half: nn.Conv2d) -> Tensor:
    """One convolution over the concatenated channels."""
    weight = torch.cat([prompt_half.weight, image_half.weight], 1)
    stacked = torch.cat([upsample2(x), feature.expand(len(x), -1, -1, -1)], 1)
    return F.conv2d(stacked, weight, image_half.bias, padding=1)


def decoder_case(config: ZimConfig, prompts: int, device: torch.device) -> Case:
    """`segment_anything`'s decoder, ours and ours in its naive form, on the features of one image; random weights.

    prompts: of one box each. The results of the last two are equal.

    Raises:
        ConfigError: a configuration whose encoder has maps of its own.
        MissingDependencyError: segment_anything is not installed.
    """
    from zim.compat.segment_anything import import_segment_anything

    if config.vit is None or config.pixel_decoder != "hierarchical":
        raise ConfigError("config: expected a ViT with the hierarchical decoder, got another model")
    modeling = import_segment_anything().modeling
    sam = modeling.MaskDecoder(
        num_multimask_outputs=3,
        transformer=modeling.TwoWayTransformer(
            depth=2, embedding_dim=EMBED_DIM, num_heads=8, mlp_dim=config.transformer_mlp_dim
        ),
        transformer_dim=EMBED_DIM,
    )
    stem = DetailStem(VIT_STEM_WIDTHS)
    halves = FusionImageHalves(VIT_STEM_WIDTHS, config.pixel_widths)
    transformer = TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, num_heads=8, mlp_dim=config.transformer_mlp_dim)
    split = HierarchicalPixelDecoder(EMBED_DIM, config.pixel_widths)
    zim = MaskDecoder(transformer=transformer, pixel_decoder=split, embed_dim=EMBED_DIM)
    for module in (sam, stem, halves, zim):
        randomise(module)
        module.to(device).eval()
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    with torch.inference_mode():
        maps = stem(noise(1, 3, 16 * GRID, 16 * GRID))
        features = ImageFeatures(noise(1, EMBED_DIM, GRID, GRID), *halves(maps))
    written_out = NaivePixelDecoder(config.pixel_widths, halves, maps)
    naive = MaskDecoder(transformer=transformer, pixel_decoder=written_out, embed_dim=EMBED_DIM).to(device).eval()
    naive.load_state_dict(zim.state_dict())
    given = (
        noise(1, EMBED_DIM, GRID, GRID),
        noise(prompts, 2, EMBED_DIM),
        noise(1, EMBED_DIM, GRID, GRID).expand(prompts, -1, -1, -1),
    )
    calls = {
        "segment_anything": partial(_decode, sam, features.embedding, *given),
        "zim": partial(_decode, zim, features, *given),
        "zim, naive": partial(_decode, naive, features, *given),
    }
    return Case(f"decoder at the paper's widths, {prompts} prompts", calls)


@torch.inference_mode()
def _decode(
    decoder: nn.Module, features: Tensor | ImageFeatures, positions: Tensor, sparse: Tensor, dense: Tensor
) -> Tensor:
    logits: Tensor = decoder(
        image_embeddings=features,
        image_pe=positions,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )[0]
    return logits
