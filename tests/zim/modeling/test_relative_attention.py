"""Both forms of attention with relative positions against scores written out pair by pair."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from zim.modeling import relative_attention
from zim.modeling.relative_attention import (
    attend_by_blocks,
    attend_by_folding,
    attend_over_grid,
    fold_relative_positions,
    relative_table,
    runs_in_blocks,
)

GRID = (3, 5)


def inputs(batch: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value, rel_pos_h and rel_pos_w of an oblong grid; the first three not contiguous, as in the ViT."""
    generator = torch.Generator().manual_seed(3)
    height, width = GRID
    together = torch.randn(batch, height * width, 3, 2, 4, generator=generator, dtype=dtype)
    rel_h, rel_w = (torch.randn(2 * side - 1, 4, generator=generator, dtype=dtype) for side in GRID)
    return *together.permute(2, 0, 3, 1, 4).unbind(0), rel_h, rel_w


def explicit_scores(query: Tensor, key: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    height, width = GRID
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    for q in range(height * width):
        for k in range(height * width):
            row, column = q // width - k // width, q % width - k % width
            scores[..., q, k] += query[..., q, :] @ (rel_h[row + height - 1] + rel_w[column + width - 1])
    return scores


def test_relative_table_is_indexed_by_offset() -> None:
    table = relative_table(torch.arange(7.0)[:, None], 4)[..., 0]
    for query in range(4):
        for key in range(4):
            assert table[query, key] == query - key + 3


def test_folding_gives_the_scores() -> None:
    query, key, value, rel_h, rel_w = inputs()
    folded = fold_relative_positions(query, key, value, rel_h, rel_w, GRID)
    expected = explicit_scores(query, key, rel_h, rel_w)
    assert torch.allclose(folded.query @ folded.key.transpose(-2, -1), expected, atol=1e-12)
    attended = nn.functional.scaled_dot_product_attention(folded.query, folded.key, folded.value, scale=1.0)
    assert not attended[..., value.shape[-1] :].any()


@pytest.mark.parametrize("scores_at_once", [1, 90, 300, 500, 2**19], ids=["row", "2-rows", "4-rows", "map", "all"])
@pytest.mark.parametrize("attend", [attend_by_folding, attend_by_blocks])
def test_attention_of_explicit_scores(
    attend: Callable[..., Tensor], scores_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of any size: single rows, some rows with a rest, one map of the batch, everything."""
    monkeypatch.setattr(relative_attention, "_scores_at_once", lambda: scores_at_once)
    query, key, value, rel_h, rel_w = inputs(batch=3)
    expected = explicit_scores(query, key, rel_h, rel_w).softmax(-1) @ value
    assert torch.allclose(attend(query, key, value, rel_h, rel_w, GRID), expected, atol=1e-12)


def test_gradients_flow_where_they_are_wanted() -> None:
    tensors = [tensor.float().requires_grad_() for tensor in inputs()]
    assert not runs_in_blocks(tensors[0])
    attend_over_grid(*tensors, GRID).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors)
    with torch.no_grad():
        assert runs_in_blocks(tensors[0]) and not runs_in_blocks(tensors[0].double())
        with torch.autocast("cpu", torch.bfloat16):
            assert not runs_in_blocks(tensors[0])


def test_it_compiles_without_graph_breaks() -> None:
    seen: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., object]:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    tensors = [tensor.float() for tensor in inputs()]
    with torch.no_grad():
        compiled = torch.compile(attend_over_grid, backend=backend, fullgraph=True)
        received = compiled(*tensors, GRID)
        assert torch.allclose(received, attend_over_grid(*tensors, GRID), atol=1e-5) and len(seen) == 1


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(
        self, func: Callable[..., object], types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.untyped_storage().nbytes() // result.element_size())
        return result


def test_no_tensor_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 x 64 tokens of two heads: 33 million pairs, of which 2 MiB are there at a time."""
    monkeypatch.setattr(relative_attention, "_scores_at_once", lambda: 2**19)
    query, key, value = (torch.zeros(1, 2, 4096, 8) for _ in range(3))
    rel = torch.zeros(127, 8)
    with torch.inference_mode(), LargestTensor() as largest:
        attend_over_grid(query, key, value, rel, rel, (64, 64))
    assert 2**17 < largest.elements <= 2**19
