"""SAM's two-way transformer, with the prompt attention mask in token-to-image attention only (paper section 3.3).

A switch for ablation masks image-to-token attention too, which the paper found harmful without saying how it was
masked. There the masked cells are the queries: a log-mask added to their scores would change nothing (softmax does
not see a constant a row), so the additive form multiplies what a cell takes over from the tokens by its mask, and
the multiplicative form multiplies the cell's scores, as it does the other way round.
"""

import math

import torch
from torch import Tensor, nn

from zim.modeling.common import MLPBlock, attend


class Attention(nn.Module):
    """SAM's attention: projections to a narrower width, several heads, projection back."""

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        internal_dim = embedding_dim // downsample_rate
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, internal_dim)
        self.k_proj = nn.Linear(embedding_dim, internal_dim)
        self.v_proj = nn.Linear(embedding_dim, internal_dim)
        self.out_proj = nn.Linear(internal_dim, embedding_dim)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)  # (B, heads, N, C / heads)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, multiplicative: bool = False
    ) -> Tensor:
        """(B, Nq, C), (B, Nk, C), (B, Nk, C) -> (B, Nq, C).

        `bias` (B, 1, 1, Nk) is a log-mask: added to the scores, or, `multiplicative`, its exponential times them;
        `multiplicative` it may be (B, 1, Nq, 1) too.
        """
        q, k, v = self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))
        if bias is not None and multiplicative:
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1]) * bias.exp()
            out = torch.softmax(scores, dim=-1) @ v
        else:
            out = attend(q, k, v, bias)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class TwoWayAttentionBlock(nn.Module):
    """Tokens to tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, embedding_dim: int, num_heads: int, mlp_dim: int, skip_first_layer_pe: bool) -> None:
        super().__init__()
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        query_pe: Tensor,
        key_pe: Tensor,
        bias: Tensor | None,
        multiplicative: bool,
        mask_image_to_token: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, C) and image cells (B, hw, C), both updated."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        attended = self.cross_attn_token_to_image(queries + query_pe, keys + key_pe, keys, bias, multiplicative)
        queries = self.norm2(queries + attended)
        queries = self.norm3(queries + self.mlp(queries))
        cell_bias = bias.transpose(-2, -1) if bias is not None and mask_image_to_token else None  # (B, 1, hw, 1)
        score_bias = cell_bias if multiplicative else None
        looked = self.cross_attn_image_to_token(
            keys + key_pe, queries + query_pe, queries, score_bias, multiplicative
        )  # (B, hw, C)
        if cell_bias is not None and not multiplicative:
            looked = looked * cell_bias[:, 0].exp()
        return queries, self.norm4(keys + looked)


class TwoWayTransformer(nn.Module):
    """SAM's decoder transformer: `depth` two-way blocks and a last look of the tokens at the image."""

    def __init__(
        self,
        *,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        multiplicative_bias: bool = False,
        mask_image_to_token: bool = False,
    ) -> None:
        super().__init__()
        self.multiplicative_bias = multiplicative_bias
        self.mask_image_to_token = mask_image_to_token
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, skip_first_layer_pe=i == 0) for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor, attention_bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and image look at each other.

        Args:
            image_embedding: (B, C, h, w) with the dense prompt embedding added.
            image_pe: (B, C, h, w) positional encoding.
            point_embedding: (B, N, C) output tokens and sparse prompt tokens.
            attention_bias: (B, 1, h, w) log-mask for token-to-image attention (and, `mask_image_to_token`, for the
                other direction), or None.

        Returns:
            Tokens (B, N, C) and image cells (B, h*w, C).
        """
        keys = image_embedding.flatten(2).transpose(1, 2)  # (B, hw, C)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        bias = None if attention_bias is None else attention_bias.flatten(2)[:, :, None]  # (B, 1, 1, hw)
        queries = point_embedding
        for layer in self.layers:
            queries, keys = layer(
                queries, keys, point_embedding, key_pe, bias, self.multiplicative_bias, self.mask_image_to_token
            )
        attended = self.final_attn_token_to_image(
            queries + point_embedding, keys + key_pe, keys, bias, self.multiplicative_bias
        )
        return self.norm_final_attn(queries + attended), keys
