"""Clicks on shown slices, header checks and single answers: what viewers need of the adapter."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.medical_volume.geometry import Geometry
from adapters.medical_volume.loading import load_shape, load_volume
from adapters.medical_volume.montage import with_outlines
from adapters.medical_volume.outputs import canonical_slice, stored_slice
from adapters.medical_volume.pointing import ShownSlice
from adapters.medical_volume.prompts import BoxPrompt, PointPrompt
from adapters.medical_volume.segmentation import Segmenter
from adapters.medical_volume.settings import Settings
from adapters.medical_volume.slicing import view_of
from zim.errors import DataError, PromptError


def test_a_click_is_the_voxel_that_is_shown_there_however_it_is_stored(affine_of: Any, stored_ways: Any) -> None:
    array = np.arange(7 * 9 * 5, dtype=np.float32).reshape(7, 9, 5)
    for stored, affine in stored_ways(array, affine_of((1.0, 0.7, 2.0))):
        geometry = Geometry.of(stored.shape, affine)
        canonical = geometry.to_canonical(stored)
        for axis in range(3):
            view = view_of(geometry, axis)
            shown = ShownSlice(geometry=geometry, view=view, index=2)
            plane = view.plane(canonical, 2)
            height, width = shown.picture_hw
            for x, y in ((0, 0), (width - 1, 0), (width // 3, height // 2), (width - 1, height - 1)):
                point = shown.point_at(x, y)
                row = int((y + 0.5) / height * plane.shape[0])
                column = int((x + 0.5) / width * plane.shape[1])
                i, j, k = (int(value) for value in point.at)
                assert stored[i, j, k] == plane[row, column]
                back = shown.point_in_picture(point)
                assert back is not None
                assert np.allclose(np.add(back, 0.5) / (width, height) * plane.shape[::-1], (column + 0.5, row + 0.5))


def test_a_dragged_box_has_the_voxels_it_shows(affine_of: Any, stored_ways: Any) -> None:
    array = np.arange(7 * 9 * 5, dtype=np.float32).reshape(7, 9, 5)
    for stored, affine in stored_ways(array, affine_of((1.0, 0.7, 2.0)))[::5]:
        geometry = Geometry.of(stored.shape, affine)
        canonical = geometry.to_canonical(stored)
        view = view_of(geometry, 2)
        shown = ShownSlice(geometry=geometry, view=view, index=1)
        (height, width), (rows, columns) = shown.picture_hw, view.plane_hw
        edges = 2 * width / columns, 3 * height / rows, 5 * width / columns, 7 * height / rows
        box = shown.box_between(edges[2] + 3, edges[3] - 3, edges[0] - 3, edges[1] + 3, slices=(1, 3))
        low, high = np.array(box.corner, int), np.array(box.opposite, int)
        cut = stored[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1]
        expected = np.stack([view.plane(canonical, index)[3:7, 2:5] for index in (1, 2, 3)])
        assert sorted(cut.ravel()) == sorted(expected.ravel())
        assert np.allclose(shown.box_in_picture(box) or (), edges)
        other = ShownSlice(geometry=geometry, view=view, index=4)
        assert other.box_in_picture(box) is None
        tiny = shown.box_between(edges[0] + 4, edges[1] + 4, edges[0] + 5, edges[1] + 5)
        assert tiny.corner == tiny.opposite == shown.point_at(edges[0] + 4, edges[1] + 4).at


def test_slice_numbers_of_the_file_and_back(affine_of: Any, stored_ways: Any, nifti_file: Callable[..., Path]) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    for stored, affine in stored_ways(array, affine_of((1, 1, 1)))[::11]:
        volume = load_volume(nifti_file(stored, affine))
        for axis in range(3):
            count = volume.geometry.canonical_shape[axis]
            numbers = [stored_slice(volume, axis, index) for index in range(count)]
            assert sorted(numbers) == list(range(count))
            assert [canonical_slice(volume, axis, number) for number in numbers] == list(range(count))


def test_one_answer_is_what_following_starts_from(grey_predictor: Any, nifti_file: Callable[..., Path]) -> None:
    values = np.zeros((24, 24, 8), np.float32)
    values[6:14, 8:18, 2:7] = 100
    volume = load_volume(nifti_file(values))
    segmenter = Segmenter(predictor=grey_predictor, volume=volume, settings=Settings(axis="axial", consensus=False))
    for prompts in (
        [BoxPrompt(corner=(5, 7, 4), opposite=(15, 19, 4))],
        [BoxPrompt(corner=(5, 7, 4), opposite=(15, 19, 4)), BoxPrompt(corner=(8, 9, 3), opposite=(12, 16, 5))],
    ):
        alone = segmenter.answer_slice(prompts, 4)
        found = segmenter.segment("a", prompts)
        assert found.sources[4] == "prompt"
        assert np.array_equal(alone, segmenter.view.plane(found.alpha, 4))
    with pytest.raises(PromptError, match="slice 5: expected a box or an object point on it, got none"):
        segmenter.answer_slice([BoxPrompt(corner=(5, 7, 4), opposite=(15, 19, 4)), PointPrompt(at=(9, 9, 4))], 5)


def test_outlines_lie_where_alpha_passes_a_half() -> None:
    plane = np.zeros((20, 20), np.float32)
    plane[5:15, 5:15] = 1
    picture = np.full((20, 20, 3), 50, np.uint8)
    drawn = with_outlines(picture, [plane])
    assert np.array_equal(drawn[0], picture[0])
    assert tuple(drawn[5, 9]) == (255, 80, 60)
    assert drawn[9, 9, 0] == round(50 * 0.7 + 255 * 0.3)


def test_a_headers_sides_are_read_without_its_voxels(tmp_path: Path, nifti_file: Callable[..., Path]) -> None:
    assert load_shape(nifti_file(np.zeros((3, 4, 5, 6), np.int16))) == (3, 4, 5, 6)
    whole = gzip.decompress(nifti_file(np.zeros((3, 4, 5), np.int16)).read_bytes())
    (tmp_path / "headeronly.nii").write_bytes(whole[:360])
    assert load_shape(tmp_path / "headeronly.nii") == (3, 4, 5)
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match="is not a NIfTI file|is damaged"):
        load_shape(tmp_path / "broken.nii.gz")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_volume_must_hold_its_own_voxels(tmp_path: Path, nifti_file: Callable[..., Path], suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / f"volume{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 4, 3), np.int16)), str(path), True)
    assert load_shape(path) == (3, 4, 5)
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(60)))
    if suffix == ".mha":
        header = "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementType = MET_UCHAR\n"
        header += f"Comment = ElementDataFile = LOCAL\nElementDataFile = {secret}\n"
    else:
        header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 4 5\nencoding: raw\ndata file: {secret}\n\n"
    path.write_text(header)
    with pytest.raises(DataError, match="expected a file that holds its own voxels"):
        load_shape(path)


def test_a_name_decides_which_format_is_read(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 4, 3), np.int16)), str(tmp_path / "a.nrrd"))
    (tmp_path / "a.nrrd").rename(tmp_path / "a.mha")
    with pytest.raises(DataError, match="is not an image that SimpleITK can read"):
        load_volume(tmp_path / "a.mha")


def test_volumes_have_one_way_in(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"expected a name that ends in \.nii"):
        load_shape(tmp_path / "a.txt")
