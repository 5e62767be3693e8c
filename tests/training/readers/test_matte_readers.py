"""Readers of matting sets: miniature copies of each layout, and their faults."""

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from training.readers import DATASETS, ItemError, MatteRecord, open_dataset
from zim.errors import ConfigError, DataError

PAIRED = {
    "aim500": {"test": ("original", "mask")},
    "am2k": {"train": ("train/original", "train/mask"), "test": ("validation/original", "validation/mask")},
    "p3m10k": {
        "train": ("train/blurred_image", "train/mask"),
        "test_p": ("validation/P3M-500-P/blurred_image", "validation/P3M-500-P/mask"),
        "test_np": ("validation/P3M-500-NP/original_image", "validation/P3M-500-NP/mask"),
    },
    "rwp636": {"all": ("image", "alpha")},
    "dis5k": {"train": ("DIS-TR/im", "DIS-TR/gt"), "test4": ("DIS-TE4/im", "DIS-TE4/gt")},
    "thinobject5k": {
        "train": ("ThinObject5K/images_train", "ThinObject5K/masks_train"),
        "test": ("ThinObject5K/images_test", "ThinObject5K/masks_test"),
    },
    "coift": {"test": ("images", "masks")},
    "hrsod": {"test": ("HRSOD/images", "HRSOD/masks_max255")},
}
"""As the data sets are published."""


def write_paired(mini: Any, name: str) -> None:
    for images, alphas in PAIRED[name].values():
        mini.pairs(images, alphas, ["b", "a"])
        mini.gray(f"{images.rpartition('/')[0] or '.'}/trimap/a.png")


def write_him2k(mini: Any) -> None:
    for part in ("natural", "comp"):
        for stem in ("b", "a"):
            mini.photo(f"images/{part}/{stem}.jpg")
            for number in ("01", "00"):
                mini.gray(f"alphas/{part}/{stem}/{number}.png")


def write_refmatte(mini: Any) -> None:
    for stem in ("p_1", "p_2"):
        mini.photo(f"train/img/{stem}.jpg")
        for number in (1, 0):
            mini.gray(f"train/mask/{stem}_{number}.png")
    mini.json("train/refmatte_train_label.json", {"p_1_0": {"image_name": "p_1", "expressions": ["a dog"]}})


def write_micromat(mini: Any) -> None:
    mini.photo("img/0002.png")
    for tag in ("fine", "coarse"):
        mini.gray(f"matte/{tag}/0002_21.png")
        mini.json(f"prompt/{tag}/0002_21.json", {"point": [[3, 4, 1]], "bbox": [1, 2, 8, 9]})


WRITERS: dict[str, Any] = {
    **{name: lambda mini, name=name: write_paired(mini, name) for name in PAIRED},
    "him2k": write_him2k,
    "refmatte": write_refmatte,
    "micromat3k": write_micromat,
    "matte_folder": lambda mini: mini.pairs("deep/image", "deep/alpha", ["b", "a"]),
}
KEYS = {
    "aim500": ["test/a", "test/b"],
    "am2k": ["train/a", "train/b", "test/a", "test/b"],
    "p3m10k": ["train/a", "train/b", "test_p/a", "test_p/b", "test_np/a", "test_np/b"],
    "rwp636": ["all/a", "all/b"],
    "dis5k": ["train/a", "train/b", "test4/a", "test4/b"],
    "thinobject5k": ["train/a", "train/b", "test/a", "test/b"],
    "coift": ["test/a", "test/b"],
    "hrsod": ["test/a", "test/b"],
    "him2k": [f"{split}/{stem}/{n}" for split in ("natural", "synthetic") for stem in "ab" for n in ("00", "01")],
    "refmatte": ["train/p_1_0", "train/p_1_1", "train/p_2_0", "train/p_2_1"],
    "micromat3k": ["fine/0002_21", "coarse/0002_21"],
    "matte_folder": ["deep/a", "deep/b"],
}
CLOSED = {
    "aim500": {"test"},
    "am2k": {"test"},
    "p3m10k": {"test_p", "test_np"},
    "micromat3k": {"test", "fine", "coarse"},
}
"""Splits (the first part of a key) that must never be trained on."""


@pytest.mark.parametrize("name", WRITERS)
def test_layout_is_read(mini: Any, name: str) -> None:
    WRITERS[name](mini)
    reader = open_dataset(name, mini.root)
    assert isinstance(reader, Sequence) and len(reader) == len(KEYS[name])
    assert [record.key for record in reader] == KEYS[name] == [reader[i].key for i in range(len(reader))]
    for record in reader:
        assert isinstance(record, MatteRecord) and record.size_hw() == (12, 16)
        image, alpha = record.load()
        assert image.shape == (12, 16, 3) and image.dtype == np.uint8
        assert alpha.dtype == np.float32 and (alpha[0, 0], alpha[0, -1]) == (0, 1)  # the ramp
        split = record.key.split("/")[0]
        assert record.training_allowed == (split not in CLOSED.get(name, set()) and not split.startswith("test"))
    assert reader.training_allowed == all(record.training_allowed for record in reader)
    assert reader[-1].key == KEYS[name][-1] and [r.key for r in reader[:2]] == KEYS[name][:2]
    with pytest.raises(IndexError):
        reader[len(reader)]
    copy = pickle.loads(pickle.dumps(reader))  # as data processes do
    np.testing.assert_array_equal(copy[0].load()[1], reader[0].load()[1])


