"""The parts of a model as the graphs of the official format have them: plain tensors in, plain tensors out."""

import torch
from torch import Tensor, nn

from zim.modeling.features import ImageFeatures
from zim.modeling.prompt_attention import prompt_attention_bias
from zim.modeling.zim import Zim
from zim.onnx.file_format import PADDING_COORDINATE


class EncoderGraph(nn.Module):
    """image (I, 3, S, S) -> embedding, stride 2, 4, 8 features."""

    def __init__(self, model: Zim) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outputs in the format's order."""
        features = self.image_encoder(image)
        return features.embedding, features.feat_s2, features.feat_s4, features.feat_s8


class _PromptedGraph(nn.Module):
    """What both decoders share: prompts embedded inside the graph, the dense prompt map too."""

    image_pe: Tensor

    def __init__(self, model: Zim) -> None:
        super().__init__()
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.register_buffer("image_pe", model.prompt_encoder.get_dense_pe())

    def _no_mask(self, rows: Tensor) -> Tensor:
        """(B, C, g, g) of SAM's embedding for "no mask"."""
        grid = self.prompt_encoder.image_embedding_size
        return self.prompt_encoder.no_mask_embed.weight[:, :, None, None].expand(rows.shape[0], -1, *grid)

    def _drawn(self, coords: Tensor, labels: Tensor) -> Tensor:
        """(B, C, g, g): the prompts' map, or zeros in a model without one."""
        encoder = self.prompt_encoder
        if encoder.dense_prompt_map is None:
            return torch.zeros_like(self._no_mask(coords))
        return encoder.dense_prompt_map(coords, labels, encoder.image_embedding_size[0], encoder.stride)

    def _decode(self, features: ImageFeatures, sparse: Tensor, dense: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if self.prompt_encoder.attention_sigma is not None:
            dense = torch.cat([dense, bias], dim=1)  # (B, C + 1, g, g)
        return self.mask_decoder.predict_masks(features, self.image_pe, sparse, dense)


class DecoderGraph(_PromptedGraph):
    """The official decoder: the caller brings the attention mask."""

    def forward(
        self,
        feat_D0: Tensor,
        feat_D1: Tensor,
        feat_D2: Tensor,
        image_embeddings: Tensor,
        attn_mask: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, 4, S/2, S/2) and qualities (B, 4); shapes as in `zim.onnx.file_format`."""
        labels = point_labels.long()
        sparse, _ = self.prompt_encoder.embed(point_coords, labels, None)
        dense = self._no_mask(point_coords) + self._drawn(point_coords, labels)
        features = ImageFeatures(image_embeddings, feat_D0, feat_D1, feat_D2)
        return self._decode(features, sparse, dense, log_mask(attn_mask)[:, None])


class MaskInputDecoderGraph(_PromptedGraph):
    """The decoder in one file: it makes the attention mask itself and takes an earlier answer; N may be 0."""

    def forward(
        self,
        feat_D0: Tensor,
        feat_D1: Tensor,
        feat_D2: Tensor,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, 4, S/2, S/2) and qualities (B, 4); shapes as in `zim.onnx.file_format`."""
        encoder = self.prompt_encoder
        # One more padding point, so that a maximum over no points at all never happens; its token is dropped.
        coords = nn.functional.pad(point_coords, (0, 0, 0, 1), value=PADDING_COORDINATE)  # (B, N + 1, 2)
        labels = nn.functional.pad(point_labels, (0, 1), value=-1.0).long()  # (B, N + 1)
        sparse = encoder.embed(coords, labels, None)[0][:, :-1]
        any_point = (torch.ones_like(point_labels).sum(1) > 0)[:, None, None, None]
        has_mask = (has_mask_input > 0)[:, None, None, None]
        dense = torch.where(has_mask, encoder.mask_downscaling(mask_input), self._no_mask(coords))
        dense = dense + torch.where(any_point, self._drawn(coords, labels), 0.0)
        sigma, grid = encoder.attention_sigma, encoder.image_embedding_size
        cells = 1.0 if sigma is None else sigma * grid[0] / 64
        bias = prompt_attention_bias(coords, labels, grid, encoder.stride, cells)
        features = ImageFeatures(image_embeddings, feat_D0, feat_D1, feat_D2)
        return self._decode(features, sparse, dense, bias)


def log_mask(attn_mask: Tensor) -> Tensor:
    """What is added to attention scores: the logarithm of positive values, the others as they are."""
    positive = attn_mask > 0
    return torch.where(positive, torch.log(torch.where(positive, attn_mask, 1.0)), attn_mask)
