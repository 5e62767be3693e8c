"""The functions of `utils.amg` against those of the real library, which needs torch and numpy only."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from zim.compat import amg
from zim.compat.segment_anything import import_segment_anything
from zim.compat.surface import AMG_NAMES
from zim.errors import ConfigError, DataError
from zim.rle import decode_mask, from_dict

real = import_segment_anything().utils.amg


def masks(seed: int, *shape: int) -> torch.Tensor:
    """Random bool masks; an empty and a full one among them."""
    made = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.7
    made[0], made[-1] = False, True
    return made


def blobs(seed: int) -> np.ndarray:
    """(40, 50) bool with islands and holes of many sizes."""
    noise = np.random.default_rng(seed).random((10, 25)) > 0.5
    return noise.repeat(4, axis=0).repeat(2, axis=1)


def test_every_public_function_of_the_library_is_there() -> None:
    public = {name for name, value in vars(real).items() if getattr(value, "__module__", "") == real.__name__}
    assert public == set(AMG_NAMES)
    for name in public - {"MaskData"}:
        assert list(inspect.signature(getattr(amg, name)).parameters) == list(
            inspect.signature(getattr(real, name)).parameters
        )


@pytest.mark.parametrize("shape", [(5, 13, 17), (4, 1, 9), (3, 8, 1)])
def test_run_lengths_are_those_of_the_library_and_come_back(shape: tuple[int, int, int]) -> None:
    some = masks(0, *shape)
    encoded = amg.mask_to_rle_pytorch(some)
    assert encoded == real.mask_to_rle_pytorch(some)
    for mask, rle in zip(some.numpy(), encoded, strict=True):
        assert np.array_equal(amg.rle_to_mask(rle), mask) and np.array_equal(real.rle_to_mask(rle), mask)
        assert amg.area_from_rle(rle) == mask.sum()
        coco = amg.coco_encode_rle(rle)
        assert isinstance(coco["counts"], str) and coco["size"] == rle["size"]
        assert np.array_equal(decode_mask(from_dict(coco)), mask)


def test_runs_that_do_not_fill_the_mask_are_refused() -> None:
    with pytest.raises(DataError, match="sum to 3 x 4"):
        amg.rle_to_mask({"size": [3, 4], "counts": [5, 2]})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(6, 11, 7), (2, 3, 8, 5), (9, 4)])
def test_boxes_of_masks(seed: int, shape: tuple[int, ...]) -> None:
    some = masks(seed, *shape)
    assert torch.equal(amg.batched_mask_to_box(some), real.batched_mask_to_box(some))


def test_boxes_of_no_masks() -> None:
    nothing = torch.zeros(0, 5, 6, dtype=torch.bool)
    assert amg.batched_mask_to_box(nothing).shape == real.batched_mask_to_box(nothing).shape == (0, 4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["holes", "islands"])
@pytest.mark.parametrize("area", [0, 9, 40, 10_000])
def test_small_regions(seed: int, mode: str, area: int) -> None:
    mask = blobs(seed)
    ours, changed = amg.remove_small_regions(mask.copy(), area, mode)
    theirs, expected = real.remove_small_regions(mask.copy(), area, mode)
    assert np.array_equal(ours, theirs) and changed == expected


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match='mode: expected "holes" or "islands", got \'lakes\''):
        amg.remove_small_regions(blobs(0), 5, "lakes")


@pytest.mark.parametrize("size", [(480, 640), (33, 101), (7, 7)])
@pytest.mark.parametrize(("layers", "ratio"), [(0, 0.3), (1, 512 / 1500), (3, 0.1)])
def test_crops(size: tuple[int, int], layers: int, ratio: float) -> None:
    assert amg.generate_crop_boxes(size, layers, ratio) == real.generate_crop_boxes(size, layers, ratio)


def test_point_grids() -> None:
    for ours, theirs in zip(
        amg.build_all_layer_point_grids(8, 2, 2), real.build_all_layer_point_grids(8, 2, 2), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(amg.build_point_grid(3), real.build_point_grid(3))


CALLS: dict[str, tuple[Any, ...]] = {
    "uncrop_boxes_xyxy": (torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), [10, 20, 60, 70]),
    "uncrop_points": (torch.tensor([[[1.5, 2.5]], [[3.0, 4.0]]]), [10, 20, 60, 70]),
    "uncrop_masks": (masks(1, 3, 50, 50), [10, 20, 60, 70], 90, 100),
    "is_box_near_crop_edge": (
        torch.tensor([[0, 0, 9, 9], [25, 25, 30, 30], [20, 25, 49, 30], [0, 25, 20, 30]]),
        [0, 20, 50, 70],
        [0, 0, 100, 90],
        20.0,
    ),
    "box_xyxy_to_xywh": (torch.tensor([3, 4, 10, 20]),),
    "calculate_stability_score": (torch.linspace(-3, 3, 240).reshape(2, 10, 12), 0.0, 1.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_numbers_are_those_of_the_library(name: str) -> None:
    ours, theirs = getattr(amg, name)(*CALLS[name]), getattr(real, name)(*CALLS[name])
    assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype


def test_the_whole_image_is_no_crop() -> None:
    some = masks(2, 2, 6, 8)
    assert amg.uncrop_masks(some, [0, 0, 8, 6], 6, 8) is some


def test_a_box_keeps_its_type_and_its_original() -> None:
    box = [3, 4, 10, 20]
    assert amg.box_xyxy_to_xywh(box) == [3, 4, 7, 16] and box == [3, 4, 10, 20]


def test_batches() -> None:
    points, names = np.arange(14).reshape(7, 2), list("abcdefg")
    ours, theirs = list(amg.batch_iterator(3, points, names)), list(real.batch_iterator(3, points, names))
    assert [batch[1] for batch in ours] == [list("abc"), list("def"), ["g"]] == [batch[1] for batch in theirs]
    assert all(np.array_equal(mine[0], other[0]) for mine, other in zip(ours, theirs, strict=True))
    with pytest.raises(ConfigError, match=r"one length, got lengths \[2, 3\]"):
        list(amg.batch_iterator(1, [1, 2], [1, 2, 3]))


@pytest.mark.parametrize("keep", [torch.tensor([True, False, True]), torch.tensor([2, 0, 0])])
def test_columns_are_filtered_and_joined_as_in_the_library(keep: torch.Tensor) -> None:
    tables = []
    for library in (amg, real):
        table = library.MaskData(
            boxes=torch.arange(12.0).reshape(3, 4), scores=np.array([0.1, 0.2, 0.3]), rles=["a", "b", "c"]
        )
        more = library.MaskData(boxes=torch.ones(1, 4), scores=np.array([0.9]), rles=["d"], extra=[7])
        table.filter(keep)
        table.cat(more)
        del table["extra"]
        table.to_numpy()
        tables.append(dict(table.items()))
    assert list(tables[0]) == list(tables[1]) == ["boxes", "scores", "rles"]
    for name in tables[0]:
        np.testing.assert_array_equal(tables[0][name], tables[1][name])


def test_joining_copies_new_columns() -> None:
    table, more = amg.MaskData(), amg.MaskData(names=[["a"]])
    table.cat(more)
    table["names"][0].append("b")
    assert more["names"] == [["a"]]
    with pytest.raises(TypeError, match="names: expected a list, a numpy array or a tensor, got str"):
        table["names"] = "abc"
