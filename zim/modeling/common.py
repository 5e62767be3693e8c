"""Small layers shared by the encoder and the decoder; SAM's parameter names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.modeling.packed_linear import Linears, plain_linears


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of (B, heads, N, C) maps, `bias` added to the scores.

    In bfloat16 on a CPU, PyTorch's backward pass of it is twice as slow as in float32: there it runs in float32.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            floats = (query.float(), key.float(), value.float())
            bias = None if bias is None else bias.float()
            return F.scaled_dot_product_attention(*floats, attn_mask=bias).to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channel axis of (B, C, H, W), as in SAM."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        rows = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, self.eps)
        return rows.permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """The two-layer MLP of a transformer block."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor, linears: Linears = plain_linears) -> Tensor:
        """(..., C) -> (..., C)."""
        if type(self.act) is nn.GELU:
            return linears(self.lin2, linears(self.lin1, x, gelu=True))
        return linears(self.lin2, self.act(linears(self.lin1, x)))


class MLP(nn.Module):
    """SAM's hypernetwork and quality head: `num_layers` linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(nn.Linear(n, k) for n, k in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(..., input_dim) -> (..., output_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
