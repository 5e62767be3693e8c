"""Options for time and memory change neither losses nor gradients."""

from collections.abc import Callable

import pytest
import torch

from training.acceleration import checkpoint_activations, compile_encoder, vit_blocks
from training.data.batches import Batch
from training.tasks import Task
from zim.errors import ConfigError


def gradients(task: Task, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    task.model.train()
    loss, _ = task.loss(batch, 0.5)
    loss.backward()
    return loss.item(), {k: p.grad for k, p in task.model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # inside dynamo
@pytest.mark.parametrize("name", ["vit", "zim"])
@pytest.mark.parametrize("change", ["checkpoint", "compile"])
def test_results_and_names_stay(
    make_task: Callable[..., Task], make_batch: Callable[..., Batch], name: str, change: str
) -> None:
    batch = make_batch(0)
    loss, expected = gradients(make_task(name), batch)
    task = make_task(name)
    names = list(task.model.state_dict())
    if change == "checkpoint":
        if name == "zim":
            with pytest.raises(ConfigError, match="--checkpoint-activations: expected a ViT model"):
                checkpoint_activations(task.model)
            return
        checkpoint_activations(task.model)
    else:
        compile_encoder(task.model, backend="eager")
    found, changed = gradients(task, batch)
    assert list(task.model.state_dict()) == names and changed.keys() == expected.keys()
    assert found == pytest.approx(loss, abs=1e-6)
    for key, value in expected.items():
        torch.testing.assert_close(changed[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_recomputing_keeps_less(make_task: Callable[..., Task]) -> None:
    """The blocks run twice, and save little."""
    counts, saved = [], []
    for change in (False, True):
        model = make_task("vit").model
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        blocks = vit_blocks(model)
        blocks[0].mlp.register_forward_pre_hook(count)  # type: ignore[union-attr]
        if change:
            checkpoint_activations(model)
        x = torch.randn(1, 4, 4, 16, requires_grad=True)
        kept = 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = blocks[0](x)
            saved.append(kept)
        y.sum().backward()
        counts.append(calls)
    assert counts == [1, 2] and saved[1] < saved[0] / 4
