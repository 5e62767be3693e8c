"""SAM's prompt encoder, with two additions: a rasterised prompt map and the attention bias as channel 257."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import PromptError
from zim.modeling.common import LayerNorm2d
from zim.modeling.prompt_attention import (
    BOX_FIRST_CORNER,
    BOX_SECOND_CORNER,
    boxes_from_corners,
    point_distances,
    prompt_attention_bias,
)

MAP_SIGMAS = (2.0, 8.0)
"""Standard deviations of the Gaussians in the dense prompt map, in cells of a 64 x 64 grid."""


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of normalised coordinates, as in SAM."""

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_pos_feats))

    def encode(self, coords: Tensor) -> Tensor:
        """(..., 2) xy in [0, 1] -> (..., 2 * num_pos_feats)."""
        matrix = cast(Tensor, self.positional_encoding_gaussian_matrix)
        angles = 2 * torch.pi * ((2 * coords - 1) @ matrix.to(coords.dtype))
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1).to(matrix.dtype)

    def forward(self, grid_hw: tuple[int, int]) -> Tensor:
        """(h, w) -> (C, h, w): the encoding of the cell centres."""
        matrix = cast(Tensor, self.positional_encoding_gaussian_matrix)
        exact = torch.promote_types(matrix.dtype, torch.float32)
        y = (torch.arange(grid_hw[0], device=matrix.device, dtype=exact) + 0.5) / grid_hw[0]
        x = (torch.arange(grid_hw[1], device=matrix.device, dtype=exact) + 0.5) / grid_hw[1]
        grid = torch.stack([x.expand(grid_hw[0], -1), y[:, None].expand(-1, grid_hw[1])], dim=-1)
        return self.encode(grid).permute(2, 0, 1)


