"""The label converter in numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from zim.errors import ConfigError

from .zim_backbone import zim_widths

ARCHITECTURE = "label_converter"

BackboneName = Literal["tiny", "hiera", "zim"]
PresetName = Literal["tiny", "hiera_base_plus", "zim", "test"]


@dataclass(frozen=True, kw_only=True)
class ConverterConfig:
    """The shape of a converter.

    backbone: "tiny", convolutions of this project; "hiera", transformers' `HieraModel`; "zim", the encoder of zim_tiny.
    side: of the crops at inference, in pixels; a multiple of 32. Hiera is bound to it, the others take any.
    widths: the backbone's channels at strides 4, 8, 16 and 32; Hiera doubles them from stage to stage, and those of
        "zim" are given but for the last.
    depths: blocks of each of these stages. heads: attention heads of Hiera's first stage, doubled likewise. "zim" has
        its own of both.
    detail_widths: channels of the light convolutions on image and label at strides 1 and 2.
    decoder_widths: channels of the decoder at strides 16, 8, 4, 2 and 1.
    guidance_radii: by how much the uncertain region of the stride-8 alpha, and that of the stride-4 alpha, is dilated
        before the finer prediction replaces it; fractions of the crop's side. In training each is drawn between 0 and
        twice this (MGMatting draws it too; the numbers are this project's choice).
    """

    backbone: BackboneName = "tiny"
    side: int = 160
    widths: tuple[int, int, int, int] = (32, 48, 80, 96)
    depths: tuple[int, int, int, int] = (1, 1, 1, 1)
    heads: int = 1
    detail_widths: tuple[int, int] = (8, 16)
    decoder_widths: tuple[int, int, int, int, int] = (64, 48, 32, 16, 8)
    guidance_radii: tuple[float, float] = (0.03, 0.015)

    def __post_init__(self) -> None:
        if self.backbone not in ("tiny", "hiera", "zim"):
            raise ConfigError(f"backbone: expected tiny, hiera or zim, got {self.backbone!r}")
        if self.side < 32 or self.side % 32:
            raise ConfigError(f"side: expected a positive multiple of 32, got {self.side}")
        lengths = {"widths": 4, "depths": 4, "detail_widths": 2, "decoder_widths": 5}
        for name, count in lengths.items():
            values = getattr(self, name)
            if len(values) != count or min(values) < 1:
                raise ConfigError(f"{name}: expected {count} positive numbers, got {values}")
        if len(self.guidance_radii) != 2 or min(self.guidance_radii) < 0 or max(self.guidance_radii) > 0.5:
            raise ConfigError(f"guidance_radii: expected two numbers in [0, 0.5], got {self.guidance_radii}")
        if self.backbone == "hiera" and tuple(self.widths) != tuple(self.widths[0] * 2**i for i in range(4)):
            raise ConfigError(f"widths: expected each twice the one before for hiera, got {self.widths}")
        if self.backbone == "zim" and tuple(self.widths) != zim_widths(self.widths[3]):
            raise ConfigError(f"widths: expected {zim_widths(self.widths[3])} for zim, got {self.widths}")

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint's metadata holds."""
        return {"architecture": ARCHITECTURE, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ConverterConfig":
        """The configuration of `to_dict`, lists as tuples.

        Raises:
            ConfigError: a field is unknown, missing or impossible.
        """
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        given.pop("architecture", None)
        known = {field.name for field in fields(cls)}
        if set(given) != known:
            raise ConfigError(f"fields: expected {sorted(known)}, got {sorted(given)}")
        try:
            return cls(**given)
        except TypeError as error:
            raise ConfigError(f"fields: expected numbers and tuples of them, got {given} ({error})") from error


TINY = ConverterConfig()
"""0.59 M parameters; `train --preset tiny_cpu`."""

HIERA_BASE_PLUS = ConverterConfig(
    backbone="hiera",
    side=512,
    widths=(112, 224, 448, 896),
    depths=(2, 3, 16, 3),
    heads=2,
    detail_widths=(32, 32),
    decoder_widths=(256, 128, 64, 32, 32),
)
"""The paper's backbone: Hiera-base-plus (embed 112, heads 2, stages 2, 3, 16, 3). The decoder's widths are ours."""

ZIM = ConverterConfig(
    backbone="zim",
    side=256,
    widths=zim_widths(192),
    detail_widths=(12, 24),
    decoder_widths=(96, 64, 48, 32, 16),
)
"""The encoder of zim_tiny, which has learned from photographs, under a wider decoder: 3.6 M parameters."""

TEST = ConverterConfig(side=64, widths=(8, 8, 12, 12), detail_widths=(4, 6), decoder_widths=(12, 8, 8, 6, 4))
"""For tests: milliseconds at 64 px."""

PRESETS: Mapping[PresetName, ConverterConfig] = {
    "tiny": TINY,
    "hiera_base_plus": HIERA_BASE_PLUS,
    "zim": ZIM,
    "test": TEST,
}
