"""Attention over a grid with SAM's decomposed relative positions, without ever holding an N x N tensor.

SAM's score is  q.k / sqrt(D) + q.R_h[row(q), row(k)] + q.R_w[column(q), column(k)]  (the relative positions of MViTv2,
Li et al. 2022, equation 4). Two exact forms: `attend_by_folding` turns the two extra terms into channels of query and
key, so that one fused kernel does it all; `attend_by_blocks` goes over the queries in blocks of scores that stay in
the processor's cache. On a CPU the second needs less than half of the first one's time, whose channels are three
times as many; it writes into its result, so that it has no backward pass.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH_MULTIPLE = 8  # fused attention kernels on GPUs want head widths divisible by 8
SCORES_A_THREAD = 2**20
"""Float32 scores of a block, for each thread that works on it: 4 MiB."""
MAX_THREADS = 8  # what shares one cache


class FoldedAttention(NamedTuple):
    """Query, key and value (B, heads, N, E), equally wide; unscaled attention over them is SAM's."""

    query: Tensor
    key: Tensor
    value: Tensor


def attend_over_grid(
    query: Tensor, key: Tensor, value: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid_hw: tuple[int, int]
) -> Tensor:
    """Attend in whichever exact form is faster here.

    Args:
        query, key, value: (B, heads, H * W, D), row-major over the grid; any strides.
        rel_pos_h: (2 * H - 1, D); rel_pos_w: (2 * W - 1, D).
        grid_hw: (H, W).

    Returns:
        (B, heads, H * W, D).
    """
    attend = attend_by_blocks if runs_in_blocks(query) else attend_by_folding
    return attend(query, key, value, rel_pos_h, rel_pos_w, grid_hw)


def runs_in_blocks(x: Tensor) -> bool:
    """Whether work on `x` is better cut into pieces: inference in float32 on a CPU, run as it is written."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def relative_table(rel_pos: Tensor, size: int) -> Tensor:
    """Spread `rel_pos` (2 * size - 1, D) to (size, size, D): entry [q, k] embeds the offset q - k."""
    positions = torch.arange(size, device=rel_pos.device)
    return rel_pos[positions[:, None] - positions[None, :] + size - 1]


def relative_terms(
    query: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """What rows and columns of keys add to the scores of queries (B, heads, H * W, D).

    Returns:
        (B, heads, H, W, H) for each row of keys, and (B, heads, H, W, W) for each column.
    """
    height, width = grid_hw
    cells = query.unflatten(2, grid_hw)
    by_row = torch.einsum("bnhwc,hkc->bnhwk", cells, relative_table(rel_pos_h, height).to(query.dtype))
    by_column = torch.einsum("bnhwc,wkc->bnhwk", cells, relative_table(rel_pos_w, width).to(query.dtype))
    return by_row, by_column


def attend_by_folding(
    query: Tensor, key: Tensor, value: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid_hw: tuple[int, int]
) -> Tensor:
    """As `attend_over_grid`, by PyTorch's fused attention; has a backward pass and no loop."""
    folded = fold_relative_positions(query, key, value, rel_pos_h, rel_pos_w, grid_hw)
    out = F.scaled_dot_product_attention(folded.query, folded.key, folded.value, scale=1.0)
    return out[..., : value.shape[-1]]


def fold_relative_positions(
    query: Tensor, key: Tensor, value: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid_hw: tuple[int, int]
) -> FoldedAttention:
    """Turn decomposed relative positions into extra channels.

    The two extra terms depend on the key through its row and its column only, so they are a dot product too: the
    query carries its H + W possible terms, the key a one-hot row and column. Values are padded with zeros to the same
    width: PyTorch leaves its fused kernels when the widths differ.

    Args:
        as for `attend_over_grid`.

    Returns:
        Tensors of width >= D + H + W; attend with scale 1 and keep the first D channels of the result.
    """
    height, width = grid_hw
    batch, heads, count, dim = query.shape
    terms = torch.cat(relative_terms(query, rel_pos_h, rel_pos_w, grid_hw), dim=-1).flatten(2, 3)  # (B, n, N, H + W)

    row_of = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, dim=0)
    column_of = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)
    one_hot = torch.cat((row_of, column_of), dim=-1).expand(batch, heads, -1, -1)  # (B, heads, N, H + W)

    filler = -(dim + height + width) % WIDTH_MULTIPLE
    return FoldedAttention(
        query=F.pad(torch.cat((query * dim**-0.5, terms), dim=-1), (0, filler)),
        key=F.pad(torch.cat((key, one_hot), dim=-1), (0, filler)),
        value=F.pad(value, (0, height + width + filler)),
    )


def attend_by_blocks(
    query: Tensor, key: Tensor, value: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid_hw: tuple[int, int]
) -> Tensor:
    """As `attend_over_grid`, with a few MiB of scores (or one row of queries) at a time; no gradients."""
    with torch.no_grad():
        batch, heads, count, dim = query.shape
        out = query.new_empty(batch, count, heads, dim).transpose(1, 2)  # so that joining the heads moves nothing
        if count * count * heads <= _scores_at_once():
            _attend_in_windows(query, key, value, rel_pos_h, rel_pos_w, grid_hw, out)
        else:
            for index in range(batch):
                _attend_in_rows(
                    query[index], key[index], value[index], rel_pos_h, rel_pos_w, grid_hw, out[index]
                )
        return out


def _scores_at_once() -> int:
    return SCORES_A_THREAD * min(torch.get_num_threads(), MAX_THREADS)


def _attend_in_windows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    grid_hw: tuple[int, int],
    out: Tensor,
) -> None:
    """Whole maps of (B, heads, N, D), several of the batch at a time."""
    batch, heads, count, dim = query.shape
    height, width = grid_hw
    at_once = max(1, _scores_at_once() // (count * count * heads))
    for first in range(0, batch, at_once):
        part = slice(first, first + at_once)
        queries, keys, values = (t[part].reshape(-1, count, dim) for t in (query, key, value))
        by_row, by_column = relative_terms(queries[None], rel_pos_h, rel_pos_w, grid_hw)
        scores = by_row.reshape(-1, count, height, 1) + by_column.reshape(-1, count, 1, width)
        scores = scores.view(-1, count, count)
        torch.baddbmm(scores, queries, keys.transpose(1, 2), alpha=dim**-0.5, out=scores)
        out[part] = torch.bmm(scores.softmax(-1), values).view(-1, heads, count, dim)


def _attend_in_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    grid_hw: tuple[int, int],
    out: Tensor,
) -> None:
    """One map of (heads, N, D), head by head and some rows of queries at a time."""
    heads, count, dim = query.shape
    height, width = grid_hw
    step = width * max(1, _scores_at_once() // (count * width))
    scores = query.new_empty(min(step, count), height, width)
    for head in range(heads):
        queries, keys, values = query[head].contiguous(), key[head].contiguous().t(), value[head].contiguous()
        terms = relative_terms(queries[None, None], rel_pos_h, rel_pos_w, grid_hw)
        by_row, by_column = (term.reshape(count, -1) for term in terms)  # (N, H) and (N, W)
        for first in range(0, count, step):
            part = slice(first, first + step)
            block = scores[: len(queries[part])]
            torch.add(by_row[part, :, None], by_column[part, None, :], out=block)
            flat = block.view(-1, count)
            torch.addmm(flat, queries[part], keys, alpha=dim**-0.5, out=flat)
            torch.softmax(flat, -1, out=flat)
            torch.mm(flat, values, out=out[head, part])
