"""Which photographs and labels are taken: by hash, by rule, and independently of everything else."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from training.readers.masks import MaskInfo, RleMasks
from training.readers.rle import Rle
from training.sa1b_matte.config import RULES, ConversionConfig, FilterRules
from training.sa1b_matte.image_conversion import choose_labels
from zim.errors import ConfigError

KEYS = [f"sa_{number}" for number in range(20_000)]


def test_a_smaller_fraction_is_part_of_a_larger() -> None:
    taken = {share: {key for key in KEYS if ConversionConfig(fraction=share).takes(key)} for share in (0.01, 0.02, 0.5)}
    assert taken[0.01] < taken[0.02] < taken[0.5]
    for share, keys in taken.items():  # five deviations of a binomial
        assert abs(len(keys) - share * len(KEYS)) < 5 * (len(KEYS) * share * (1 - share)) ** 0.5
    assert all(ConversionConfig(fraction=1.0).takes(key) for key in KEYS)
    halves = Counter(int(key.removeprefix("sa_")) % 2 for key in taken[0.5])
    assert abs(halves[0] - halves[1]) < 500


def masks_of(*info: MaskInfo) -> RleMasks:
    blank = Rle((10, 10), np.array([100], np.int64))
    return RleMasks((10, 10), [blank] * len(info), info)


def test_the_first_rule_that_applies_counts() -> None:
    rules = FilterRules(min_area=5, max_area_share=0.5, min_predicted_iou=0.8, min_stability=0.9)
    masks = masks_of(
        MaskInfo(name="small", area=4, scores={"predicted_iou": 0.1}),
        MaskInfo(name="large", area=51, scores={"stability_score": 0.1}),
        MaskInfo(name="doubtful", area=50, scores={"predicted_iou": 0.79, "stability_score": 0.1}),
        MaskInfo(name="unstable", area=50, scores={"predicted_iou": 0.8, "stability_score": 0.89}),
        MaskInfo(name="good", area=5, scores={"predicted_iou": 0.8, "stability_score": 0.9}),
        MaskInfo(name="without scores", area=50),
    )
    chosen, filtered = choose_labels(masks, "sa_1", ConversionConfig(rules=rules))
    assert chosen == [4, 5]
    assert filtered == {"area": 1, "area_share": 1, "predicted_iou": 1, "stability": 1} and set(filtered) < set(RULES)


def test_labels_are_drawn_by_hash() -> None:
    masks, rules = masks_of(*(MaskInfo(name=str(index), area=50) for index in range(40))), FilterRules(min_area=1)

    def draw(key: str, count: int) -> tuple[list[int], Counter[str]]:
        return choose_labels(masks, key, ConversionConfig(labels_per_image=count, rules=rules))

    drawn = {count: draw("sa_1", count) for count in (5, 9, 40)}
    assert [len(chosen) for chosen, _ in drawn.values()] == [5, 9, 40]
    assert drawn[5][1]["not_drawn"] == 35 and not drawn[40][1]
    assert set(drawn[5][0]) < set(drawn[9][0]) and drawn[9][0] == sorted(drawn[9][0])
    assert draw("sa_2", 5)[0] != drawn[5][0]


def test_it_survives_json() -> None:
    config = ConversionConfig(fraction=0.1, labels_per_image=7, rules=FilterRules(min_area=3))
    assert ConversionConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ConfigError, match="config: expected"):
        ConversionConfig.from_dict({"fraction": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fraction", 0),
        ("fraction", 1.1),
        ("labels_per_image", -1),
        ("margin", -0.1),
        ("images_per_shard", 0),
        ("batch_size", 0),
    ],
)
def test_impossible_values_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected"):
        ConversionConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("min_area", 0), ("max_area_share", 1.5), ("min_agreement", -1)])
def test_impossible_rules_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected"):
        FilterRules(**{name: value})
