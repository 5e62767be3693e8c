"""Training data with whole objects only, as public matting sets have them: what the paper found to be its undoing.

Public sets give one matte a photograph, that of the salient object. The counterpart in a procedural scene is its
largest whole object; in a labelled photograph, everything that is labelled.
"""

import dataclasses

import numpy as np

from ..data.scene_cache import SceneCache
from ..data.scenes import Scene
from ..data.segments import LabelledPhoto, RegionMix, SegmentPool

WHOLE_ONLY = RegionMix(whole=1.0, single=0.0, component=0.0, union=0.0)


def salient_only(scene: Scene) -> Scene:
    """The scene with its largest object that is no part of another as the only labelled one."""
    whole = [item for item in scene.objects if item.parent is None]
    largest = max(whole, key=lambda item: float(item.alpha.mean()), default=None)
    return dataclasses.replace(scene, objects=() if largest is None else (largest,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SalientScenes(SceneCache):
    """The same scenes, each with its salient object only."""

    def scene(self, index: int) -> Scene:
        """Scene `first + index`."""
        return salient_only(super().scene(index))


class WholeObjects(SegmentPool):
    """The labelled photographs in which whole objects are known, with these as their only regions."""

    def draw(self, rng: np.random.Generator, *, whole_objects: bool = False) -> LabelledPhoto:
        """A random one; instance labels stay instances."""
        photo = super().draw(rng, whole_objects=True)
        return dataclasses.replace(photo, mix=WHOLE_ONLY) if photo.mix.whole > 0 else photo
