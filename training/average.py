"""Average trained weights: `python -m training.average A.safetensors B.safetensors --out C.safetensors`.

Runs of one model that went different ways from common weights often lie in one valley, and their mean is as good as
the better of them in most things (Wortsman et al., Model soups, arXiv 2203.05482). Measure before you trust it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zim.checkpoints import RESERVED_METADATA, Checkpoint, read_checkpoint, save_checkpoint
from zim.errors import ConfigError, ZimError

from .command import OWN_LICENSE

_OF_ONE_RUN = ("step", "preset")
"""Metadata that would say something wrong about an average."""


def average(checkpoints: Sequence[Checkpoint], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of every floating tensor, in float64; integers (counters) are the last one's.

    checkpoints: at least two, of one configuration. shares: one each, at least 0, not all 0; made to add up to 1.

    Raises:
        ConfigError: too few, another number of shares or bad ones, or other configurations or tensors.
    """
    if len(checkpoints) < 2 or len(shares) != len(checkpoints):
        got = f"{len(checkpoints)} and {len(shares)}"
        raise ConfigError(f"weights, shares: expected two or more weights and a share for each, got {got}")
    if not all(math.isfinite(share) and share >= 0 for share in shares) or sum(shares) <= 0:
        raise ConfigError(f"shares: expected numbers of at least 0, one of them above, got {list(shares)}")
    first = checkpoints[0]
    shapes = {key: tensor.shape for key, tensor in first.state_dict.items()}
    for number, other in enumerate(checkpoints[1:], start=2):
        if other.config != first.config or {k: t.shape for k, t in other.state_dict.items()} != shapes:
            raise ConfigError(f"weights: expected models of one configuration, got another as number {number}")
    result: dict[str, Tensor] = {}
    for key, tensor in checkpoints[-1].state_dict.items():
        if tensor.is_floating_point():
            parts = [item.state_dict[key].double() * share for item, share in zip(checkpoints, shares, strict=True)]
            result[key] = (torch.stack(parts).sum(0) / sum(shares)).to(tensor.dtype)
        else:
            result[key] = tensor
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Write the average of several weights of one model, as float16."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=main.__doc__)
    parser.add_argument("weights", type=Path, nargs="+", metavar="FILE", help="safetensors of one model, two or more")
    parser.add_argument("--shares", type=float, nargs="+", metavar="N", help="of each, in proportion (default: equal)")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--data-license", help="licence of the average; required where those of the weights differ")
    options = parser.parse_args(argv)
    try:
        checkpoints = [read_checkpoint(path) for path in options.weights]
        metadata = {k: v for k, v in checkpoints[-1].metadata.items() if k not in (*RESERVED_METADATA, *_OF_ONE_RUN)}
        metadata["license"] = _license(checkpoints, options.data_license)
        state = average(checkpoints, options.shares or [1.0] * len(checkpoints))
        save_checkpoint(options.out, state, config=checkpoints[0].config, metadata=metadata, dtype=torch.float16)
    except (ZimError, OSError) as error:
        print(f"average: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("average: interrupted, nothing was written", file=sys.stderr)
        return 130
    print(f"{options.out}: average of {len(checkpoints)}")
    return 0


def _license(checkpoints: Sequence[Checkpoint], stated: str | None) -> str:
    """The one licence of all, or the one that is stated."""
    licenses = sorted({item.metadata.get("license", OWN_LICENSE) for item in checkpoints})
    if len(licenses) == 1 and stated in (None, licenses[0]):
        return licenses[0]
    if stated is None:
        raise ConfigError(f"--data-license: expected one that holds for {' and '.join(licenses)}, got none")
    missing = [license_ for license_ in licenses if license_ != OWN_LICENSE and license_ not in stated]
    if missing:
        raise ConfigError(f"--data-license: expected the words {', '.join(map(repr, missing))} in it, got {stated!r}")
    return stated


if __name__ == "__main__":
    sys.exit(main())
