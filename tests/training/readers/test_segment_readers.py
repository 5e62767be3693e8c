"""Readers of segmentation sets: ADE20K, BSDS500, COCO panoptic and plain label folders."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from training.readers import ItemError, SegmentRecord, open_dataset
from training.readers.ade20k_classes import COARSE_CLASSES, LEFT_OUT
from zim.errors import DataError

CAR, DESK, TREE = 21, 34, 5


def id_map(**boxes: tuple[slice, slice]) -> np.ndarray:
    """(12, 16) uint8 with rectangles of ids: `i21=(rows, columns)`."""
    label = np.zeros((12, 16), np.uint8)
    for name, place in boxes.items():
        label[place] = int(name[1:])
    return label


ADE_LABEL = id_map(i5=np.s_[0:4, :], i21=np.s_[6:9, 1:5], i34=np.s_[6:9, 8:14])


def write_ade(mini: Any) -> None:
    mini.photo("images/training/ADE_train_00000001.jpg")
    mini.gray("annotations/training/ADE_train_00000001.png", ADE_LABEL)
    mini.photo("images/validation/ADE_val_00000001.jpg")
    mini.gray("annotations/validation/ADE_val_00000001.png", id_map(i5=np.s_[:, :]))


def test_ade20k_gives_coarse_objects(mini: Any) -> None:
    write_ade(mini)
    train, validation = open_dataset("ade20k", mini.root)
    assert isinstance(train, SegmentRecord)
    assert (train.key, validation.key) == ("train/ADE_train_00000001", "validation/ADE_val_00000001")
    assert train.training_allowed and not validation.training_allowed
    image, masks = train.load()
    assert image.shape == (12, 16, 3)
    assert [(info.name, info.area) for info in masks.info] == [("car", 12), ("desk", 18)]
    np.testing.assert_array_equal(masks[0], ADE_LABEL == CAR)
    assert len(validation.load()[1]) == 0  # a tree only
    everything = open_dataset("ade20k", mini.root, "train", all_classes=True)
    assert [info.name for info in everything[0].load()[1].info] == ["tree", "car", "desk"]


def test_ade20k_pieces(mini: Any) -> None:
    write_ade(mini)
    mini.gray("annotations/training/ADE_train_00000001.png", id_map(i21=np.s_[0:12:4, 0:4]))
    whole, pieces = (open_dataset("ade20k", mini.root, "train", pieces=split)[0].load()[1] for split in (False, True))
    assert [info.area for info in whole.info] == [12] and [info.area for info in pieces.info] == [4, 4, 4]


def test_every_class_of_ade20k_is_decided_once() -> None:
    assert sorted([*COARSE_CLASSES, *LEFT_OUT]) == list(range(1, 151))
    assert COARSE_CLASSES[CAR].name == "car" and COARSE_CLASSES[DESK].name == "desk" and LEFT_OUT[TREE].name == "tree"
    assert all(row.name and row.reason for row in (COARSE_CLASSES | LEFT_OUT).values())


def test_ade20k_faults(mini: Any) -> None:
    write_ade(mini)
    label = mini.gray("annotations/training/ADE_train_00000001.png", np.full((12, 16), 151, np.uint8))
    with pytest.raises(ItemError, match=f"{label}: expected ids from 0 to 150, got 151"):
        open_dataset("ade20k", mini.root)[0].load()
    label.write_bytes(b"no picture")
    with pytest.raises(ItemError, match=f"{label}: .*not a readable label"):
        open_dataset("ade20k", mini.root)[0].load()
    label.unlink()
    with pytest.raises(DataError, match=r"ADE_train_00000001\.jpg: found no picture of the same name"):
        open_dataset("ade20k", mini.root)
    mini.pairs("somewhere", "else", ["a"])
    with pytest.raises(DataError, match="annotations/training"):
        open_dataset("ade20k", mini.root)


def write_bsds(mini: Any, split: str, stem: str, maps: list[np.ndarray]) -> None:
    mini.photo(f"images/{split}/{stem}.jpg")
    cells = np.empty((1, len(maps)), object)
    for i, segmentation in enumerate(maps):
        cells[0, i] = {"Segmentation": segmentation.astype(np.uint16), "Boundaries": segmentation}
    path = mini.root / "groundTruth" / split / f"{stem}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"groundTruth": cells})


def test_bsds500_gives_the_segments_of_all_annotators(mini: Any) -> None:
    halves, one = id_map(i1=np.s_[:, :8], i2=np.s_[:, 8:]), id_map(i1=np.s_[:, :])
    for split in ("train", "test"):
        write_bsds(mini, split, "7", [halves, one])
    reader = open_dataset("bsds500", mini.root)
    assert [record.key for record in reader] == ["train/7", "test/7"] and reader.counts == {"train": 1, "test": 1}
    masks = reader[0].load()[1]
    assert [info.area for info in masks.info] == [96, 96, 192]
    np.testing.assert_array_equal(masks[1], halves == 2)
    label = mini.cut("groundTruth/train/7.mat")
    with pytest.raises(ItemError, match=f"^{label}: .*not a readable BSDS500 label"):
        reader[0].load()
    (mini.root / "images/test/7.jpg").unlink()
    with pytest.raises(DataError, match=r"7\.mat has no photograph"):
        open_dataset("bsds500", mini.root)


PANOPTIC = {
    "images": [{"id": 139, "file_name": "000139.jpg", "height": 12, "width": 16}],
    "categories": [{"id": 1, "name": "person"}, {"id": 184, "name": "tree-merged"}],
    "annotations": [
        {
            "image_id": 139,
            "file_name": "000139.png",
            "segments_info": [
                {"id": 70000, "category_id": 1, "iscrowd": 0, "area": 8, "bbox": [0, 0, 4, 2]},
                {"id": 300, "category_id": 184, "iscrowd": 0, "area": 16, "bbox": [0, 6, 16, 1]},
                {"id": 9, "category_id": 1, "iscrowd": 1, "area": 16, "bbox": [0, 8, 16, 1]},
            ],
        }
    ],
}


def write_panoptic(mini: Any, split: str = "val2017", listing: Any = None) -> np.ndarray:
    ids = np.zeros((12, 16), np.uint32)
    ids[:2, :4], ids[6], ids[8] = 70000, 300, 9
    mini.photo(f"{split}/000139.jpg")
    channels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
    path = mini.root / "annotations" / f"panoptic_{split}" / "000139.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(channels).save(path)
    mini.json(f"annotations/panoptic_{split}.json", listing or PANOPTIC)
    return ids


def test_panoptic_segments(mini: Any) -> None:
    ids = write_panoptic(mini)
    reader = open_dataset("coco_panoptic", mini.root)
    assert [record.key for record in reader] == ["val/000139"] and not reader.training_allowed
    masks = reader[0].load()[1]
    assert [(info.name, info.area) for info in masks.info] == [("tree-merged", 16), ("person", 8)]  # the crowd is out
    np.testing.assert_array_equal(masks[1], ids == 70000)
    write_panoptic(mini, "train2017")
    assert open_dataset("coco_panoptic", mini.root, "train", for_training=True).counts == {"train": 1}


def test_panoptic_faults(mini: Any) -> None:
    write_panoptic(mini)
    label = mini.root / "annotations/panoptic_val2017/000139.png"
    reader = open_dataset("coco_panoptic", mini.root)
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(label)
    with pytest.raises(ItemError, match=f"{label}: expected segment 300 of the listing"):
        reader[0].load()
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(label)
    with pytest.raises(ItemError, match=f"{label}: expected three 8-bit channels"):
        reader[0].load()
    label.unlink()
    with pytest.raises(DataError, match=f"{label}: listed in panoptic_val2017.json, but missing"):
        open_dataset("coco_panoptic", mini.root)
    write_panoptic(mini, listing={**PANOPTIC, "categories": []})
    with pytest.raises(DataError, match="panoptic_val2017.json: expected images, categories and annotations"):
        open_dataset("coco_panoptic", mini.root)
    mini.cut("annotations/panoptic_val2017.json")
    with pytest.raises(DataError, match="panoptic_val2017.json"):
        open_dataset("coco_panoptic", mini.root)


def test_label_folder(mini: Any) -> None:
    label = id_map(i3=np.s_[0:2, 0:2], i8=np.s_[5:12, :])
    label[3, 3] = 3
    for stem in ("b", "a"):
        mini.photo(f"mine/image/{stem}.jpg")
        mini.gray(f"mine/label/{stem}.png", label)
    mini.photo("mine/image/c.jpg")
    reader = open_dataset("label_folder", mini.root)
    assert [record.key for record in reader] == ["mine/a", "mine/b"]
    assert reader.notes == [f"1 files without a label, the first is {mini.root}/mine/image/c.jpg"]
    assert [(info.name, info.area) for info in reader[0].load()[1].info] == [("3", 5), ("8", 112)]
    pieces = open_dataset("label_folder", mini.root, pieces=True, min_area=2)
    assert [info.area for info in pieces[0].load()[1].info] == [4, 112]
    mini.gray("mine/label/a.png", label[:, 1:])
    with pytest.raises(ItemError, match=r"a\.png: expected the size of .*a\.jpg, 16x12, got 15x12"):
        reader[0].load()
    (mini.root / "mine/image/b.jpg").unlink()
    with pytest.raises(DataError, match=r"b\.png has no photograph"):
        open_dataset("label_folder", mini.root)
