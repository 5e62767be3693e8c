"""Prompts: voxels and millimetres, words and tables, slices and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.medical_volume.__main__ import prompts_of
from adapters.medical_volume.geometry import Geometry
from adapters.medical_volume.prompt_text import PromptText, by_label, read_prompt_table, volume_prompt
from adapters.medical_volume.prompts import BoxPrompt, PointPrompt, resolve_prompts
from adapters.medical_volume.slicing import Region, axis_of, default_axis, view_of
from adapters.medical_volume.windowing import PRESETS, Window, percentile_window, window_of
from zim.errors import ConfigError, PromptError


def test_world_prompts_hit_one_voxel_in_every_orientation(affine_of: Any, stored_ways: Any) -> None:
    array = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    affine = affine_of((0.7, 1.1, 3.0), (10, 5, -20))
    target = np.array([4.0, 2.0, 5.0])
    world = affine[:3, :3] @ target + affine[:3, 3]
    places = set()
    for way, way_affine in stored_ways(array, affine):
        geometry = Geometry.of(way.shape, way_affine)
        view = view_of(geometry, axis_of("auto", geometry))
        canonical = geometry.to_canonical(way)
        prompts = resolve_prompts([PointPrompt(at=tuple(world), coordinates="world")], geometry, view)
        ((index, prompt),) = prompts.planes.items()
        column, row = np.floor(prompt.points[0]).astype(int)
        assert view.plane(canonical, index)[row, column] == array[4, 2, 5]
        stored = np.round(geometry.canonical_to_stored(geometry.world_to_canonical(world)))
        same = resolve_prompts([PointPrompt(at=tuple(stored))], geometry, view)
        assert np.allclose(same.planes[index].points, prompt.points)
        places.add((view.axis, index, int(column), int(row)))
    assert len(places) == 1


def test_voxel_boxes_hold_their_corner_voxels() -> None:
    geometry = Geometry.of((10, 12, 9), np.diag([1.0, -1.0, 2.0, 1.0]))
    view = view_of(geometry, 2)
    stored = np.zeros(geometry.shape)
    stored[3:6, 4:9, 2] = 1
    prompts = resolve_prompts([BoxPrompt(corner=(5, 8, 2), opposite=(3, 4, 2))], geometry, view)
    assert prompts.box is None and (prompts.first, prompts.last) == (0, 8)
    plane = view.plane(geometry.to_canonical(stored), 2)
    left, top, right, bottom = prompts.planes[2].box.astype(int)
    assert plane[top:bottom, left:right].all() and plane.sum() == (bottom - top) * (right - left) == 15
    thick = resolve_prompts([BoxPrompt(corner=(3, 4, 1), opposite=(5, 8, 6))], geometry, view)
    assert (thick.first, thick.last) == (1, 6) and list(thick.planes) == [3]
    assert np.array_equal(thick.planes[3].box, prompts.planes[2].box)


def test_world_boxes_reach_from_corner_to_corner() -> None:
    geometry = Geometry.of((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
    view = view_of(geometry, 2)
    box = BoxPrompt(corner=(3, 5, 7), opposite=(9, 11, 15), coordinates="world")
    prompts = resolve_prompts([box], geometry, view)
    assert (prompts.first, prompts.last) == (4, 7)  # middles at 8, 10, 12 and 14 mm
    assert prompts.planes[5].box.tolist() == [2.0, 4.0, 5.0, 7.0]  # x: 3/2 + 1/2; y: 10 - 6, 10 - 3


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "expected a box or an object point"),
        ([PointPrompt(at=(1, 1, 1), label=0)], "expected a box or an object point"),
        ([PointPrompt(at=(1, 1, 9))], r"inside the file's \(8, 8, 8\), got 1 1 9"),
        ([PointPrompt(at=(1, 1, 1), label=2)], "label 1 .object. or 0"),
        ([PointPrompt(at=(99, 1, 1), coordinates="world")], "world mm between"),
        ([PointPrompt(at=(np.nan, 1, 1))], "finite coordinates"),
        ([BoxPrompt(corner=(9, 9, 9), opposite=(12, 12, 12))], "inside the file's"),
        ([BoxPrompt(corner=(1, 1, 1), opposite=(5, 5, 5))] * 2, "one 3-D box"),
        ([BoxPrompt(corner=(1, 1, 1), opposite=(5, 5, 1))] * 2, "one box on a slice"),
        ([BoxPrompt(corner=(1, 1, 1), opposite=(5, 5, 3)), PointPrompt(at=(1, 1, 6))], "slices 1 to 3"),
    ],
)
def test_prompts_that_cannot_be_meant(prompts: list[Any], message: str) -> None:
    geometry = Geometry.of((8, 8, 8), np.eye(4))
    with pytest.raises(PromptError, match=message):
        resolve_prompts(prompts, geometry, view_of(geometry, 2))


def test_axes(affine_of: Any) -> None:
    thick_y = Geometry.of((5, 5, 5), affine_of((1, 4, 1)))
    assert default_axis(thick_y) == 1 and default_axis(Geometry.of((5, 5, 5), np.eye(4))) == 2
    permuted = Geometry.of((5, 6, 7), np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]))
    assert [axis_of(text, permuted) for text in ("i", "j", "k", "sagittal", "axial")] == [1, 2, 0, 0, 2]
    with pytest.raises(ConfigError, match="expected auto, sagittal, coronal, axial, i, j or k"):
        axis_of("x", thick_y)


def test_pictures_have_square_pixels_and_alphas_come_back() -> None:
    geometry = Geometry.of((40, 20, 5), np.diag([1.0, 3.0, 5.0, 1.0]))
    view = view_of(geometry, 2)
    frame = view.frame()
    height, width = frame.picture_hw
    assert width / height == pytest.approx(40 / 60, rel=0.01) and max(width, height) == 256
    x, y = np.mgrid[:40, :20]
    disc = (np.hypot((x - 20) * 1.0, (y - 10) * 3.0) < 15).astype(np.float32)
    plane = view.plane(np.repeat(disc[..., None], 5, 2), 2)
    picture = frame.to_picture(np.ascontiguousarray(plane))
    rows, columns = np.nonzero(picture > 0.5)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.1)
    assert frame.to_plane(picture, view.plane_hw).sum() == pytest.approx(disc.sum(), rel=0.01)
    assert np.array_equal(plane[-1], disc[:, 0]) and np.array_equal(plane[0], disc[:, -1])  # the front is above
    part = view.frame(Region(2, 10, 12, 30))
    assert part.xy_in_picture(np.array([10.0, 2.0])).tolist() == [0, 0]
    assert part.xy_in_picture(np.array([30.0, 12.0])).tolist() == list(part.picture_hw[::-1])
    back = part.to_plane(np.ones(part.picture_hw, np.float32), view.plane_hw)
    inside = back[2:12, 10:30]
    assert np.allclose(inside, 1, atol=1e-6) and np.count_nonzero(back) == inside.size


@pytest.mark.parametrize(
    ("shape", "spacing"), [((64, 64), (1, 1)), ((50, 30), (1, 2)), ((250, 200), (1, 1)), ((20, 9), (3, 1))]
)
def test_the_way_back_undoes_the_enlargement(shape: tuple[int, int], spacing: tuple[float, float]) -> None:
    geometry = Geometry.of((*shape, 4), np.diag([*spacing, 9.0, 1.0]))
    view = view_of(geometry, 2)
    frame = view.frame()
    rng = np.random.default_rng(5)
    plane = rng.random(view.plane_hw, np.float32)
    picture = frame.to_picture(plane)
    back = frame.to_plane(picture, view.plane_hw)
    assert np.sqrt(np.mean((back - plane) ** 2)) < 0.03
    noise = rng.normal(0, 0.02, picture.shape).astype(np.float32)
    noisy = frame.to_plane(np.clip(picture + noise, 0, 1), view.plane_hw)
    assert np.sqrt(np.mean((noisy - back) ** 2)) < 0.05


def test_a_thin_vessel_keeps_its_width() -> None:
    """A mean over each voxel took 0.6 beside nothing below one half."""
    view = view_of(Geometry.of((32, 32, 4), np.eye(4)), 2)
    plane = np.zeros(view.plane_hw, np.float32)
    plane[10:20, 15], plane[10:20, 16] = 0.6, 1.0
    back = view.frame().to_plane(view.frame().to_picture(plane), view.plane_hw)
    assert np.array_equal(back > 0.5, plane > 0.5) and back.sum() == pytest.approx(plane.sum(), rel=0.01)


def test_windows() -> None:
    grey = PRESETS["soft_tissue"].grey(np.array([[-160.0, 40.0, 240.0, 999.0, np.nan, -np.inf]]))
    assert grey.tolist() == [[0, 128, 255, 255, 0, 0]]
    assert PRESETS["lung"] == Window(-1350, 150) and PRESETS["liver"] == Window(-25, 125)
    rng = np.random.default_rng(0)
    brain = np.concatenate([np.zeros(5000), rng.uniform(100, 200, 5000)]).reshape(100, 10, 10)
    found = percentile_window(brain)
    assert found.lower == pytest.approx(100.5, abs=1) and found.upper == pytest.approx(199.5, abs=1)
    assert found.grey(np.zeros((1, 1))).item() == 0
    ct = rng.uniform(-1000, 1000, (50, 50, 50))
    assert percentile_window(ct).lower == pytest.approx(-990, abs=5)
    assert window_of("10%,90%", ct).upper == pytest.approx(800, abs=20)
    assert window_of("-5,7.5", ct) == (-5, 7.5)
    assert percentile_window(np.full((3, 3, 3), 7.0)) == (6, 8)
    for wrong in ("5", "7,5", "a,b", "nan,5", "90%,10%", "belly"):
        with pytest.raises(ConfigError, match="expected"):
            window_of(wrong, ct)


def test_options_close_the_prompts_before_them() -> None:
    words = [("box", [1, 2, 3, 4]), ("slice", 5), ("label", "a"), ("point", [1, 2, 1]), ("point", [3, 4, 0])]
    words += [("slice", 6), ("box3d", [1, 2, 3, 4, 5, 6]), ("label", "b")]
    texts = prompts_of(words, world=False)
    assert [(text.kind, text.label, text.slice) for text in texts] == [
        ("box", "a", 5),
        ("point", "b", 6),
        ("point", "b", 6),
        ("box3d", "b", None),
    ]
    first = prompts_of([("label", "liver"), ("slice", 3), ("box", [1, 2, 3, 4])], world=False)
    assert [(text.label, text.slice) for text in first] == [("liver", 3)]
    for wrong, message in (
        ([("box", [1, 2, 3, 4])], "expected --slice K"),
        ([("slice", 1), ("box", [1, 2, 3, 4]), ("slice", 2)], "expected a prompt before it"),
        ([("box3d", [1, 2, 3, 4, 5, 6]), ("label", "a"), ("label", "b")], "expected a prompt before it"),
        (
            [("box3d", [1] * 6), ("label", "a"), ("box3d", [1] * 6), ("label", "b"), ("box3d", [1] * 6)],
            "after the last",
        ),
        ([("point", [1, 2])], "expected box with 4"),
        ([("box3d", [1] * 6), ("label", "../x")], "label: expected letters"),
    ):
        with pytest.raises(PromptError, match=message):
            prompts_of(wrong, world=False)
    with pytest.raises(PromptError, match="world coordinates need x, y and z"):
        prompts_of([("box", [1, 2, 3, 4]), ("slice", 3)], world=True)


def test_two_numbers_are_the_files_other_axes() -> None:
    geometry = Geometry.of((5, 6, 7), np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]))
    text = PromptText(label="a", kind="box", values=(1, 2, 3, 4), slice=5)
    box = volume_prompt(text, geometry, axis_of("j", geometry))
    assert (box.corner, box.opposite) == ((1, 5, 2), (3, 5, 4))
    with pytest.raises(PromptError, match="expected 0 to 4 along i, got 5"):
        volume_prompt(text, geometry, axis_of("i", geometry))


def test_tables(tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text(
        "volume,label,kind,values,slice,coordinates\n"
        "a.nii.gz,liver,box,1 2 3 4,5,\n"
        'b,,point,"1, 2, 3, 1",,world\n'
        "a.nii.gz,spleen,box3d,1 2 3 4 5 6,,voxel\n"
    )
    found = read_prompt_table(table)
    assert list(found) == ["a.nii.gz", "b"] and list(by_label(found["a.nii.gz"])) == ["liver", "spleen"]
    assert found["b"][0] == PromptText(label="object", kind="point", values=(1, 2, 3, 1), coordinates="world")
    for text, message in (
        ("volume,label,kind\n", "values is missing"),
        ("volume,label,kind,values\na,b,box,1 2 3 4\n", "line 2: box: expected --slice"),
        ("volume,label,kind,values\na,b,disc,1 2 3 4\n", "line 2: prompt: expected box"),
        ("volume,label,kind,values,slice\na,b,box,1 2 3 x,4\n", "line 2"),
        ("volume,label,kind,values\n", "at least one prompt"),
    ):
        table.write_text(text)
        with pytest.raises(PromptError, match=message):
            read_prompt_table(table)
    with pytest.raises(PromptError, match="cannot be read"):
        read_prompt_table(tmp_path / "absent.csv")
