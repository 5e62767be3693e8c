"""Options that change time and memory, not results: compiled encoders and recomputed activations."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from zim.errors import ConfigError
from zim.modeling.image_encoder import Block


def vit_blocks(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks of a ViT encoder, in order; none in other models."""
    return [module for module in model.modules() if isinstance(module, Block)]


def checkpoint_activations(model: nn.Module) -> None:
    """Keep only the inputs of the ViT's blocks, and compute the rest again in the backward pass.

    Raises:
        ConfigError: the model has no ViT.
    """
    blocks = vit_blocks(model)
    if not blocks:
        raise ConfigError("--checkpoint-activations: expected a ViT model, got one without its blocks")
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_encoder(model: nn.Module, *, backend: str = "inductor") -> None:
    """Compile the parts that take the time: each block of a ViT, or the whole image encoder of another model.

    Names of parameters stay. The first steps of every stage are slow.
    """
    for module in vit_blocks(model) or [model.get_submodule("image_encoder")]:
        module.compile(backend=backend)
