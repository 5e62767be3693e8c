"""Masks of single views merged in 3-D."""

from collections.abc import Callable

import numpy as np
import pytest

from adapters.multiview_3d.automatic import MergingConfig, label_map, segment_everything
from adapters.multiview_3d.view_maps import view_map
from zim.errors import ConfigError, DataError


class Cutter:
    """Knows both objects, and cuts one of them into two halves, another cut in every view."""

    def __init__(self, oracle: object, cut: bool = False) -> None:
        self.oracle, self.cut = oracle, cut

    def generate(self, image: np.ndarray) -> list[dict]:
        index = self.oracle.views[image.tobytes()]  # type: ignore[attr-defined]
        one, other = (self.oracle.alphas[k, index] > 0.5 for k in (0, 1))  # type: ignore[attr-defined]
        masks = [~(one | other), one, other]
        if self.cut and index % 3 == 1:
            half = np.arange(one.shape[1]) < np.median(np.nonzero(one)[1])
            masks = [masks[0], one & half, one & ~half, other]
        return [{"segmentation": mask} for mask in masks]


@pytest.mark.parametrize("cut", [False, True])
def test_two_objects_and_a_room(cut: bool, rendered: Callable, oracle: Callable) -> None:
    """Halves that some views make of an object join the whole that the others see."""
    scene = rendered("pair")
    found = segment_everything(scene.scene, scene.surface, Cutter(oracle(scene), cut))
    labelled, seen = found.labels > 0, np.zeros(len(found.labels), bool)
    for view in scene.scene.views:
        seen[view_map(scene.surface, view.camera).points] = True
    assert not labelled[~seen].any() and labelled[seen].mean() > 0.97
    for truth in (0, 1, 2):
        mine = scene.labels == truth
        label = int(np.bincount(found.labels[mine & labelled]).argmax())
        chosen = (found.labels == label) & labelled
        assert (chosen & mine).sum() / (chosen | (mine & labelled)).sum() > 0.93
    assert (found.confidence[labelled] > 0).all() and found.masks[0] == 3


def test_parts_stay_visible_on_wholes() -> None:
    whole, part, speck = (np.zeros((20, 20), bool) for _ in range(3))
    whole[2:18, 2:18], part[5:9, 5:9], speck[0, 0] = True, True, True
    painted = label_map([{"segmentation": mask} for mask in (part, whole, speck)], (20, 20), 2)
    assert painted[3, 3] == 1 and painted[6, 6] == 2 and painted[0, 0] == 0


def test_nothing_found(rendered: Callable) -> None:
    class Blind:
        def generate(self, image: np.ndarray) -> list[dict]:
            return []

    scene = rendered("pair")
    with pytest.raises(DataError, match="no mask of 0 in 6 views"):
        segment_everything(scene.scene, scene.surface, Blind())
    with pytest.raises(ConfigError, match="overlap"):
        MergingConfig(overlap=0)