@pytest.mark.parametrize("name", sorted(name for name in WRITERS if len(DATASETS[name].SPLITS) > 1))
def test_splits(mini: Any, name: str) -> None:
    WRITERS[name](mini)
    everything = open_dataset(name, mini.root)
    assert sum(everything.counts.values()) == len(everything)
    for split, count in everything.counts.items():
        part = open_dataset(name, mini.root, split)
        assert len(part) == count and all(record.key.startswith(f"{split}/") for record in part)
    with pytest.raises(ConfigError, match="split: expected one of .*, got 'nonsense'"):
        open_dataset(name, mini.root, "nonsense")
    for split in everything.SPLITS.keys() - everything.counts.keys():
        with pytest.raises(DataError, match=f"split '{split}' of {name} as .*found none"):
            open_dataset(name, mini.root, split)


@pytest.mark.parametrize("name", WRITERS)
def test_another_folder_is_refused(mini: Any, name: str) -> None:
    mini.json("readme.json", {})
    with pytest.raises(DataError, match=f"{mini.root}"):
        open_dataset(name, mini.root)
    with pytest.raises(DataError, match="expected a dataset folder, found nothing"):
        open_dataset(name, mini.root / "nowhere")


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("aim500", "mask/a.png"),
        ("aim500", "original/b.jpg"),
        ("am2k", "validation/mask/b.png"),
        ("p3m10k", "validation/P3M-500-NP/original_image/a.jpg"),
        ("rwp636", "alpha/a.png"),
        ("dis5k", "DIS-TR/gt/a.png"),
        ("micromat3k", "img/0002.png"),
        ("micromat3k", "prompt/fine/0002_21.json"),
        ("matte_folder", "deep/alpha/b.png"),
        ("refmatte", "train/img/p_2.jpg"),
    ],
)
def test_a_missing_partner_is_named_on_opening(mini: Any, name: str, removed: str) -> None:
    WRITERS[name](mini)
    (mini.root / removed).unlink()
    stem = removed.rpartition("/")[2].partition(".")[0]
    with pytest.raises(DataError, match=rf"{mini.root}/.*{stem}"):
        open_dataset(name, mini.root)


def test_him2k_folders_without_mattes_or_photographs(mini: Any) -> None:
    write_him2k(mini)
    mini.photo("images/natural/c.jpg")
    with pytest.raises(DataError, match=r"natural/c\.jpg: found no folder of mattes"):
        open_dataset("him2k", mini.root)
    (mini.root / "alphas/natural/c").mkdir()
    with pytest.raises(DataError, match="natural/c: expected mattes 00.png"):
        open_dataset("him2k", mini.root)
    (mini.root / "images/natural/c.jpg").unlink()
    with pytest.raises(DataError, match="natural/c: found no photograph"):
        open_dataset("him2k", mini.root)
    assert len(open_dataset("him2k", mini.root, "synthetic")) == 4


def test_refmatte_label_file_names_the_photograph(mini: Any) -> None:
    """RW100's mattes need not be called after their photographs; the label file says which is which."""
    mini.photo("image/cat.jpg", value=50)
    mini.photo("image/dog.jpg", value=200)
    for stem in ("x_0", "dog_0"):
        mini.gray(f"mask/{stem}.png")
    listing = mini.json("refmatte_rw100_label.json", {"x_0": {"image_name": "cat"}})
    reader = open_dataset("refmatte", mini.root)
    assert {record.key: record.image.name for record in reader} == {"rw100/dog_0": "dog.jpg", "rw100/x_0": "cat.jpg"}
    assert not reader.training_allowed and reader[0].tag == "natural" and reader.notes == []
    mini.photo("image/fox.jpg")
    assert "1 photographs without a matte" in open_dataset("refmatte", mini.root).notes[0]
    listing.write_text('{"x_0": "cat"}')
    with pytest.raises(DataError, match=f"{listing}: expected an object of objects"):
        open_dataset("refmatte", mini.root)


def test_older_names_of_the_same_layout(mini: Any) -> None:
    mini.pairs("validation/original", "validation/mask", ["a"])
    assert open_dataset("aim500", mini.root)[0].key == "test/a"
    mini.pairs("validation1/blurred_image", "validation1/mask", ["b"])
    mini.pairs("validation2/original_image", "validation2/mask", ["c"])
    assert open_dataset("p3m10k", mini.root).counts == {"test_p": 1, "test_np": 1}


def test_prompts_and_tags(mini: Any) -> None:
    write_micromat(mini)
    fine, coarse = open_dataset("micromat3k", mini.root)
    assert (fine.tag, coarse.tag) == ("fine", "coarse")
    np.testing.assert_array_equal(fine.prompt.box, [1, 2, 8, 9])


def test_faults_of_pixels_come_when_they_are_read(mini: Any) -> None:
    write_paired(mini, "am2k")
    alpha = mini.gray("train/mask/a.png", size=(12, 15))
    photo = mini.cut("train/original/b.jpg")
    reader = open_dataset("am2k", mini.root, "train")
    with pytest.raises(ItemError, match="expected the size of .*a.jpg, 16x12, got 15x12") as wrong_size:
        reader[0].load()
    assert wrong_size.value.file == str(alpha)
    with pytest.raises(ItemError, match="cannot be decoded") as cut_off:
        reader[1].load()
    assert cut_off.value.file == str(photo)
    assert pickle.loads(pickle.dumps(cut_off.value)).file == str(photo)
    alpha.write_bytes(b"")
    with pytest.raises(ItemError, match=str(alpha)):
        reader[0].load()
    alpha.unlink()
    with pytest.raises(ItemError, match=str(alpha)):
        reader[0].load()


def test_two_files_of_one_name(mini: Any) -> None:
    write_paired(mini, "rwp636")
    mini.photo("image/a.png")
    with pytest.raises(DataError, match=r"a\.png: expected one file per name, found a\.jpg beside it"):
        open_dataset("rwp636", mini.root)
