"""The HQ head as a task of the trainer: only the head is trained, exported and averaged; the base answers, frozen."""

import dataclasses
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError
from zim.modeling.features import ImageFeatures
from zim.modeling.hq_head import HqHeadConfig, build_hq_head
from zim.modeling.hq_model import BaseAnswer, HqModel, base_features, joined, per_prompt
from zim.modeling.mask_decoder import NUM_MASK_TOKENS
from zim.modeling.zim import Zim

from .data.batches import Batch
from .hq_crops import KeptBatch, answer_crops
from .losses import cross_entropy, gradient_loss, soft_dice_loss, weighted_l1
from .region_contrast import NoContrast
from .tasks import PromptedTask, resized, resized_inside

OUTLINE_RATIO = 0.005
"""Half the width of the outline's band, as a share of the frame's diagonal: that of the boundary IoU it is for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HqLossConfig:
    """Weights beside cross-entropy and dice of the sum of base and head, which count once.

    outline: cross-entropy within the band around the target's outline. alone: the same of the head's logits alone.
    matte: L1 and gradient loss of the sum, for soft targets only. soft: targets are alphas, not masks of alpha > 0.5.
    """

    outline: float = 1.0
    alone: float = 0.5
    matte: float = 1.0
    soft: bool = False




@dataclasses.dataclass(frozen=True, kw_only=True)
class HqConfig:
    """What the metadata of a head says: its shape, and the base that it was trained on."""

    head: HqHeadConfig
    base: str
    base_sha256: str

    @property
    def architecture(self) -> str:
        """hq_sam or hq_zim."""
        return self.head.architecture

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"architecture": self.architecture, **dataclasses.asdict(self)}


class HqTask(PromptedTask):
    """Cross-entropy and dice on fine masks, or on mattes, beside a frozen base."""

    channels_last: tuple[str, ...] = ()

    def __init__(
        self, base: Zim, config: HqConfig, loss: HqLossConfig = HqLossConfig(), *, crops: bool = False
    ) -> None:
        """A fresh head on a base, which is frozen here.

        Args:
            base: the model.
            config: the head's shape and the base's name.
            loss: what is learned.
            crops: keep the HQ token as it begins and train the rest on crops, see `hq_crops`.
        """
        self.name = config.architecture
        self.hq_config, self.loss_config = config, loss
        head = build_hq_head(config.head)
        self.model = nn.ModuleDict({"mask_decoder": head})  # so that weights are saved under the published names
        self.contrast: nn.Module = NoContrast()
        base.requires_grad_(False)
        with torch.no_grad():  # what the token for one mask has learned of objects is a start
            head.hf_token.weight.copy_(base.mask_decoder.mask_tokens.weight[:1])
        head.hf_token.requires_grad_(not crops)
        self.crops = crops
        self._kept: KeptBatch | None = None
        self._decoded: BaseAnswer | None = None
        self._early: tuple[Tensor, ...] = ()
        self._embedding = torch.empty(0)
        self._whole = [HqModel(base, head).eval()]  # in a list: what is frozen is neither saved nor averaged

    @property
    def config(self) -> HqConfig:  # type: ignore[override]
        """See `Task`."""
        return self.hq_config

    @property
    def whole(self) -> HqModel:
        """Base and head as one model."""
        return self._whole[0]

    @property
    def encoder(self) -> nn.Module:
        """See `Task`: the base's encoder is never trained, whatever a stage says."""
        return nn.Identity()

    def set_image_size(self, side: int) -> None:
        """See `Task`."""
        whole = self.whole
        whole.image_encoder.img_size = side
        whole.prompt_encoder.set_image_size(side)

    def encode(self, image: Tensor) -> ImageFeatures:
        """See `PromptedTask`; gradients reach the head only."""
        if self.whole.device != image.device:
            self.whole.to(image.device)
        base: Any = self.whole.image_encoder.base
        features, early = base_features(base, image)
        self._early, self._embedding = early, features.embedding
        if self.crops:
            return features
        head = self.whole.head
        return joined(features, head.image_features(features.embedding, early), head.config)

    def decode(self, features: Any, coords: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `PromptedTask`: the base's four masks, (R, 4, h, w), and the head's unless it answers on crops only."""
        whole = self.whole
        sparse, dense = whole.prompt_encoder.embed(coords, labels, masks)
        pe = whole.prompt_encoder.get_dense_pe()
        if not self.crops:
            return whole.mask_decoder.predict_masks(features, pe, sparse, dense)
        self._decoded = whole.mask_decoder.decode_base(features, pe, sparse, dense)
        return self._decoded.logits, self._decoded.quality

    @torch.no_grad()
    def _first_answer(self, features: Any, coords: Tensor, labels: Tensor, side: int) -> Tensor:
        logits = self.decode(features, coords, labels, None)[0]
        head, decoded = self.whole.head, self._decoded
        if self.crops and decoded is not None:
            fine = per_prompt(head.image_features(features.embedding, self._early), len(coords))
            logits = torch.cat([logits, head.logits(decoded.hidden, decoded.upscaled, fine)], dim=1)
        first = logits[:, :1].float() + logits[:, NUM_MASK_TOKENS:].float()
        return F.adaptive_avg_pool2d(first, side).clamp(-32, 32)

    def target(self, batch: Batch) -> Tensor:
        """See `PromptedTask`."""
        return batch.alpha

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Task`."""
        if self.crops:
            rng = np.random.default_rng(round(progress * 1e9))
            logits, target, weight = answer_crops(self.whole.head, self._keep(batch), rng)
        else:
            answered, _ = self.answer(batch)
            base, alone = answered[:, :1], answered[:, NUM_MASK_TOKENS:]
            logits = torch.cat([base + alone, alone], dim=1)
            target, weight = self._wanted(batch)
            if logits.shape[-1] != target.shape[-1]:
                logits = F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
        return self._total(logits, target, weight)

    def _total(self, logits: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        parts = self._parts(logits, target, weight)  # (R, 2): of the sum, and of the head alone
        total = parts[:, 0].mean() + self.loss_config.alone * parts[:, 1].mean()
        sigmoid = torch.sigmoid(logits[:, :1])
        error = weighted_l1(sigmoid, target, weight)
        if self.loss_config.soft:
            total = total + self.loss_config.matte * (error + gradient_loss(sigmoid, target, weight)).mean()
        figures = {"loss": total, "mae": error.mean(), "sum": parts[:, 0].mean(), "alone": parts[:, 1].mean()}
        return total, {name: value.detach() for name, value in figures.items()}

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Target and weight of every row at stride 2, (R, 1, S/2, S/2)."""
        side = batch.alpha.shape[-1] // 2
        alpha = resized_inside(batch.alpha, batch.valid, side)
        target = alpha if self.loss_config.soft else (alpha > 0.5).float()
        return target, resized(batch.weight * batch.valid, side)

    @torch.no_grad()
    def _keep(self, batch: Batch) -> KeptBatch:
        """What the base makes of a batch; of the same batch as the step before, what was made then."""
        if self._kept is not None and self._kept.image is batch.image:
            return self._kept
        self.answer(batch)
        decoded = self._decoded
        target, weight = self._wanted(batch)
        if decoded is None:
            raise ConfigError("crops: expected an answer of the base, got none")
        self._kept = KeptBatch(
            image=batch.image,
            hidden=decoded.hidden,
            upscaled=decoded.upscaled,
            base=decoded.logits[:, :1],
            embedding=self._embedding,
            early=self._early,
            target=target,
            weight=weight,
            band=outline_band(target) * weight,
        )
        return self._kept

    def _parts(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """(R, C, h, w) logits -> (R, C): cross-entropy everywhere and at the outline, and dice."""
        band = weight * outline_band(target)
        whole = cross_entropy(logits, target, weight) + soft_dice_loss(torch.sigmoid(logits), target, weight)
        return whole + self.loss_config.outline * cross_entropy(logits, target, band)


def outline_band(target: Tensor) -> Tensor:
    """(R, 1, h, w) in [0, 1] -> the same shape, 1 within the reach of an edge or of soft pixels, 0 elsewhere."""
    reach = max(1, round(OUTLINE_RATIO * (target.shape[-1] ** 2 + target.shape[-2] ** 2) ** 0.5))
    largest, smallest = _spread(target, reach), -_spread(-target, reach)
    return ((largest - smallest) > 0.25).to(target.dtype)


def _spread(x: Tensor, reach: int) -> Tensor:
    """Maximum over squares of 2 * reach + 1 pixels, one axis after the other."""
    rows = F.max_pool2d(x, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    return F.max_pool2d(rows, (1, 2 * reach + 1), stride=1, padding=(0, reach))