class DensePromptMap(nn.Module):
    """Box and points drawn on the embedding grid and embedded by two 1x1 convolutions.

    Channels: share of the cell inside the box, box-relative x and y in [-1, 1] inside it, and positive and negative
    point Gaussians at two scales.
    """

    def __init__(self, embed_dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(3 + 2 * len(MAP_SIGMAS), hidden, 1), nn.GELU(), nn.Conv2d(hidden, embed_dim, 1)
        )

    def rasterise(self, coords: Tensor, labels: Tensor, grid: int, stride: float) -> Tensor:
        """(B, N, 2) xy in the padded frame and (B, N) labels -> (B, 7, grid, grid)."""
        boxes, has_box = boxes_from_corners(coords, labels)
        cells = boxes / stride  # (B, 4), in cells
        edges = torch.arange(grid, device=coords.device, dtype=coords.dtype)
        centres = edges + 0.5

        def along(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
            high = torch.maximum(high, low + 1.0 / stride)
            covered = (torch.minimum(edges + 1, high[:, None]) - torch.maximum(edges, low[:, None])).clamp(0, 1)
            relative = 2 * (centres - low[:, None]) / (high - low)[:, None] - 1
            return covered, relative.clamp(-1, 1)

        cover_x, rel_x = along(cells[:, 0], cells[:, 2])
        cover_y, rel_y = along(cells[:, 1], cells[:, 3])
        cover = cover_y[:, :, None] * cover_x[:, None, :] * has_box[:, None, None]  # (B, grid, grid)
        channels = [cover, cover * rel_x[:, None, :], cover * rel_y[:, :, None]]
        squared = point_distances(coords, (grid, grid), stride)  # (B, N, grid, grid)
        for sigma_64 in MAP_SIGMAS:
            sigma = sigma_64 * grid / 64
            gaussians = torch.exp(squared / (-2 * sigma * sigma))
            for label in (1, 0):
                wanted = (labels == label)[..., None, None]
                channels.append(torch.where(wanted, gaussians, 0).amax(1))
        return torch.stack(channels, dim=1)

    def forward(self, coords: Tensor, labels: Tensor, grid: int, stride: float) -> Tensor:
        """As `rasterise`, embedded -> (B, embed_dim, grid, grid)."""
        return self.embed(self.rasterise(coords, labels, grid, stride).to(next(self.embed.parameters()).dtype))


class PromptEncoder(nn.Module):
    """SAM's prompt encoder, with its parameter names.

    `attention_sigma` (cells of a 64 x 64 grid) switches the attention bias on: it is appended to the dense
    embedding as channel `embed_dim` + 1, so that SAM's own code carries it to the mask decoder unseen.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        img_size: int,
        mask_in_chans: int = 16,
        dense_prompt_map: bool = False,
        attention_sigma: float | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.set_image_size(img_size)
        self.attention_sigma = attention_sigma
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self.dense_prompt_map = DensePromptMap(embed_dim) if dense_prompt_map else None

    def set_image_size(self, img_size: int) -> None:
        """Expect a padded frame of another side; no parameter depends on it."""
        self.input_image_size = (img_size, img_size)
        self.image_embedding_size = (img_size // 16, img_size // 16)
        self.mask_input_size = (img_size // 4, img_size // 4)

    @property
    def stride(self) -> float:
        """Pixels of the padded frame per cell of the image embedding."""
        return self.input_image_size[0] / self.image_embedding_size[0]

    def get_dense_pe(self) -> Tensor:
        """(1, C, h, w): the positional encoding of the embedding grid."""
        return self.pe_layer(self.image_embedding_size)[None]

    def _embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """(B, N, 2), (B, N) with labels -1, 0, 1, 2, 3 -> (B, N, C)."""
        size = coords.new_tensor([self.input_image_size[1], self.input_image_size[0]])
        position = self.pe_layer.encode((coords + 0.5) / size)  # + 0.5: the centre of the pixel
        position = torch.where((labels == -1)[..., None], 0.0, position)
        kinds = torch.cat([e.weight for e in (self.not_a_point_embed, *self.point_embeddings)])
        return position + kinds[(labels + 1).long()]

    def _embed_masks(self, masks: Tensor) -> Tensor:
        """(B, 1, m, m) logits, m the mask input size or twice that -> (B, C, h, w)."""
        height, width = self.mask_input_size
        if masks.shape[-2:] == (2 * height, 2 * width):
            masks = F.avg_pool2d(masks, 2)
        if masks.ndim != 4 or masks.shape[1] != 1 or masks.shape[-2:] != (height, width):
            raise PromptError(
                f"masks: expected (B, 1, {height}, {width}) or (B, 1, {2 * height}, {2 * width}) logits, "
                f"got {tuple(masks.shape)}"
            )
        return self.mask_downscaling(masks)

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts as SAM does; coordinates are in the input frame (after `ResizeLongestSide`).

        Args:
            points: (B, N, 2) float xy and (B, N) int labels: 1 foreground, 0 background, -1 padding.
            boxes: (B, 4) float xyxy.
            masks: (B, 1, m, m) float logits of an earlier prediction, m = S/4 or S/2.

        Returns:
            Sparse embeddings (B, N', C) and the dense embedding (B, C, S/16, S/16), with the attention bias as one
            more channel when it is switched on.
        """
        coords, labels = self._gather(points, boxes, masks)
        return self.embed(coords, labels, masks)

    def embed(self, coords: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """`forward` for prompts whose boxes ride along as points, so that rows with and without a box share a batch.

        Args:
            coords: (B, N, 2) float xy in the padded frame.
            labels: (B, N) int: as in `forward`, and 2 and 3 for the corners of a box.
            masks: as in `forward`, for all rows or none.
        """
        no_mask = self.no_mask_embed.weight
        grid = self.image_embedding_size
        if masks is not None:
            dense = self._embed_masks(masks)
        else:
            dense = no_mask[:, :, None, None].expand(len(coords), -1, *grid)
        if not labels.shape[1]:  # a mask alone: nothing to draw, nothing to attend to
            closed = dense.new_zeros(len(coords), 1, *grid)
            dense = dense if self.attention_sigma is None else torch.cat([dense, closed], dim=1)
            return no_mask.new_zeros(len(coords), 0, self.embed_dim), dense
        if self.dense_prompt_map is not None:
            dense = dense + self.dense_prompt_map(coords, labels, grid[0], self.stride)
        if self.attention_sigma is not None:
            sigma = self.attention_sigma * grid[0] / 64
            bias = prompt_attention_bias(coords, labels, grid, self.stride, sigma)
            dense = torch.cat([dense.expand(len(bias), -1, -1, -1), bias.to(dense.dtype)], dim=1)
        return self._embed_points(coords, labels), dense

    def _gather(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """All point-like prompts of a row in SAM's order: points, a padding point when there is no box, corners."""
        like = self.no_mask_embed.weight
        exact = torch.promote_types(like.dtype, torch.float32)  # half precision cannot tell neighbouring pixels apart
        coords_list, labels_list = [], []
        if points is not None:
            coords, labels = points[0].to(exact), points[1].long()
            if boxes is None:
                coords = F.pad(coords, (0, 0, 0, 1))
                labels = F.pad(labels, (0, 1), value=-1)
            coords_list.append(coords)
            labels_list.append(labels)
        if boxes is not None:
            corner_labels = torch.tensor([BOX_FIRST_CORNER, BOX_SECOND_CORNER], device=boxes.device)
            coords_list.append(boxes.reshape(-1, 2, 2).to(exact))
            labels_list.append(corner_labels.expand(len(boxes), 2))
        if not coords_list:
            batch = 1 if masks is None else len(masks)
            return like.new_zeros(batch, 0, 2, dtype=exact), torch.zeros(batch, 0, dtype=torch.long, device=like.device)
        return torch.cat(coords_list, dim=1), torch.cat(labels_list, dim=1)
