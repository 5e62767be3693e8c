"""What is varied along each axis of the ablation."""

import dataclasses
from typing import Any, Literal

from zim.modeling.config import PixelDecoderKind, PromptAttention, ZimConfig

Labels = Literal["micro", "whole"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a table; variants of different axes that are equal but for the name share their runs.

    labels: "micro" trains on every object and every part, "whole" on whole objects only (`training.ablation.data`).
    """

    name: str
    attention: PromptAttention = "additive"
    decoder: PixelDecoderKind = "hierarchical"
    image_to_token: bool = False
    labels: Labels = "micro"

    @property
    def slug(self) -> str:
        """Names its runs."""
        both = "both" if self.image_to_token else "tokens"
        return f"{self.attention}-{self.decoder}-{both}-{self.labels}"

    def config(self, base: ZimConfig) -> ZimConfig:
        """The base configuration with this variant's switches."""
        return dataclasses.replace(
            base,
            prompt_attention=self.attention,
            pixel_decoder=self.decoder,
            mask_image_to_token=self.image_to_token,
        )


FULL = Variant(name="ZIM")

AXES: dict[str, tuple[Variant, ...]] = {
    "attention_decoder": (
        Variant(name="neither", attention="none", decoder="sam"),
        Variant(name="masked attention", decoder="sam"),
        Variant(name="pixel decoder", attention="none"),
        dataclasses.replace(FULL, name="both (ZIM)"),
    ),
    "mask_form": (
        Variant(name="no mask", attention="none"),
        dataclasses.replace(FULL, name="additive log-mask (ZIM)"),
        Variant(name="multiplicative mask", attention="multiplicative"),
    ),
    "image_to_token": (
        Variant(name="no mask", attention="none"),
        dataclasses.replace(FULL, name="token to image (ZIM)"),
        Variant(name="token to image and image to token", image_to_token=True),
    ),
    "data": (
        Variant(name="whole-object mattes only", labels="whole"),
        dataclasses.replace(FULL, name="micro labels: objects and parts (ZIM)"),
    ),
}
"""Axis -> the variants that its table compares."""

TITLES = {
    "attention_decoder": "Prompt-aware masked attention x hierarchical pixel decoder",
    "mask_form": "Form of the attention mask",
    "image_to_token": "Masking image-to-token attention too",
    "data": "Whole-object mattes against micro labels",
}

PAPER: dict[str, dict[str, tuple[float, float, float]]] = {
    "attention_decoder": {
        "neither": (13.623, 2.718, 6.516),
        "masked attention": (13.198, 2.504, 6.445),
        "pixel decoder": (11.074, 2.094, 5.401),
        "both (ZIM)": (9.961, 1.893, 4.813),
    }
}
"""The paper's SAD, MSE and Grad on fine objects with a box (MicroMat-3K, ViT-B), where it gives them."""


def settings_of(variant: Variant) -> dict[str, Any]:
    """Everything but the name, ready for JSON."""
    return {key: value for key, value in dataclasses.asdict(variant).items() if key != "name"}
