"""Several processes that train as one: started by torchrun, one device each."""

import contextlib
import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zim.devices import resolve_device
from zim.errors import ConfigError

Parallel = Literal["none", "ddp", "fsdp"]
PARALLEL: tuple[Parallel, ...] = ("none", "ddp", "fsdp")
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that train together; the default is one process alone."""

    rank: int = 0
    size: int = 1
    parallel: Parallel = "none"

    @property
    def is_main(self) -> bool:
        """Whether this process writes the log and the exported weights."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, true where it is true in any process; all processes must ask."""
        if self.parallel == "none":
            return flags
        votes = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return tuple(bool(vote) for vote in votes)

    def sums(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The figures added up over all processes, which must have the same names."""
        if self.parallel == "none":
            return dict(figures)
        values = torch.tensor([figures[name] for name in sorted(figures)], dtype=torch.float64)
        dist.all_reduce(values)
        return dict(zip(sorted(figures), values.tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.parallel != "none":
            dist.barrier()


@contextlib.contextmanager
def started_world(parallel: Parallel, device: str) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that torchrun has started, for the time of the block; gives this one's device.

    Args:
        parallel: "none" stays alone.
        device: as `zim.devices.resolve_device` takes it; "cuda" is then the device of this process's number.

    Raises:
        ConfigError: torchrun and `parallel` do not go together, or there is no such device.
    """
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if parallel == "none":
        if not missing and int(os.environ["WORLD_SIZE"]) > 1:
            raise ConfigError("--parallel: expected ddp or fsdp under torchrun with several processes, got none")
        yield World(), resolve_device(device)
        return
    if missing:
        raise ConfigError(
            f"--parallel {parallel}: expected a start by torchrun (torchrun --nproc-per-node N -m training.train_zim "
            f"...), found no {missing[0]} in the environment"
        )
    own = resolve_device(device)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), parallel=parallel), own
    finally:
        dist.destroy_process_group()


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all processes; so is the gradient's, as each process's loss depends on every part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of all processes' images together, on any device.

    `torch.nn.SyncBatchNorm` does the same, on GPUs only. Means and sums of squared deviations of the processes are
    combined as Chan et al. 1979 do, without the cancellation of E[x^2] - E[x]^2.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w); as `nn.BatchNorm2d` outside training."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        mean = x.mean((0, 2, 3))
        squares = (x - mean[:, None, None]).square().sum((0, 2, 3))
        size, each = dist.get_world_size(), x.numel() // x.shape[1]
        table = x.new_zeros(size, 2, len(mean)).index_copy(
            0, torch.tensor([dist.get_rank()], device=x.device), torch.stack([mean, squares])[None]
        )
        means, sums = _SumOverRanks.apply(table).unbind(1)  # (ranks, C) each
        joint = means.mean(0)
        variance = (sums.sum(0) + each * (means - joint).square().sum(0)) / (size * each)
        self._follow(joint.detach(), variance.detach() * (size * each / max(1, size * each - 1)))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        centred = x - joint[:, None, None]
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


def join_batch_norms(module: nn.Module) -> None:
    """Put `JointBatchNorm2d` with the same parameters and statistics in the place of every batch normalisation."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            joint = JointBatchNorm2d(child.num_features, child.eps, child.momentum)
            joint.weight, joint.bias = child.weight, child.bias
            joint.running_mean, joint.running_var = child.running_mean, child.running_var
            joint.num_batches_tracked = child.num_batches_tracked
            setattr(module, name, joint.train(child.training))
        else:
            join_batch_norms(child)


def shard_parameters(loss: nn.Module, blocks: list[nn.Module], device: torch.device) -> None:
    """Share the parameters out over the processes (FSDP2), each transformer block a unit, the rest another.

    Raises:
        ConfigError: there are no blocks, as in the tiny encoder, which is too small to be worth it.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not blocks:
        raise ConfigError("--parallel fsdp: expected a ViT model, whose blocks are shared out; take ddp for the others")
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(loss, mesh=mesh)


def replicate(loss: nn.Module, device: torch.device) -> nn.Module:
    """The loss under `DistributedDataParallel`, which averages gradients. A step may leave parameters unused."""
    parallel = nn.parallel.DistributedDataParallel
    newer, older = "forward_sync_buffers", "broadcast_buffers"  # the name of PyTorch 2.13, and the one before
    unsynced: dict[str, Any] = {newer if newer in inspect.signature(parallel).parameters else older: False}
    ids = [device.index] if device.type == "cuda" else None
    return parallel(loss, device_ids=ids, find_unused_parameters=True, **unsynced)


@contextlib.contextmanager
def gradients_stay_local(module: nn.Module, local: bool) -> Iterator[None]:
    """Keep the processes from exchanging gradients in the block: more parts of the step follow."""
    if local and isinstance(module, nn.parallel.DistributedDataParallel):
        with module.no_sync():
            yield
        return
    switch = getattr(module, "set_requires_gradient_sync", None)  # FSDP2
    if switch is not None:
        switch(not local)
    yield


def whole(tensor: Tensor) -> Tensor:
    """The full tensor behind one that is shared out over the processes (all must ask), or the tensor itself."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
