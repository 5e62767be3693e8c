"""Hiera of the transformers library as a backbone; the label enters through a patch embedding of its own."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import CheckpointError, MissingDependencyError

from .layers import GuidedProjection


class HieraBackbone(nn.Module):
    """`transformers.HieraModel` at one side; its stages are the maps at strides 4, 8, 16 and 32.

    Args:
        embed_dim: channels of the first stage; each stage doubles them.
        depths: blocks of each stage.
        heads: of the first stage, doubled likewise.
        side: of the input in pixels, a multiple of 32.

    Raises:
        MissingDependencyError: transformers is not installed.
    """

    def __init__(self, *, embed_dim: int, depths: tuple[int, ...], heads: int, side: int) -> None:
        super().__init__()
        library = _transformers()
        config = library.HieraConfig(
            image_size=(side, side),
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=[heads * 2**i for i in range(4)],
        )
        self.hiera: Any = library.HieraModel(config, add_pooling_layer=False)
        patches = self.hiera.embeddings.patch_embeddings
        patches.projection = GuidedProjection(patches.projection)
        self.channels = (embed_dim, embed_dim * 2, embed_dim * 4, embed_dim * 8)

    def forward(self, image: Tensor, label: Tensor) -> list[Tensor]:
        output = self.hiera(torch.cat([image, 2 * label - 1], 1), output_hidden_states=True, return_dict=True)
        return [x.permute(0, 3, 1, 2).contiguous() for x in output.reshaped_hidden_states[1:]]

    def load_pretrained(self, source: str | Path) -> None:
        """Take over published weights; positions are interpolated to this side, the label's embedding stays.

        source: a local folder, or a name on the Hugging Face hub such as facebook/hiera-base-plus-224-hf.

        Raises:
            CheckpointError: nothing can be loaded from there, or it is a Hiera of another size.
        """
        try:
            found = _transformers().HieraModel.from_pretrained(str(source), add_pooling_layer=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"hiera: expected weights at {source}, got none that load ({error})") from error
        state = found.state_dict()
        state["embeddings.position_embeddings"] = _resized_positions(
            state["embeddings.position_embeddings"], self.hiera.embeddings.position_embeddings.shape[1]
        )
        projection = "embeddings.patch_embeddings.projection"
        for name in ("weight", "bias"):
            state[f"{projection}.image.{name}"] = state.pop(f"{projection}.{name}")
        state[f"{projection}.label.weight"] = self.hiera.state_dict()[f"{projection}.label.weight"]
        try:
            self.hiera.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"hiera: {source} is of another size: {str(error).splitlines()[1:2]}") from error


def _resized_positions(positions: Tensor, count: int) -> Tensor:
    """(1, n*n, C) -> (1, count, C), count a square, by bicubic interpolation."""
    old, new = int(positions.shape[1] ** 0.5), int(count**0.5)
    grid = positions.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(1, count, -1)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "hiera: the transformers library is needed; pip install 'zim-matting[scale]'"
        ) from error
    return transformers
