"""One photograph: the mattes are the converter's own, agreement is counted by hand."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.label_converter.converter import load_converter
from training.label_converter.crops import CropMatte, convert_labels
from training.readers.sa1b import Sa1b
from training.sa1b_matte.config import ConversionConfig, FilterRules
from training.sa1b_matte.image_conversion import agreement, convert_image, load_or_quarantine, load_record
from training.sa1b_matte.shards import StoredMatte


def test_agreement_by_hand() -> None:
    label = np.zeros((6, 8), bool)
    label[1:4, 2:6] = True  # 12 pixels
    alpha = np.full((2, 3), 0.9, np.float32)
    alpha[0, 0] = 0.5  # not above one half
    # the crop covers x 4..6, y 2..3: opaque on 5 pixels, of which (5, 2), (4, 3), (5, 3) are in the label
    assert agreement(label, CropMatte(alpha=alpha, box=(4, 2, 7, 4))) == pytest.approx(3 / (12 + 5 - 3))
    assert agreement(label, CropMatte(alpha=np.ones((3, 4), np.float32), box=(2, 1, 6, 4))) == 1
    assert agreement(label, CropMatte(alpha=np.zeros((1, 1), np.float32), box=(0, 0, 1, 1))) == 0


class Eroding:
    """A converter that takes two pixels off every label: the smaller the label, the less they agree."""

    side, fingerprint = 64, "0" * 64

    def refine(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        kernel = np.ones((5, 5), np.uint8)
        return np.stack([cv2.erode(label.astype(np.float32), kernel) for label in labels])


def test_mattes_are_the_converters(tmp_path: Path, converter_file: Path, make_sa1b: Callable[..., Path]) -> None:
    record = Sa1b(make_sa1b(tmp_path / "sa_000000.tar", [5]))[0]
    loaded = load_record(record)
    converter = load_converter(converter_file)
    config = ConversionConfig(batch_size=2, margin=0.3, rules=FilterRules(min_area=1, min_agreement=0))
    outcome = convert_image(converter, loaded, "sa_5", config)
    expected = convert_labels(converter, loaded.image, list(loaded.masks), margin=0.3)
    assert [matte.id for matte in outcome.mattes] == ["0000", "0001", "0002"]
    assert [matte.source for matte in outcome.mattes] == ["500", "501", "502"] and not outcome.filtered
    for matte, crop, mask in zip(outcome.mattes, expected, loaded.masks, strict=True):
        assert matte.box == crop.box and matte.area == mask.sum()
        np.testing.assert_allclose(matte.alpha, crop.alpha, atol=0.51 / 255)
        assert matte.agreement == pytest.approx(intersection_over_union(matte, mask), abs=2e-4)


def intersection_over_union(matte: StoredMatte, mask: np.ndarray) -> float:
    opaque = matte.full((40, 48)) > 0.5
    return float((opaque & mask).sum() / (opaque | mask).sum())


def test_labels_that_the_converter_disagrees_with_are_left_out(tmp_path: Path, make_sa1b: Callable[..., Path]) -> None:
    loaded = load_record(Sa1b(make_sa1b(tmp_path / "sa_000000.tar", [5]))[0])
    everything = ConversionConfig(rules=FilterRules(min_area=1, min_agreement=0))
    mattes = convert_image(Eroding(), loaded, "sa_5", everything).mattes
    for matte, mask in zip(mattes, loaded.masks, strict=True):
        assert matte.agreement == pytest.approx(intersection_over_union(matte, mask), abs=2e-4)
    overlaps = sorted(matte.agreement for matte in mattes)
    assert overlaps[0] < overlaps[1] < overlaps[2] < 1
    strict = ConversionConfig(rules=FilterRules(min_area=1, min_agreement=overlaps[1] + 1e-3))
    kept = convert_image(Eroding(), loaded, "sa_5", strict)
    assert [matte.agreement for matte in kept.mattes] == [overlaps[2]] and kept.filtered == {"agreement": 2}


def test_the_bytes_of_the_photograph_are_kept(tmp_path: Path, make_sa1b: Callable[..., Path]) -> None:
    record = Sa1b(make_sa1b(tmp_path / "sa_000000.tar", [5]))[0]
    loaded = load_record(record)
    np.testing.assert_array_equal(loaded.image, np.asarray(Image.open(io.BytesIO(loaded.jpg))))


@pytest.mark.parametrize(
    ("change", "file", "reason"),
    [
        ({"sa_2.jpg": b"no photograph"}, "sa_000000.tar:./sa_2.jpg", "cannot be decoded"),
        ({"sa_2.jpg": b""}, "sa_000000.tar:./sa_2.jpg", "cannot be decoded"),
        ({"sa_2.json": b"{"}, "sa_000000.tar:./sa_2.json", "expected JSON"),
        (
            {"sa_2.json": b'{"image": {"width": 48, "height": 40}, "annotations": [{"segmentation": 1}]}'},
            "sa_000000.tar:./sa_2.json",
            "annotation 0: RLE",
        ),
        (
            {"sa_2.json": b'{"image": {"width": 5, "height": 4}, "annotations": []}'},
            "sa_000000.tar:./sa_2.json",
            "48x40",
        ),
    ],
)
def test_what_cannot_be_read_is_listed(
    tmp_path: Path, make_sa1b: Callable[..., Path], change: dict[str, bytes], file: str, reason: str
) -> None:
    record = Sa1b(make_sa1b(tmp_path / "sa_000000.tar", [2], change))[0]
    item = load_or_quarantine(record, tmp_path)
    assert not hasattr(item, "masks") and item.key == "sa_2" and item.file == file
    assert reason in item.reason and str(tmp_path) not in item.reason
