"""`HqPredictor`: a base with an HQ head, asked as HQ-SAM is asked and as `ZimPredictor` is."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from zim.checks import describe
from zim.decoding import DECODE_CHUNK, Output, Triple
from zim.errors import ConfigError, ImageError
from zim.features import PredictorFeatures
from zim.modeling.features import ImageFeatures
from zim.modeling.hq_model import HqModel, apart, joined
from zim.predictor import ZimPredictor
from zim.prompts import Prompt


class HqPredictor(ZimPredictor):
    """`ZimPredictor` with HQ-SAM's further arguments.

    hq_token_only: answer with the HQ token's mask alone, rather than added to the base's. Better outlines where the
        prompt leaves no doubt about the object (a good box, several points); the base's answer is safer otherwise.
    hq_compat: with `multimask_output=True`, one mask, the base's best plus the head's, as HQ-SAM's own code answers;
        without it there are three, as everywhere else.

    `reports_binary` says that the base is a SAM, whose answers are masks: comparisons then report it both ways.
    """

    model: HqModel

    def __init__(self, model: HqModel, output: Output | None = None) -> None:
        """A predictor around a model.

        Args:
            model: base and head.
            output: as for `ZimPredictor`; None takes "mask" on SAM and "alpha" on ZIM.

        Raises:
            ConfigError: no HQ model, or another output.
        """
        if not isinstance(model, HqModel):
            raise ConfigError(f"model: expected an HqModel, got {describe(model)}")
        self.reports_binary = model.head.config.architecture == "hq_sam"
        super().__init__(model, output if output is not None else ("mask" if self.reports_binary else "alpha"))

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        hq_token_only: bool = False,
        hq_compat: bool = False,
    ) -> Triple:
        """See `ZimPredictor.predict`, and the class for the last two; `low_res` are those of the answer."""
        return ZimPredictor.predict(
            self._asking(hq_token_only, hq_compat),
            point_coords,
            point_labels,
            box,
            mask_input,
            multimask_output,
            return_logits,
        )

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        hq_token_only: bool = False,
        hq_compat: bool = False,
        chunk_size: int = DECODE_CHUNK,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `ZimPredictor.predict_torch`, and the class; any number of boxes, `chunk_size` of them at once."""
        return ZimPredictor.predict_torch(
            self._asking(hq_token_only, hq_compat),
            point_coords,
            point_labels,
            boxes,
            mask_input,
            multimask_output,
            return_logits,
            chunk_size=chunk_size,
        )

    def predict_many(
        self,
        prompts: Sequence[Prompt],
        multimask_output: bool = False,
        return_logits: bool = False,
        *,
        hq_token_only: bool = False,
        hq_compat: bool = False,
        chunk_size: int = DECODE_CHUNK,
    ) -> list[Triple]:
        """See `ZimPredictor.predict_many`, and the class."""
        asked = self._asking(hq_token_only, hq_compat)
        return ZimPredictor.predict_many(asked, prompts, multimask_output, return_logits, chunk_size=chunk_size)

    @property
    def interm_features(self) -> list[Tensor] | None:
        """What the head keeps of the image beside `features`: one map (1, C, S/4, S/4), for ZIM (1, C, S/2, S/2).

        HQ-SAM's programs put `features` and this aside and restore both. Here `features` holds it already; assigning
        a list replaces it, None changes nothing.
        """
        features = self.features
        return None if features is None else [apart(features, self.model.head.config)[1]]

    @interm_features.setter
    def interm_features(self, maps: Sequence[Tensor] | None) -> None:
        if maps is None:
            return
        features: ImageFeatures | None = self.features
        if features is None:
            raise ImageError("interm_features: expected after features or set_image, there is no image")
        config = self.model.head.config
        own, kept = apart(features, config)
        if len(maps) != 1 or not isinstance(maps[0], Tensor) or maps[0].shape != kept.shape:
            got = [tuple(m.shape) if isinstance(m, Tensor) else describe(m) for m in maps]
            raise ImageError(f"interm_features: expected one tensor {tuple(kept.shape)}, got {got}")
        replaced = joined(own, maps[0].to(kept), config)
        if isinstance(features, PredictorFeatures):
            sizes = {"original_size": features.original_size, "input_size": features.input_size}
            replaced = PredictorFeatures.of(replaced, **sizes, image_sha256=features.image_sha256)
        self.features = replaced

    def _asking(self, hq_token_only: bool, hq_compat: bool) -> ZimPredictor:
        """This predictor, its decoder called with these arguments; state and model are shared, nothing is switched."""
        if not (hq_token_only or hq_compat):
            return self
        asked = copy.copy(self)
        asked.model = _Asked(self.model, hq_token_only=hq_token_only, hq_compat=hq_compat)  # type: ignore[assignment]
        return asked


class _Asked:
    """A model whose mask decoder gets further arguments; everything else is the model's."""

    def __init__(self, model: HqModel, **arguments: bool) -> None:
        self._model = model
        self.mask_decoder = partial(model.mask_decoder, **arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
