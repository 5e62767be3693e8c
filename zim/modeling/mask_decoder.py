"""From image features and embedded prompts to logits and qualities: SAM's mask decoder around ZIM's pixel decoder."""

import torch
from torch import Tensor, nn

from zim.errors import ImageError
from zim.modeling.common import MLP
from zim.modeling.features import ImageFeatures
from zim.modeling.pixel_decoder import HierarchicalPixelDecoder, SamUpscaling
from zim.modeling.two_way_transformer import TwoWayTransformer

NUM_MASK_TOKENS = 4
"""Token 0 answers with one mask, tokens 1 to 3 with three."""


class MaskDecoder(nn.Module):
    """Called with SAM's keywords; `image_embeddings` is `ImageFeatures` (a bare embedding lacks the fine strides)."""

    def __init__(
        self, *, transformer: TwoWayTransformer, pixel_decoder: HierarchicalPixelDecoder | SamUpscaling, embed_dim: int
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, embed_dim)
        self.mask_tokens = nn.Embedding(NUM_MASK_TOKENS, embed_dim)
        if isinstance(pixel_decoder, SamUpscaling):
            self.output_upscaling = pixel_decoder
        else:
            self.pixel_decoder = pixel_decoder
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(embed_dim, embed_dim, pixel_decoder.out_width, 3) for _ in range(NUM_MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(embed_dim, 256, NUM_MASK_TOKENS, 3)

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
            image_embeddings: features of one image, or of as many as divide the number of prompts (consecutive
                prompts then share an image).
            image_pe: (1, C, h, w) positional encoding of the grid.
            sparse_prompt_embeddings: (B, N, C).
            dense_prompt_embeddings: (B, C, h, w), or (B, C + 1, h, w) with the attention bias as last channel.
            multimask_output: three masks (tokens 1 to 3), or one (token 0).

        Returns:
            Logits (B, 3 or 1, S/2, S/2) and predicted qualities (B, 3 or 1).

        Raises:
            ImageError: `image_embeddings` is not `ImageFeatures`.
        """
        logits, quality = self.predict_masks(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
        wanted = slice(1, None) if multimask_output else slice(0, 1)
        return logits[:, wanted], quality[:, wanted]

    def predict_masks(
        self, image_embeddings: ImageFeatures, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, for all four tokens: logits (B, 4, S/2, S/2) and qualities (B, 4)."""
        if not hasattr(image_embeddings, "feat_s2"):
            raise ImageError(
                "image_embeddings: expected ImageFeatures (embedding and stride 2, 4, 8 features), got "
                f"{type(image_embeddings).__name__}; the fine strides cannot be rebuilt from an embedding alone"
            )
        batch = len(sparse)
        dense, bias = dense[:, : self.embed_dim], dense[:, self.embed_dim :]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(batch, -1, -1), sparse], dim=1)  # (B, 5 + N, C)
        src = _per_prompt(image_embeddings.embedding, batch) + dense
        hidden, cells = self.transformer(
            src, image_pe.expand(batch, -1, -1, -1), tokens, bias if bias.shape[1] else None
        )
        upscaled = self._upscale(cells.transpose(1, 2).reshape(src.shape), image_embeddings, batch)
        mask_hidden = hidden[:, 1 : 1 + NUM_MASK_TOKENS].unbind(1)
        weights = torch.stack(
            [mlp(token) for mlp, token in zip(self.output_hypernetworks_mlps, mask_hidden, strict=True)], dim=1
        )  # (B, 4, out_width)
        logits = (weights @ upscaled.flatten(2)).view(batch, NUM_MASK_TOKENS, *upscaled.shape[-2:])
        return logits, self.iou_prediction_head(hidden[:, 0])

    def _upscale(self, src: Tensor, features: ImageFeatures, batch: int) -> Tensor:
        if hasattr(self, "output_upscaling"):
            return self.output_upscaling(src)
        fine = (features.feat_s2, features.feat_s4, features.feat_s8)
        return self.pixel_decoder(src, *(_per_prompt(feature, batch) for feature in fine))


def _per_prompt(feature: Tensor, batch: int) -> Tensor:
    """(I, C, h, w) of I images -> (B, C, h, w), or (1, C, h, w), which broadcasts, when there is one image."""
    if len(feature) in (1, batch):
        return feature
    if batch % len(feature):
        raise ImageError(f"image_embeddings: {len(feature)} images do not divide {batch} prompts")
    return feature.repeat_interleave(batch // len(feature), dim=0)
