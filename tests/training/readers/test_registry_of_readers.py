"""Names, the rule about test sets, and the command."""

from pathlib import Path
from typing import Any

import pytest

from training.readers import DATASETS, open_dataset, require_training
from training.readers.__main__ import main
from zim.errors import ConfigError, DataError

NAMES = {
    *("aim500", "am2k", "p3m10k", "rwp636", "him2k", "refmatte", "micromat3k", "dis5k", "matte_folder"),
    *("thinobject5k", "coift", "hrsod"),
    *("ade20k", "sa1b", "bsds500", "coco_panoptic", "label_folder"),
}


def test_names() -> None:
    assert set(DATASETS) == NAMES
    assert all(reader.name == name for name, reader in DATASETS.items())
    with pytest.raises(ConfigError, match="name: expected one of aim500, .*, got 'imagenet'"):
        open_dataset("imagenet", ".")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_reader_says_what_it_reads_and_why_it_may_be_trained_on(name: str) -> None:
    reader = DATASETS[name]
    assert "Layout" in str(reader.__doc__) and reader.LAYOUT
    assert reader.SPLITS and all(use.reason for use in reader.SPLITS.values())
    closed = {split for split, use in reader.SPLITS.items() if not use.allowed}
    assert closed >= {split for split in reader.SPLITS if split.startswith(("test", "val", "rw"))} or name == "bsds500"


def test_test_sets_refuse_to_be_trained_on(mini: Any) -> None:
    mini.pairs("original", "mask", ["a"])
    reader = open_dataset("aim500", mini.root)
    assert not reader.training_allowed and not reader[0].training_allowed
    assert "never does" in reader.training_reason
    with pytest.raises(DataError, match="aim500: not for training .*it has no training split"):
        open_dataset("aim500", mini.root, for_training=True)


def test_a_mixture_refuses_and_names_the_split_to_use(mini: Any) -> None:
    for split in ("train", "validation"):
        mini.pairs(f"{split}/original", f"{split}/mask", ["a"])
    with pytest.raises(DataError, match="am2k: not for training .*; use split 'train'"):
        require_training(open_dataset("am2k", mini.root))
    assert len(open_dataset("am2k", mini.root, "train", for_training=True)) == 1


def test_command_describes_a_copy(mini: Any, capsys: Any) -> None:
    for split in ("train", "validation"):
        mini.pairs(f"{split}/original", f"{split}/mask", ["a", "b", "c"])
    mini.photo("train/original/b.jpg", size=(30, 40))
    mini.gray("train/mask/b.png", size=(30, 40))
    assert main(["am2k", str(mini.root), "--check"]) == 0
    printed = capsys.readouterr().out
    for told in (
        "am2k: 6 items",
        "train: 3, for training",
        "test: 3, NOT for training",
        "size: 16x12 to 40x30, median 16x12 (6 of 6 photographs looked at)",
        "read 6 mattes",
        "no item quarantined",
    ):
        assert told in printed
    assert main(["am2k", str(mini.root), "--split", "test"]) == 0
    assert "am2k: 3 items" in capsys.readouterr().out


def test_command_lists_corrupt_items(mini: Any, tmp_path: Path, capsys: Any) -> None:
    for stem in ("a", "b"):
        mini.photo(f"image/{stem}.jpg")
        mini.gray(f"label/{stem}.png")
    mini.cut("image/a.jpg", 0.05)
    listing = tmp_path / "quarantine.jsonl"
    assert main(["label_folder", str(mini.root), "--check", "--quarantine", str(listing)]) == 1
    printed = capsys.readouterr().out
    assert "read 1 photographs with 15 masks" in printed and "1 more have no readable header" in printed
    assert f"1 item quarantined, listed in {listing}" in printed and f"  a: {mini.root}/image/a.jpg: " in printed
    assert len(listing.read_text().splitlines()) == 1


def test_command_names_faults_of_the_layout(mini: Any, capsys: Any) -> None:
    mini.pairs("original", "mask", ["a"])
    (mini.root / "mask/a.png").unlink()
    assert main(["aim500", str(mini.root)]) == 1
    assert f"{mini.root}/original/a.jpg: found no picture" in capsys.readouterr().err
