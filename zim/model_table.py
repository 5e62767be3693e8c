"""The models by name, with size, whereabouts, licence and hash of their weights."""

from typing import NamedTuple

import torch

from zim.modeling.zim import build_zim
from zim.registry import MODEL_CONFIGS, SHIPPED_MODELS, shipped_weights, weights_folder

NO_VALUE, NOT_HERE = "-", "not in this installation"
WEIGHT_FREE = {"grabcut": "needs no weights", "grabcut+cf": "needs no weights"}


class ModelRow(NamedTuple):
    """One line of the table, as text."""

    name: str
    parameters: str
    weights: str
    licence: str
    sha256: str


def model_rows() -> list[ModelRow]:
    """Every name that `zim.load_predictor` answers by itself, shipped weights first.

    Raises:
        CheckpointError: the list of shipped weights is damaged.
    """
    shipped = shipped_weights()
    rows = [
        ModelRow(
            name=name,
            parameters=_millions(entry.parameters),
            weights=str(weights_folder() / entry.file),
            licence=entry.license,
            sha256=entry.sha256[:12],
        )
        for name, entry in shipped.items()
    ]
    for name in MODEL_CONFIGS:
        if name not in shipped:
            where = NOT_HERE if name in SHIPPED_MODELS else "not shipped: random, or a checkpoint"
            rows.append(ModelRow(name, _millions(parameter_count(name)), where, NO_VALUE, NO_VALUE))
    if "sam_tiny" not in shipped:
        rows.append(ModelRow("sam_tiny", NO_VALUE, NOT_HERE, NO_VALUE, NO_VALUE))
    return rows + [ModelRow(name, "0", what, NO_VALUE, NO_VALUE) for name, what in WEIGHT_FREE.items()]


def parameter_count(name: str) -> int:
    """Parameters of a model of the registry, counted without giving them memory."""
    with torch.device("meta"):
        model = build_zim(MODEL_CONFIGS[name])
    return sum(parameter.numel() for parameter in model.parameters())


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def format_table(rows: list[ModelRow]) -> str:
    """Columns as wide as their longest entry, under their titles."""
    lines = [ModelRow("name", "parameters", "weights", "licence", "sha256"), *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    texts = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(text).rstrip() for text in texts)
