"""The measure against cases with a known answer; the four sets' layouts; the comparison."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.hq_sam.benchmark import compare
from adapters.hq_sam.evaluation import evaluate, evaluate_one, hq_scores
from adapters.hq_sam.hq_sets import HQ_SETS, open_hq_set, sets_below
from adapters.oracle import OraclePredictor
from zim import load_predictor
from zim.errors import ConfigError, DataError
from zim.image_io import save_png
from zim.protocol import Predictor
from zim.registry import shipped_weights


class Truthful:
    """Hands the truths of the samples to an oracle by their images' sizes; `shift` pixels to the right."""

    def __init__(self, truths: dict[tuple[int, int], np.ndarray], shift: int = 0, *, binary: bool = False) -> None:
        self.oracle = OraclePredictor(reports_binary=binary)
        self.oracle.expect(*(np.roll(truth, shift, axis=1) for truth in truths.values()))
        self.reports_binary = binary
        self.boxes: list[np.ndarray] = []

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.oracle.set_image(image, image_format)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        self.boxes.append(np.asarray(kwargs["box"]))
        return self.oracle.predict(*args, **kwargs)


def square(height: int = 200, width: int = 200) -> np.ndarray:
    alpha = np.zeros((height, width), np.float32)
    alpha[50:150, 40:140] = 1
    return alpha


def test_scores_of_a_shifted_square() -> None:
    """By counting: 100 x 100 squares, one 4 pixels further right."""
    truth, moved = square(), np.roll(square(), 4, axis=1)
    scores = hq_scores(moved, truth)
    assert scores.iou == pytest.approx(96 / 104)
    assert scores.mse == pytest.approx(1000 * 800 / 40_000)
    diagonal = np.hypot(200, 200)
    for value, ratio in ((scores.boundary_iou, 0.02), (scores.narrow_boundary_iou, 0.005)):
        d = round(ratio * diagonal)  # band: pixels within d of the outside
        band = 100**2 - (100 - 2 * d) ** 2
        ring, other = np.zeros((2, 200, 200), bool)
        for array, left in ((ring, 40), (other, 44)):
            array[50:150, left : left + 100] = True
            array[50 + d : 150 - d, left + d : left + 100 - d] = False
        assert ring.sum() == band
        assert value == pytest.approx((ring & other).sum() / (ring | other).sum())
    assert scores.narrow_boundary_iou < scores.boundary_iou < scores.iou
    assert hq_scores(truth, truth) == (1, 1, 1, 0)
    with pytest.raises(ValueError, match="expected the truth's shape"):
        hq_scores(truth[:5], truth)


def test_the_ground_truths_box_is_asked_and_every_kind_of_answer_is_reported() -> None:
    truth = square()
    truth[truth == 1] = 0.9
    image = np.zeros((200, 200, 3), np.uint8)
    soft, binary = Truthful({(200, 200): truth}), Truthful({(200, 200): truth}, binary=True)
    predictors: dict[str, Predictor] = {"zim": soft, "sam": binary}
    results = list(evaluate_one(predictors, "one", image, truth))
    assert [result.row for result in results] == ["zim", "sam (binary)", "sam (sigmoid)"]
    assert soft.boxes[0].tolist() == [40, 50, 139, 149]
    by_row = {result.row: result.scores for result in results}
    assert by_row["zim"].mse == pytest.approx(0, abs=1e-4) and by_row["zim"].iou == 1
    assert by_row["sam (binary)"].mse == pytest.approx(1000 * 0.01 / 4)  # 0.1 off on a quarter of the pixels
    with pytest.raises(DataError, match="expected an object in the mask"):
        list(evaluate_one(predictors, "none", image, 0 * truth))


def write_pair(images: Path, masks: Path, stem: str, *, size: int = 64, value: int = 0) -> None:
    mask = np.zeros((size, size), np.uint8)
    mask[10:40, 8 : 30 + value] = 255
    save_png(images / f"{stem}.png", np.full((size, size, 3), 90 + value, np.uint8))
    save_png(masks / f"{stem}.png", mask)


@pytest.mark.parametrize("name", HQ_SETS)
def test_layouts_of_the_four_sets(tmp_path: Path, name: str) -> None:
    for number, (images, masks) in enumerate(HQ_SETS[name].folders):
        root = tmp_path / str(number)
        for stem in ("b", "a", "c"):
            write_pair(root / images, root / masks, stem)
        samples = open_hq_set(name, root)
        assert [sample.id for sample in samples] == ["a", "b", "c"]
        assert samples[0].load()[1].max() == 1
        assert len(open_hq_set(name, root, limit=2)) == 2
        (root / masks / "b.png").unlink()
        with pytest.raises(DataError, match="b.png: found no picture of the same name"):
            open_hq_set(name, root)
    with pytest.raises(DataError, match="found none of it"):
        open_hq_set(name, tmp_path)
    with pytest.raises(ConfigError, match="set: expected one of dis5k_vd"):
        open_hq_set("dis", tmp_path)


