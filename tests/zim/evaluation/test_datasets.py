"""Folder readers on small folders written for each case."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zim.errors import DataError
from zim.evaluation.datasets import FolderDataset
from zim.evaluation.samples import downsize, evenly_spaced, size_bucket


def write_pair(image_path: Path, alpha_path: Path, value: int = 255, hw: tuple[int, int] = (6, 8)) -> None:
    """A red photo and an alpha whose left half is `value`."""
    for path in (image_path, alpha_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    alpha = np.zeros(hw, np.uint8)
    alpha[:, : hw[1] // 2] = value
    Image.new("RGB", (hw[1], hw[0]), (200, 10, 30)).save(image_path)
    Image.fromarray(alpha).save(alpha_path)


def test_image_and_alpha_folders(tmp_path: Path) -> None:
    write_pair(tmp_path / "image/b.png", tmp_path / "alpha/b.png", 51)
    write_pair(tmp_path / "image/a.png", tmp_path / "alpha/a.png")
    dataset = FolderDataset(tmp_path)
    assert [(s.id, s.tag) for s in dataset] == [("a", None), ("b", None)]
    image, alpha = dataset[1].load()
    assert image.dtype == np.uint8 and image[0, 0].tolist() == [200, 10, 30]
    assert alpha.dtype == np.float32
    expected = np.zeros((6, 8), np.float32)
    expected[:, :4] = 0.2
    assert alpha == pytest.approx(expected)


def test_fine_and_coarse_folders_tag_their_samples(tmp_path: Path) -> None:
    for tag in ("fine", "coarse"):
        write_pair(tmp_path / tag / "image/1.png", tmp_path / tag / "alpha/1.png")
    assert [(s.id, s.tag) for s in FolderDataset(tmp_path)] == [("coarse/1", "coarse"), ("fine/1", "fine")]
    assert [(s.id, s.tag) for s in FolderDataset(tmp_path / "fine")] == [("1", "fine")]


def test_nested_roots_other_names_and_flat_pairs(tmp_path: Path) -> None:
    write_pair(tmp_path / "one/original/x.jpg", tmp_path / "one/mask/x.png")
    write_pair(tmp_path / "two/deep/img/y.png", tmp_path / "two/deep/matte/y.png")
    write_pair(tmp_path / "flat/z.jpg", tmp_path / "flat/z.png")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "pictures/readme.png")  # not a pair, not an error
    assert [s.id for s in FolderDataset(tmp_path)] == ["flat/z", "one/x", "two/deep/y"]


def test_image_and_alpha_win_over_other_names(tmp_path: Path) -> None:
    write_pair(tmp_path / "image/x.png", tmp_path / "alpha/x.png")
    write_pair(tmp_path / "original/other.png", tmp_path / "mask/other.png")
    assert [s.image_path.parent.name for s in FolderDataset(tmp_path)] == ["image"]


def test_missing_partner_names_the_first_file(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        write_pair(tmp_path / f"image/{stem}.png", tmp_path / f"alpha/{stem}.png")
    (tmp_path / "alpha/b.png").unlink()
    (tmp_path / "image/c.png").unlink()
    with pytest.raises(DataError, match=r"image/b\.png: found no alpha of the same name"):
        FolderDataset(tmp_path)
    (tmp_path / "image/b.png").unlink()
    with pytest.raises(DataError, match=r"alpha/c\.png: found no photo of the same name"):
        FolderDataset(tmp_path)


def test_one_stem_twice_is_ambiguous(tmp_path: Path) -> None:
    write_pair(tmp_path / "image/a.png", tmp_path / "alpha/a.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "image/a.jpg")
    with pytest.raises(DataError, match="expected one file per name"):
        FolderDataset(tmp_path)


def test_size_mismatch_and_unreadable_files_are_named_at_load(tmp_path: Path) -> None:
    write_pair(tmp_path / "image/a.png", tmp_path / "alpha/a.png")
    Image.new("L", (5, 5)).save(tmp_path / "alpha/a.png")
    sample = FolderDataset(tmp_path)[0]
    with pytest.raises(DataError, match=r"alpha/a\.png: expected the size of a\.png \(8x6\), got 5x5"):
        sample.load()
    (tmp_path / "alpha/a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"sample a: .*alpha/a\.png"):
        sample.load()


def test_no_folder_and_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a dataset folder, found nothing"):
        FolderDataset(tmp_path / "absent")
    with pytest.raises(DataError, match="found no photo with an alpha"):
        FolderDataset(tmp_path)


def test_limit_is_evenly_spaced(tmp_path: Path) -> None:
    for i in range(10):
        write_pair(tmp_path / f"image/{i}.png", tmp_path / f"alpha/{i}.png")
    assert [s.id for s in FolderDataset(tmp_path, limit=4)] == ["0", "2", "5", "7"]
    assert len(FolderDataset(tmp_path, limit=99)) == 10
    with pytest.raises(ValueError, match="limit: expected a number >= 1, got 0"):
        evenly_spaced(range(3), 0)


@pytest.mark.parametrize(("pixels", "bucket"), [(99, "S"), (100, "M"), (999, "M"), (1000, "L")])
def test_size_buckets_at_their_limits(pixels: int, bucket: str) -> None:
    alpha = np.full(10_000, 0.3, np.float32)  # exactly 0.3 does not count
    alpha[:pixels] = 0.31
    assert size_bucket(alpha.reshape(100, 100)) == bucket


def test_downsize_averages_blocks_and_never_enlarges() -> None:
    rng = np.random.default_rng(0)
    alpha = rng.random((8, 12)).astype(np.float32)
    image = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    small_image, small_alpha = downsize(image, alpha, 6)
    assert small_alpha == pytest.approx(alpha.reshape(4, 2, 6, 2).mean((1, 3)), abs=1e-6)
    assert np.abs(small_image - image.reshape(4, 2, 6, 2, 3).mean((1, 3))).max() <= 0.5
    assert downsize(image, alpha, 12)[1] is alpha and downsize(image, alpha, None)[0] is image
