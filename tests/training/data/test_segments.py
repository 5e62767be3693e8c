"""Labelled photographs: both layouts, what regions are drawn, and errors that name the file."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from training.data.segments import MIN_AREA, REGION_MIXES, LabelledPhoto, RegionMix, SegmentPool
from zim.errors import ConfigError, DataError, ImageError


def label_map() -> np.ndarray:
    """(40, 60) uint8: id 1 in two pieces, id 2, id 9, the rest 0."""
    label = np.zeros((40, 60), np.uint8)
    label[2:12, 2:12] = 1
    label[25:35, 2:22] = 1
    label[5:20, 30:50] = 2
    label[25:38, 40:55] = 9
    return label


def write_folder(root: Path, name: str = "mine", label: np.ndarray | None = None) -> Path:
    folder = root / name
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    colours = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "image" / "a.png")
    Image.fromarray(label_map() if label is None else label).save(folder / "label" / "a.png")
    return folder


def write_bsds(root: Path, maps: list[np.ndarray]) -> Path:
    """The layout of BSDS500: `groundTruth` is 1 x N cells of a struct with Segmentation and Boundaries."""
    (root / "images" / "train").mkdir(parents=True)
    (root / "groundTruth" / "train").mkdir(parents=True)
    height, width = maps[0].shape
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(root / "images" / "train" / "7.jpg")
    cells = np.empty((1, len(maps)), object)
    for i, segmentation in enumerate(maps):
        cells[0, i] = {"Segmentation": segmentation, "Boundaries": np.zeros_like(segmentation, np.uint8)}
    savemat(root / "groundTruth" / "train" / "7.mat", {"groundTruth": cells})
    return root


def regions(mix: RegionMix, draws: int = 60) -> set[bytes]:
    photo = LabelledPhoto(image=np.zeros((40, 60, 3), np.uint8), labels=label_map()[None], mix=mix)
    rng = np.random.default_rng(1)
    drawn = [photo.sample_region(rng) for _ in range(draws)]
    return {np.packbits(region).tobytes() for region in drawn if region is not None}


def packed(masks: list[np.ndarray]) -> set[bytes]:
    return {np.packbits(mask).tobytes() for mask in masks}


def test_region_modes_against_a_known_label_map() -> None:
    label = label_map()
    none = {"whole": 0.0, "single": 0.0, "component": 0.0, "union": 0.0}
    singles = [label == 1, label == 2, label == 9]
    _, pieces = cv2.connectedComponents((label == 1).astype(np.uint8), connectivity=4)
    unions = [singles[0] | singles[1], singles[0] | singles[2], singles[1] | singles[2], label > 0]
    assert regions(RegionMix(**none | {"whole": 1})) == packed([label > 0])
    assert regions(RegionMix(**none | {"single": 1})) == packed(singles)
    assert regions(RegionMix(**none | {"component": 1})) == packed([pieces == 1, pieces == 2, label == 2, label == 9])
    assert regions(RegionMix(**none | {"union": 1})) == packed(unions)


def test_regions_too_small_or_all_of_the_picture_are_not_drawn() -> None:
    speck = np.zeros((1, 60, 60), np.uint8)
    speck[0, 30, 30] = 1
    assert 1 / 3600 < MIN_AREA
    for labels in (speck, np.ones((1, 60, 60), np.uint8), np.zeros((1, 60, 60), np.uint8)):
        photo = LabelledPhoto(image=np.zeros((60, 60, 3), np.uint8), labels=labels, mix=RegionMix())
        assert photo.sample_region(np.random.default_rng(0)) is None


def test_label_folder_is_read_pixel_by_pixel(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "deep", "ccp")
    (folder / "image" / "a.json").write_text("{}")  # no photograph, whatever its name
    pool = SegmentPool(tmp_path)
    assert len(pool) == 1 and pool.objects() == [0]
    photo = pool.photo(0)
    np.testing.assert_array_equal(photo.labels, label_map()[None])
    np.testing.assert_array_equal(photo.image, np.asarray(Image.open(folder / "image" / "a.png")))
    assert photo.mix == REGION_MIXES["ccp"]


@pytest.mark.parametrize("mode", ["palette", "16 bit"])
def test_other_label_files_keep_their_ids(tmp_path: Path, mode: str) -> None:
    ids = label_map().astype(np.uint16) * (300 if mode == "16 bit" else 1)
    folder = write_folder(tmp_path, label=ids)
    if mode == "palette":
        picture = Image.fromarray(label_map(), mode="L").convert("P")
        picture.putdata(label_map().ravel().tolist())
        picture.putpalette(np.random.default_rng(0).integers(0, 255, 768, dtype=np.uint8).tobytes())
        picture.save(folder / "label" / "a.png")
        assert cv2.imread(str(folder / "label" / "a.png"), cv2.IMREAD_UNCHANGED).ndim == 3
    np.testing.assert_array_equal(SegmentPool(tmp_path).photo(0).labels[0], ids)


def test_bsds_layout(tmp_path: Path) -> None:
    halves, quarters = np.ones((20, 30), np.uint16), np.ones((20, 30), np.uint16)
    halves[:, 15:] = 2
    quarters[10:, 15:] = 400
    root = write_bsds(tmp_path / "bsds500", [halves, quarters])
    pool = SegmentPool([tmp_path])
    np.testing.assert_array_equal(pool.photo(0).labels, np.stack([halves, quarters]))
    assert pool.photo(0).mix == REGION_MIXES["bsds500"] and pool.objects() == []
    (root / "images" / "train" / "7.jpg").unlink()
    with pytest.raises(DataError, match=r"7\.mat has no photograph .*7\.jpg"):
        SegmentPool(tmp_path)


def test_large_photographs_are_reduced_with_their_labels(tmp_path: Path) -> None:
    write_folder(tmp_path)
    photo = SegmentPool(tmp_path, max_side=30).photo(0)
    assert photo.image.shape == (20, 30, 3)
    blocks = label_map().reshape(20, 2, 30, 2).transpose(0, 2, 1, 3).reshape(20, 30, 4)
    assert bool((blocks == photo.labels[0][..., None]).any(-1).all())  # an id of the block, never a mixture
    np.testing.assert_allclose((photo.labels[0] == 2).mean(), (label_map() == 2).mean(), atol=0.02)


def test_pool_travels_to_data_processes_and_forgets_the_oldest(tmp_path: Path) -> None:
    for name in ("a", "feralcats"):
        write_folder(tmp_path, name)
    pool = SegmentPool(tmp_path, cache=1)
    first = pool.photo(0)
    assert pool.photo(0) is first
    pool.photo(1)
    assert pool.photo(0) is not first
    copy = pickle.loads(pickle.dumps(pool))
    assert copy.objects() == pool.objects() == [1]
    np.testing.assert_array_equal(copy.photo(1).labels, pool.photo(1).labels)


def test_faulty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected image/ .* found none"):
        SegmentPool(tmp_path / "nowhere")
    folder = write_folder(tmp_path / "one")
    label, image = folder / "label" / "a.png", folder / "image" / "a.png"
    for content in (np.zeros((40, 60, 3), np.uint8), np.zeros((40, 59), np.uint8)):
        Image.fromarray(content).save(label)
        with pytest.raises(DataError, match=f"{label}.*(one id per pixel|is .40, 59.)"):
            SegmentPool(folder).photo(0)
    label.write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"{label} is not a readable label"):
        SegmentPool(folder).photo(0)
    image.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=str(image)):
        SegmentPool(folder).photo(0)
    image.unlink()
    with pytest.raises(DataError, match=f"{label} has no photograph"):
        SegmentPool(folder)


@pytest.mark.parametrize("content", ["rubbish", "other variable", "no segmentation"])
def test_faulty_bsds_labels_are_named(tmp_path: Path, content: str) -> None:
    root = write_bsds(tmp_path, [np.ones((20, 30), np.uint16)])
    path = root / "groundTruth" / "train" / "7.mat"
    if content == "rubbish":
        path.write_bytes(b"MATLAB 5.0 MAT-file, but not really" * 9)
    else:
        savemat(path, {"truth" if content == "other variable" else "groundTruth": np.ones((2, 2))})
    with pytest.raises(DataError, match=f"{path} is not a readable BSDS500 label"):
        SegmentPool(root).photo(0)


def test_small_sets_are_not_drowned(tmp_path: Path) -> None:
    """Nine photographs of one set and one of another are drawn 3 : 1, not 9 : 1."""
    for name, count in (("ccp", 9), ("davis_train", 1)):
        for part in ("image", "label"):
            (tmp_path / name / part).mkdir(parents=True)
        for i in range(count):
            value = 1 if name == "ccp" else 2
            for part, shape in (("image", (40, 40, 3)), ("label", (40, 40))):
                Image.fromarray(np.full(shape, value, np.uint8)).save(tmp_path / name / part / f"{i}.png")
    pool = SegmentPool(tmp_path)
    rng = np.random.default_rng(0)
    seen = [int(pool.draw(rng).labels.max()) for _ in range(2000)]
    assert np.mean(np.array(seen) == 2) == pytest.approx(0.25, abs=0.03)
    assert {int(pool.draw(rng, whole_objects=True).labels.max()) for _ in range(50)} == {1, 2}


def test_regions_file_says_what_the_ids_mean(tmp_path: Path) -> None:
    """Without it any regions are drawn, and no object to paste; with it only what it names."""
    folder = write_folder(tmp_path)
    assert SegmentPool(tmp_path).photo(0).mix == RegionMix() and not SegmentPool(tmp_path).objects()
    (folder / "regions.json").write_text('{"whole": 1, "single": 0, "component": 0, "union": 0, "objects": true}')
    pool = SegmentPool(tmp_path)
    region = pool.photo(0).sample_region(np.random.default_rng(0))
    assert region is not None and np.array_equal(region, label_map() > 0) and pool.objects() == [0]


@pytest.mark.parametrize("text", ["{", "[1]", '{"hole": 1}', '{"single": -1}', '{"single": "much"}', "{}x"])
def test_damaged_regions_file_is_named(text: str, tmp_path: Path) -> None:
    (write_folder(tmp_path) / "regions.json").write_text(text)
    with pytest.raises(DataError, match=r"regions\.json: expected an object with some of whole"):
        SegmentPool(tmp_path)


def test_mix_without_any_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected weights of at least 0, one of them above"):
        RegionMix(single=0, component=0, union=0)
