"""Objects as probabilities on the points of a surface, by soft votes of the views.

p = (sum w alpha + a prior) / (sum w + a), w = visibility * max(cosine, 0.1) / z^2 * predicted quality, less at depth
edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError

from .camera import Camera
from .neighbours import Neighbours, components, find_neighbours, nearest, smoothed
from .object_fields import Rendering
from .surface import Surface
from .view_maps import BEFORE_EDGE, BEHIND_EDGE, ViewMap, sample, view_map

_LOWEST_QUALITY, _HIGHEST_QUALITY = 0.1, 1.5
_COMPONENT_REACH = 3.0
_FEW = 5
_NEAR = 0.05
"""Share of the object's extent that a part without seeds may be away from it."""


@dataclass(frozen=True, kw_only=True)
class VotingConfig:
    """How views vote.

    voting: "soft" as above; "hard" is the plain way, for comparison: it counts alpha > 0.5 of every view that sees a
    point, all alike, and neither smooths nor looks at what hangs together. components: whether parts of an object that
    hang in the air are disbelieved. prior_weight: a. smoothing: pull of the neighbours, 0 for none. seed_alpha: pixels
    of the prompted view above it seed the object. smallest_component: a part of the object without this share of the
    seeds must have this share of the points and lie near the seeded parts, or it is not believed. cache_bytes: memory
    for what views see.
    """

    voting: Literal["soft", "hard"] = "soft"
    prior_weight: float = 0.15
    smoothing: float = 0.5
    components: bool = True
    seed_alpha: float = 0.9
    smallest_component: float = 0.02
    cache_bytes: int = 2**30

    def __post_init__(self) -> None:
        if self.voting not in ("soft", "hard"):
            raise ConfigError(f"voting: expected soft or hard, got {self.voting!r}")
        for name in ("prior_weight", "smoothing"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name}: expected a number >= 0, got {getattr(self, name)!r}")
        for name in ("seed_alpha", "smallest_component"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a number in [0, 1], got {getattr(self, name)!r}")


class PointField:
    """An `ObjectField` over a surface.

    alpha: (K, N) float32, each object's probability at each point.
    """

    def __init__(
        self, surface: Surface, cameras: Sequence[Camera], objects: int = 1, config: VotingConfig | None = None
    ) -> None:
        self.surface, self.cameras = surface, tuple(cameras)
        self.config = config or VotingConfig()
        shape = (objects, len(surface.points))
        self.alpha = np.zeros(shape, np.float32)
        self._prior = np.zeros(shape, np.float32)
        self._for, self._all = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._trust = np.zeros(shape, np.float32)
        self._seeds = np.zeros(shape, np.bool_)
        self._before, self._behind = np.zeros(shape[1], np.bool_), np.zeros(shape[1], np.bool_)
        self._first_pass = True
        self._cores: dict[int, NDArray[np.bool_]] = {}
        self._maps: dict[int, ViewMap] = {}

    @property
    def objects(self) -> int:
        """How many objects."""
        return len(self.alpha)

    def map_of(self, view: int) -> ViewMap:
        """What a view sees; kept as long as there is room, else found anew."""
        if view not in self._maps:
            found = view_map(self.surface, self.cameras[view])
            if sum(each.nbytes for each in self._maps.values()) + found.nbytes > self.config.cache_bytes:
                return found
            self._maps[view] = found
        return self._maps[view]

    def seed(self, view: int, alphas: NDArray[np.float32]) -> list[int]:
        """Points of the prompted view that are surely the object (or, with a hesitant predictor, most surely)."""
        seen = self.map_of(view)
        self._before[seen.points[seen.edge_weight == BEFORE_EDGE]] = True
        self._behind[seen.points[seen.edge_weight == BEHIND_EDGE]] = True
        counts = []
        for obj, alpha in enumerate(alphas):
            values = sample(alpha, seen.xy)
            before = seen.edge_weight > BEHIND_EDGE
            sure = min(self.config.seed_alpha, 0.9 * float(values[before].max(initial=0.0)))
            chosen = seen.points[(values >= max(sure, 0.3)) & before]
            self._seeds[obj, chosen] = True
            counts.append(len(chosen))
        self._prior = self._seeds.astype(np.float32)
        return counts

    def vote(self, view: int, obj: int, alpha: NDArray[np.float32], quality: float) -> None:
        """Add a view's votes on an object."""
        seen = self.map_of(view)
        values = sample(alpha, seen.xy)
        if self.config.voting == "hard":
            values, weight = (values > 0.5).astype(np.float32), np.ones_like(values)
        else:
            weight = seen.weight * seen.edge_weight * np.float32(np.clip(quality, _LOWEST_QUALITY, _HIGHEST_QUALITY))
        self._for[obj, seen.points] += weight * values
        self._all[obj, seen.points] += weight
        self._cores.pop(obj, None)

    def current(self, obj: int) -> NDArray[np.float32]:
        """(N,) probabilities by the votes of the open pass, on top of the prior."""
        a = max(self.config.prior_weight, 1e-6)
        return (self._for[obj] + a * self._prior[obj]) / (self._all[obj] + a)

    def render(self, view: int, obj: int) -> Rendering:
        """An object from a view."""
        seen = self.map_of(view)
        values = self.current(obj) * self._core(obj) if self._first_pass else self._prior[obj]
        trust = self._all[obj] if self._first_pass else self._trust[obj]
        shown = seen.pixels >= 0
        alpha = np.where(shown, values[seen.pixels], 0).astype(np.float32)
        return Rendering(alpha, shown & (trust[seen.pixels] > 0), seen.depth)

    def end_pass(self) -> float:
        """Close a pass: smooth, settle which object a point belongs to, compare with the pass before."""
        before = self.alpha > 0.5
        for obj in range(self.objects):
            self.alpha[obj] = self.current(obj)
            if self.config.smoothing and self.config.voting == "soft":
                self.alpha[obj] = smoothed(self.alpha[obj], self._all[obj], self.neighbours, self.config.smoothing)
        if self.objects > 1:
            self.alpha *= self.alpha >= self.alpha.max(axis=0, keepdims=True)
        for obj in range(self.objects):
            self.alpha[obj] *= self._hanging_together(obj, self.alpha[obj])
        after = self.alpha > 0.5
        changed = float((before ^ after).sum() / max(1, int(after.sum())))
        self._prior, self._trust = self.alpha.copy(), self._all.copy()
        self._for[:], self._all[:] = 0, 0
        self._first_pass = False
        return changed

    def _core(self, obj: int) -> NDArray[np.bool_]:
        """(N,) what is believed of an object by the votes so far: a leak onto a wall hangs together with nothing."""
        if obj not in self._cores:
            self._cores[obj] = self._hanging_together(obj, self.current(obj))
        return self._cores[obj]

    def _hanging_together(self, obj: int, alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) False where a point is of a part that is neither seeded nor near enough to the seeded ones.

        A wall that a soft answer shows between spokes is seeded too; but where it ends in the prompted view it lies
        behind something, as an object does not.
        """
        chosen = np.flatnonzero(alpha > 0.5)
        kept = np.ones(len(alpha), np.bool_)
        if not len(chosen) or not self.config.components or self.config.voting == "hard":
            return kept
        points = self.surface.points[chosen]
        parts = components(points, _COMPONENT_REACH * self.surface.spacing)
        sizes = np.bincount(parts)
        seeds = np.bincount(parts, weights=self._seeds[obj, chosen])
        share = self.config.smallest_component
        behind = np.bincount(parts, weights=self._behind[chosen])
        before = np.bincount(parts, weights=self._before[chosen])
        backdrop = behind > 2 * before + _FEW
        good = (seeds > max(2.0, share * seeds.sum())) & ~backdrop
        if not good.any():
            good[int(np.argmax(seeds))] = True
        seeded = points[good[parts]]
        reach = _NEAR * float(np.linalg.norm(np.ptp(seeded, axis=0)))
        squared, _ = nearest(seeded, points, 1)
        gaps = np.full(len(sizes), np.inf)
        np.minimum.at(gaps, parts, np.sqrt(squared[:, 0]))
        good |= (sizes >= share * len(seeded)) & (gaps <= reach) & ~backdrop
        kept[chosen[~good[parts]]] = False
        return kept

    @cached_property
    def neighbours(self) -> Neighbours:
        """Each point's neighbours, found once."""
        return find_neighbours(self.surface.points, self.surface.normals, self.surface.spacing)
