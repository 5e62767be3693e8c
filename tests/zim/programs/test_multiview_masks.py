"""SegmentAnything3D and SAGA: masks of everything in each view, as group numbers or as a stack of bool tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
from zim.modeling.zim import Zim

LOOSE: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 2}


@pytest.mark.usefixtures("program")
def test_segment_anything_3d_paints_group_numbers(tiny_zim: Zim, photo: np.ndarray) -> None:
    """`build_sam` by its own name, on the GPU; masks are painted from the last to the first by boolean index."""
    from segment_anything import SamAutomaticMaskGenerator, build_sam

    generator = SamAutomaticMaskGenerator(build_sam(checkpoint="sam_vit_h_4b8939.pth").to(device="cuda"), **LOOSE)
    masks = generator.generate(photo)
    groups = np.full(photo.shape[:2], -1, dtype=int)
    for number, record in enumerate(reversed(masks)):
        groups[record["segmentation"]] = number
    expected = [record["segmentation"] for record in ZimAutomaticMaskGenerator(tiny_zim, **LOOSE).generate(photo)]
    assert len(masks) == len(expected) >= 2
    covered = np.any(expected, axis=0)
    assert np.array_equal(groups >= 0, covered)
    best = np.argmax(expected, axis=0)  # the first mask that covers a pixel is painted last
    assert np.array_equal(groups[covered], len(masks) - 1 - best[covered])


@pytest.mark.usefixtures("program")
def test_saga_stacks_bool_tensors_on_the_gpu(tiny_zim: Zim, photo: np.ndarray, tmp_path: Path) -> None:
    """`.to('cuda')` on the model and on each mask, which is halved in size, stacked and saved."""
    from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

    sam = sam_model_registry["vit_h"](checkpoint="./sam_ckpt/sam_vit_h_4b8939.pth").to("cuda")
    SamPredictor(sam)
    generator = SamAutomaticMaskGenerator(
        model=sam, crop_n_layers=0, crop_n_points_downscale_factor=1, min_mask_region_area=10, **LOOSE
    )
    stack = []
    for record in generator.generate(photo):
        mask = torch.from_numpy(record["segmentation"]).float().to("cuda")
        size = (photo.shape[0] // 2, photo.shape[1] // 2)
        mask = torch.nn.functional.interpolate(mask[None, None], size=size, mode="bilinear").squeeze() >= 0.5
        if len(mask.unique()) == 2:
            stack.append(mask.bool())
    torch.save(torch.stack(stack), tmp_path / "view.pt")
    stored = torch.load(tmp_path / "view.pt", weights_only=True)
    expected = ZimAutomaticMaskGenerator(tiny_zim, min_mask_region_area=10, **LOOSE).generate(photo)
    assert stored.dtype == torch.bool and stored.shape[1:] == (45, 80)
    assert 1 <= len(stored) <= len(expected)
    halves = np.stack([record["segmentation"].reshape(45, 2, 80, 2).mean(axis=(1, 3)) >= 0.5 for record in expected])
    assert np.array_equal(stored.cpu().numpy(), halves[[0 < half.mean() < 1 for half in halves]])
