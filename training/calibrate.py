"""Fit how sure a model's answers are: `python -m training.calibrate WEIGHTS --root FOLDER --out OUT`.

A run ends with some cross-entropy beside the paper's L1 + lambda * gradient loss (`MatteLossConfig`), which keeps
answers softer than the paper's loss alone would have them. This scales a model's logits by the one number that is best
for the paper's loss (section 4) on a folder of mattes that no run has seen, and folds it into the weights (temperature
scaling, Guo et al., arXiv 1706.04599, with another loss). Outlines at alpha 1/2, boxes and qualities stay.

The folder holds `image/ + alpha/`, for example `fine/` of
`python -m training.data.scenes --export DIR --count 100 --seed 800000 --photos PHOTOS`.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zim import load_predictor
from zim.checkpoints import RESERVED_METADATA, read_checkpoint, save_checkpoint
from zim.errors import ConfigError, DataError, ZimError
from zim.evaluation.datasets import FolderDataset
from zim.prompts import box_from_alpha

from .losses import MatteLossConfig, gradient_loss, weighted_l1

SCALES = tuple(float(scale) for scale in np.round(np.geomspace(0.5, 4.0, 43), 2))
"""Factors that are tried, 5 percent apart."""

_LAST_LAYERS = tuple(f"mask_decoder.output_hypernetworks_mlps.{token}.layers.2" for token in range(4))
_MASK_INPUT = "prompt_encoder.mask_downscaling.0.weight"
_SOLID = 0.5


def paper_losses(logits: Tensor, alpha: Tensor, scales: Iterable[float] = SCALES) -> list[float]:
    """L1 + lambda * gradient loss of sigmoid(scale * logits), for each scale.

    logits: (H, W) float. alpha: (H, W) float in [0, 1].
    """
    weight, config = torch.ones_like(alpha), MatteLossConfig()
    losses = []
    for scale in scales:
        answer = torch.sigmoid(scale * logits)
        loss = weighted_l1(answer, alpha, weight) + config.gradient * gradient_loss(answer, alpha, weight)
        losses.append(float(loss))
    return losses


def scaled(state_dict: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights whose logits are `scale` times as large, and whose mask input is taken as before when these come back.

    Raises:
        ConfigError: the weights are of no model with SAM's hypernetworks.
    """
    layers = [f"{layer}.{name}" for layer in _LAST_LAYERS for name in ("weight", "bias")]
    missing = [key for key in (*layers, _MASK_INPUT) if key not in state_dict]
    if missing:
        raise ConfigError(f"weights: expected a model with SAM's mask decoder, {missing[0]} is missing")
    result = dict(state_dict)
    for key in layers:
        result[key] = state_dict[key] * scale
    result[_MASK_INPUT] = state_dict[_MASK_INPUT] / scale
    return result


def _answers(weights: Path, root: Path, limit: int | None, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and truth of each photograph for the box of its matte; those without a solid pixel are passed over."""
    predictor = load_predictor(weights, device=device)
    samples = list(FolderDataset(root))[:limit]
    for sample in tqdm(samples, "calibrating", disable=None):
        image, alpha = sample.load()
        if alpha.max() <= _SOLID:
            continue
        predictor.set_image(image)
        logits, _, _ = predictor.predict(box=box_from_alpha(alpha), multimask_output=False, return_logits=True)
        yield torch.from_numpy(np.asarray(logits[0], np.float32)), torch.from_numpy(alpha.astype(np.float32))


def fit(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, list[float]]:
    """The best of `SCALES` over logits and truths, and the mean loss of each.

    Raises:
        DataError: there are none.
    """
    losses = [paper_losses(logits, alpha) for logits, alpha in pairs]
    if not losses:
        raise DataError("root: expected photographs whose mattes have solid pixels, found none")
    means = [math.fsum(column) / len(losses) for column in zip(*losses, strict=True)]
    return SCALES[int(np.argmin(means))], means


def main(argv: Sequence[str] | None = None) -> int:
    """Fit one scale on mattes that no run has seen, or take a given one, and write the weights with it folded in."""
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=main.__doc__)
    parser.add_argument("weights", type=Path, help="safetensors of ZIM or the baseline")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--root", type=Path, help="fit on this folder with image/ + alpha/")
    how.add_argument("--scale", type=float, metavar="S", help="fold in this scale instead: below 1 softer")
    parser.add_argument("--limit", type=int, metavar="N", help="photographs (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, float16")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    options = parser.parse_args(argv)
    try:
        if options.limit is not None and options.limit < 1:
            raise ConfigError(f"--limit: expected at least 1, got {options.limit}")
        if options.limit is not None and options.scale is not None:
            raise ConfigError(f"--limit: expected with --root alone, got {options.limit} with --scale")
        if options.scale is not None and not (math.isfinite(options.scale) and options.scale > 0):
            raise ConfigError(f"--scale: expected a positive number, got {options.scale}")
        checkpoint = read_checkpoint(options.weights)
        scaled(checkpoint.state_dict, 1.0)  # refused before an hour of measuring
        scale, gain = _chosen(options)
        metadata = {key: text for key, text in checkpoint.metadata.items() if key not in RESERVED_METADATA}
        state = scaled(checkpoint.state_dict, scale)
        save_checkpoint(options.out, state, config=checkpoint.config, metadata=metadata, dtype=torch.float16)
    except (ZimError, OSError) as error:
        print(f"calibrate: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("calibrate: interrupted, nothing was written", file=sys.stderr)
        return 130
    print(f"{options.out}: logits times {scale:.2f}{gain}")
    return 0


def _chosen(options: argparse.Namespace) -> tuple[float, str]:
    """The scale that is asked for or fits best, and what it brings."""
    if options.scale is not None:
        return options.scale, ""
    scale, means = fit(_answers(options.weights, options.root, options.limit, options.device))
    return scale, f", loss {means[SCALES.index(1.0)]:.4f} -> {min(means):.4f}"


if __name__ == "__main__":
    sys.exit(main())