def test_all_sets_below_a_folder_and_ones_own(tmp_path: Path) -> None:
    for images, masks in (("DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"), ("thin_object_detection/COIFT/images",
                                                                  "thin_object_detection/COIFT/masks")):
        write_pair(tmp_path / "data" / images, tmp_path / "data" / masks, "x")
    assert set(sets_below(tmp_path / "data")) == {"DIS5K-VD", "COIFT"}
    write_pair(tmp_path / "own" / "images", tmp_path / "own" / "masks", "x")
    assert set(sets_below(tmp_path / "own")) == {"own"}  # nothing says that it is COIFT
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        sets_below(tmp_path / "empty")


def test_comparison_of_a_folder(tmp_path: Path) -> None:
    for index in range(4):
        write_pair(tmp_path / "own" / "image", tmp_path / "own" / "mask", f"{index}", size=64 + index, value=index)
    write_pair(tmp_path / "own" / "image", tmp_path / "own" / "mask", "9")
    save_png(tmp_path / "own" / "mask" / "9.png", np.zeros((64, 64), np.uint8))
    samples = sets_below(tmp_path / "own")["own"]
    truths = {(64 + i, 64 + i): sample.load()[1] for i, sample in enumerate(samples[:4])}
    predictors: dict[str, Predictor] = {"right": Truthful(truths), "off": Truthful(truths, shift=3)}
    comparison = compare(predictors, data=tmp_path / "own")
    assert comparison.count("own", "right") == 4 and not comparison.failures
    assert comparison.mean("own", "right", "iou") == 1
    assert comparison.mean("own", "off", "narrow_boundary_iou") < comparison.mean("own", "off", "iou") < 1
    assert any("left out, nothing of them above 0.5: 1" in note for note in comparison.notes)
    assert {tile.image.shape[:2] for tile in comparison.tiles[0]} == {(64, 64)}
    limited = compare({"right": Truthful(truths)}, data=tmp_path / "own", limit=2)
    assert len(limited.measurements) <= 2


def test_comparison_without_data_is_the_same_each_time() -> None:
    results = [compare({"grabcut": load_predictor("grabcut")}, limit=2) for _ in range(2)]
    assert results[0].measurements == results[1].measurements
    assert [m.sample for m in results[0].measurements] == ["000 fur", "001 plant"]


PAIR = ("sam_tiny", "hq_sam_tiny", "zim_tiny", "hq_zim_tiny")


def leads(limit: int) -> dict[str, float]:
    """Boundary IoU at 0.005 on the first generated scenes: ZIM minus SAM, and what each head adds to its base."""
    if not {"hq_sam_tiny", "hq_zim_tiny", "sam_tiny", "zim_tiny"} <= set(shipped_weights()):
        pytest.skip("the shipped pair or its HQ heads are not in this installation")
    comparison = compare({name: load_predictor(name, device="cpu") for name in PAIR}, limit=limit)
    rows = {name: name if "zim" in name else f"{name} (binary)" for name in PAIR}
    found = {name: comparison.mean("fine", rows[name], "narrow_boundary_iou") for name in PAIR}
    return {
        "zim - sam": found["zim_tiny"] - found["sam_tiny"],
        "hq_sam - sam": found["hq_sam_tiny"] - found["sam_tiny"],
        "hq_zim - zim": found["hq_zim_tiny"] - found["zim_tiny"],
    }


def test_leads_on_three_scenes() -> None:
    """A change that loses them fails here; docs/hq_sam.md has the figures on all scenes."""
    expected = {"zim - sam": 0.116, "hq_sam - sam": 0.005, "hq_zim - zim": 0.027}
    assert leads(3) == pytest.approx(expected, abs=0.015)


@pytest.mark.slow
def test_leads_on_ten_scenes() -> None:
    expected = {"zim - sam": 0.181, "hq_sam - sam": 0.019, "hq_zim - zim": 0.031}
    assert leads(10) == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_evaluation_of_real_photographs() -> None:
    data = os.environ.get("ZIM_DATA")
    if not data or "hq_zim_tiny" not in shipped_weights():
        pytest.skip("needs ZIM_DATA, the folder of data, and the shipped heads")
    samples = sets_below(Path(data) / "pseudo_mattes", limit=4)["pseudo_mattes"]
    names = ("zim_tiny", "hq_zim_tiny")
    results = list(evaluate({name: load_predictor(name, device="cpu") for name in names}, samples, long_side=1024))
    means = {name: np.mean([r.scores.narrow_boundary_iou for r in results if r.row == name]) for name in names}
    assert means["hq_zim_tiny"] > means["zim_tiny"] - 0.01
