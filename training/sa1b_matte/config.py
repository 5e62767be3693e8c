"""What is converted and what is kept: the choices that decide every byte of the output."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from zim.errors import ConfigError

from ..readers.masks import MaskInfo

RULES = ("area", "area_share", "predicted_iou", "stability", "not_drawn", "agreement")
"""Names under which the manifest counts labels that were left out; the first rule that applies counts."""


@dataclass(frozen=True, kw_only=True)
class FilterRules:
    """Which labels are left out. The paper does not publish its filter; these numbers are this project's choice.

    min_area: pixels of the label. max_area_share: label / photograph; larger ones are mostly background or sky.
    min_predicted_iou, min_stability: scores stored with the label; one without a score passes.
    min_agreement: intersection over union of the label and the matte above one half. Below it the converter has
    taken something else for the object.
    """

    min_area: int = 100
    max_area_share: float = 0.9
    min_predicted_iou: float = 0.0
    min_stability: float = 0.0
    min_agreement: float = 0.5

    def __post_init__(self) -> None:
        if self.min_area < 1:
            raise ConfigError(f"min_area: expected at least 1, got {self.min_area}")
        for name in ("max_area_share", "min_predicted_iou", "min_stability", "min_agreement"):
            _check_share(name, getattr(self, name))

    def against(self, info: MaskInfo, pixels: int) -> str | None:
        """The first rule that leaves a label out before it is converted; None keeps it.

        info: area and scores of the label. pixels: of the photograph.
        """
        if info.area < self.min_area:
            return "area"
        if info.area > self.max_area_share * pixels:
            return "area_share"
        if info.scores.get("predicted_iou", 1.0) < self.min_predicted_iou:
            return "predicted_iou"
        if info.scores.get("stability_score", 1.0) < self.min_stability:
            return "stability"
        return None


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """A conversion. Two outputs of one configuration, converter and input are equal byte by byte.

    fraction: share of the photographs, chosen by a hash of their keys, so that a smaller share is part of a larger.
    labels_per_image: at most this many labels a photograph, chosen by hash; 0 keeps all.
    images_per_shard: photographs in one output shard at most; a shard never mixes input shards.
    margin: surroundings that the converter sees around a label, as a share of its longer side.
    batch_size: labels of one photograph that go through the converter at once.
    rules: which labels are left out.
    """

    fraction: float = 1.0
    labels_per_image: int = 0
    images_per_shard: int = 200
    margin: float = 0.15
    batch_size: int = 16
    rules: FilterRules = field(default_factory=FilterRules)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"fraction: expected above 0 and at most 1, got {self.fraction}")
        if self.labels_per_image < 0:
            raise ConfigError(f"labels_per_image: expected at least 0, got {self.labels_per_image}")
        if self.margin < 0:
            raise ConfigError(f"margin: expected at least 0, got {self.margin}")
        for name in ("images_per_shard", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")

    def takes(self, key: str) -> bool:
        """Whether a photograph is among the chosen fraction."""
        return hash_share(key) < self.fraction

    def to_dict(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ConversionConfig":
        """The configuration of `to_dict`.

        Raises:
            ConfigError: a field is unknown, missing or impossible.
        """
        if set(values) != {each.name for each in fields(cls)}:
            raise ConfigError(f"config: expected {[each.name for each in fields(cls)]}, got {sorted(values)}")
        try:
            return cls(**{**values, "rules": FilterRules(**values["rules"])})
        except TypeError as error:
            raise ConfigError(f"config: {error}") from error


def hash_share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, evenly spread."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}: expected a number from 0 to 1, got {value}")
