"""Rates against values worked out by hand; groups against the parameters' shapes."""

import pytest
from torch import nn

from training.schedule import parameter_groups, warmup_cosine


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (8, 0.5), (12, 0.0), (20, 0.0)]
)
def test_rate_rises_then_falls_along_a_cosine(step: int, rate: float) -> None:
    assert warmup_cosine(step, lr=1.0, warmup=4, steps=12) == pytest.approx(rate)


def test_only_matrices_and_kernels_decay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    decayed, plain = parameter_groups(model, 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 2] and decayed["weight_decay"] == 0.1
    assert [p.ndim for p in plain["params"]] == [1, 1, 1, 1] and plain["weight_decay"] == 0.0
