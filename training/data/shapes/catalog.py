"""Which shapes there are, and how often each is drawn."""

from collections.abc import Callable

import numpy as np

from . import fur, hair, nets, outlines, plants, strands
from .marks import Shape

Maker = Callable[[np.random.Generator, float], Shape]
"""A maker takes the generator and the object's half-size in pixels, and draws in a frame of about [-1, 1]."""

FINE_MAKERS: tuple[tuple[Maker, float], ...] = (
    (hair.portrait, 3.0),
    (hair.haired_person, 1.5),
    (fur.furry_animal, 2.5),
    (fur.pet_portrait, 2.5),
    (fur.furry_blob, 1.0),
    (strands.tuft, 1.5),
    (strands.grass, 1.0),
    (strands.wires, 0.7),
    (plants.branch, 1.2),
    (plants.fern, 0.7),
    (plants.leaves, 0.8),
    (plants.bush, 0.8),
    (plants.feather, 1.5),
    (nets.net, 0.8),
    (nets.lace, 0.7),
    (nets.fence, 0.5),
    (nets.wheel, 0.6),
)
HARD_MAKERS: tuple[tuple[Maker, float], ...] = (
    (outlines.simple, 3.0),
    (outlines.cluster, 1.5),
    (outlines.person, 1.5),
    (outlines.animal, 1.5),
)
UPRIGHT = frozenset({"portrait", "person", "figure", "animal", "fur", "pet", "grass", "branch"})
"""Kinds that mostly stand upright."""
BUSTS = frozenset({"portrait", "pet"})
"""Kinds cut off below, as photographs show them: the lower border of the image usually does it."""


def draw_shape(rng: np.random.Generator, scale_px: float, *, fine: bool) -> Shape:
    """A random shape of the fine or of the hard family."""
    makers = FINE_MAKERS if fine else HARD_MAKERS
    weights = np.array([weight for _, weight in makers])
    maker = makers[int(rng.choice(len(makers), p=weights / weights.sum()))][0]
    return maker(rng, scale_px)
