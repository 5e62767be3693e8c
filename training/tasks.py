"""What is trained: a model, how it answers prompts, and its loss. Two tasks share one trainer."""

from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zim.errors import ConfigError
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.modeling.config import ZimConfig
from zim.modeling.zim import Zim, build_zim

from .corrections import correction_clicks, with_clicks
from .data.batches import Batch
from .losses import MatteLossConfig, matte_loss, quality_loss, segmentation_loss
from .region_contrast import NoContrast, RegionContrast

LabelKind = Literal["matte", "segmentation"]

SEGMENTATION_LOSS = MatteLossConfig(gradient=0.0, start_aux=1.0, end_aux=1.0)
"""L1, cross-entropy and dice: no gradient loss, since coarse labels have no fine edges to teach."""

LABEL_LOGIT = 8.0
"""Coarse labels become mask inputs of plus and minus this."""


class Describable(Protocol):
    """A configuration that a checkpoint's metadata can hold."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""


@runtime_checkable
class Task(Protocol):
    """A model to train and the loss of a batch."""

    name: str
    channels_last: tuple[str, ...]
    """Kinds of device on which the model trains faster in that memory format (measured)."""

    @property
    def config(self) -> Describable:
        """The model's configuration."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    @property
    def contrast(self) -> nn.Module:
        """A loss with parameters of its own, trained along and not exported."""

    @property
    def encoder(self) -> nn.Module:
        """The part of the model that a stage may freeze."""

    def set_image_size(self, side: int) -> None:
        """Expect padded frames of this side from now on."""

    def loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch at `progress` in [0, 1] of the run, and figures for the log, scalars on its device."""


def resized(maps: Tensor, side: int) -> Tensor:
    """(R, S, S) uint8 in 0..255 -> (R, 1, side, side) float in [0, 1], by averages."""
    values = maps[:, None].float() / 255
    return values if values.shape[-1] == side else F.adaptive_avg_pool2d(values, side)


def resized_inside(maps: Tensor, valid: Tensor, side: int) -> Tensor:
    """As `resized`, averaging over the pixels that `valid` (R, S, S) in {0, 1} counts; 0 where it counts none."""
    return resized(maps * valid, side) / resized(valid * 255, side).clamp(min=1e-6)


class PromptedTask:
    """The part that both share: encode once, decode once or twice."""

    model: Any
    config: ZimConfig

    @property
    def encoder(self) -> nn.Module:
        """See `Task`."""
        encoder: nn.Module = self.model.image_encoder
        return encoder

    def encode(self, image: Tensor) -> Any:
        """(I, 3, S, S) -> whatever `decode` wants."""
        return self.model.image_encoder(image)

    def decode(self, features: Any, coords: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """All four masks of each row: logits (R, 4, h, w) and qualities (R, 4)."""
        raise AttributeError("decode: a task defines it")

    def set_image_size(self, side: int) -> None:
        """Expect padded frames of this side from now on."""
        vit = self.config.vit
        if vit is not None and side != vit.img_size:
            raise ConfigError(f"side: expected {vit.img_size}, the only one that a ViT takes, got {side}")
        self.model.image_encoder.img_size = side
        self.model.prompt_encoder.set_image_size(side)

    def target(self, batch: Batch) -> Tensor:
        """What the answer should be, (R, S, S) uint8: where correction clicks are placed."""
        return batch.coarse

    def answer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and qualities of a batch's prompts, with the mask input that the batch asks for."""
        features = self.encode(batch.image)
        coords, labels, masks = batch.coords, batch.labels, None
        side = batch.alpha.shape[-1] // 4
        if batch.mask_source in ("first_pass", "correction"):
            masks = self._first_answer(features, coords, labels, side)
        elif batch.mask_source != "none":
            masks = (resized(batch.coarse, side) * 2 - 1) * LABEL_LOGIT
        if batch.mask_source == "correction" and masks is not None:
            wanted, inside = resized(self.target(batch), side), resized(batch.valid, side)
            clicks = correction_clicks(masks, wanted, inside, batch.chance, stride=batch.alpha.shape[-1] / side)
            coords, labels = with_clicks(coords, labels, clicks)
        if batch.mask_source == "label_only":
            coords, labels = coords[:, :0], labels[:, :0]
        logits, quality = self.decode(features, coords, labels, masks)
        return logits.float(), quality.float()

    @torch.no_grad()
    def _first_answer(self, features: Any, coords: Tensor, labels: Tensor, side: int) -> Tensor:
        """The single mask's logits (R, 1, side, side), to be fed back."""
        first = self.decode(features, coords, labels, None)[0][:, :1]
        return F.adaptive_avg_pool2d(first.float(), side).clamp(-32, 32)


class ZimTask(PromptedTask):
    """ZIM on mattes: L1 + lambda * gradient loss, the best of three masks, quality.

    `labels` "segmentation" trains the same network on the coarse labels with cross-entropy and dice instead: what a
    pair of models starts from.
    """

    name = "zim"
    channels_last: tuple[str, ...] = ("cpu",)

    def __init__(
        self, config: ZimConfig, loss: MatteLossConfig = MatteLossConfig(), labels: LabelKind = "matte"
    ) -> None:
        self.config = config
        self.model: Zim = build_zim(config)
        self.labels = labels
        self.loss_config = loss if labels == "matte" else SEGMENTATION_LOSS
        self.contrast = _contrast(config, self.model.image_encoder.backbone)

    def target(self, batch: Batch) -> Tensor:
        """See `PromptedTask`."""
        return batch.alpha if self.labels == "matte" else batch.coarse

    def decode(self, features: Any, coords: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `PromptedTask`."""
        sparse, dense = self.model.prompt_encoder.embed(coords, labels, masks)
        pe = self.model.prompt_encoder.get_dense_pe()
        return self.model.mask_decoder.predict_masks(features, pe, sparse, dense)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Task`."""
        logits, quality = self.answer(batch)
        aux = self.loss_config.aux(progress)
        full, half = batch.alpha.shape[-1], logits.shape[-1]
        trust = (batch.weight if self.labels == "matte" else 255) * batch.valid
        truth = self.target(batch)
        whole = resized_inside(truth, batch.valid, full)
        single = F.interpolate(logits[:, :1], (full, full), mode="bilinear", align_corners=False)
        one = matte_loss(single, whole, resized(trust, full), self.loss_config, aux).mean()
        target, weight = resized_inside(truth, batch.valid, half), resized(trust, half)
        three = matte_loss(logits[:, 1:], target, weight, self.loss_config, aux).amin(1).mean()
        judged = quality_loss(quality, logits.detach(), target, resized(batch.valid * 255, half))
        coarse = resized_inside(batch.coarse, batch.valid, full)
        contrast = self.contrast(coarse, resized(batch.valid * 255, full))
        total = one + self.loss_config.multimask * three + self.loss_config.quality * judged + contrast
        with torch.no_grad():
            difference = (torch.sigmoid(single) - whole).abs()
            error = (difference * resized(batch.valid * 255, full)).mean()
        return total, _figures(total, error, one, three, judged, contrast)


class SamTask(PromptedTask):
    """SAM's own classes on coarse labels: focal + dice, the best of three masks, quality."""

    name = "sam"
    channels_last: tuple[str, ...] = ("cpu", "cuda")

    def __init__(self, config: ZimConfig) -> None:
        self.config = config
        self.model = build_sam_tiny(config)
        self.contrast = _contrast(config, self.model.image_encoder)

    def decode(self, features: Any, coords: Tensor, labels: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `PromptedTask`."""
        sparse, dense = self.model.prompt_encoder.embed(coords, labels, masks)
        pe = self.model.prompt_encoder.get_dense_pe()
        return decode_sam_batch(self.model.mask_decoder, features, pe, sparse, dense)

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Task`."""
        logits, quality = self.answer(batch)
        side = logits.shape[-1]
        target = (resized_inside(batch.coarse, batch.valid, side) > 0.5).float()
        weight = resized(batch.valid * 255, side)
        one = segmentation_loss(logits[:, :1], target, weight).mean()
        three = segmentation_loss(logits[:, 1:], target, weight).amin(1).mean()
        judged = quality_loss(quality, logits.detach(), target, weight)
        full = batch.alpha.shape[-1]
        coarse = resized_inside(batch.coarse, batch.valid, full)
        contrast = self.contrast(coarse, resized(batch.valid * 255, full))
        total = one + 0.5 * three + 0.1 * judged + contrast
        with torch.no_grad():
            error = ((torch.sigmoid(logits[:, :1]) - target).abs() * weight).mean()
        return total, _figures(total, error, one, three, judged, contrast)


def _contrast(config: ZimConfig, encoder: Any) -> nn.Module:
    """The training-only loss on the trunk of the tiny encoder; a ViT comes trained, and goes without."""
    if config.tiny_encoder is None:
        return NoContrast()
    return RegionContrast(encoder.trunk, config.tiny_encoder.context_width)


def _figures(
    total: Tensor, error: Tensor, one: Tensor, three: Tensor, judged: Tensor, contrast: Tensor
) -> dict[str, Tensor]:
    """What the log shows of a step; nothing here waits for the device."""
    named = {"loss": total, "mae": error, "one": one, "three": three, "quality": judged, "contrast": contrast}
    return {name: value.detach() for name, value in named.items()}


def decode_sam_batch(
    decoder: Any, features: Tensor, pe: Tensor, sparse: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor]:
    """`MaskDecoder.predict_masks` of segment_anything for several images at once.

    Its own method takes one image; this runs the same modules on (I, C, h, w) features and R = I * P prompts, P
    consecutive prompts to an image, and gives the same logits (R, 4, 4h, 4w) and qualities (R, 4).
    """
    rows = len(sparse)
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(rows, -1, -1), sparse], dim=1)
    src = features.repeat_interleave(rows // len(features), dim=0) + dense
    hidden, cells = decoder.transformer(src, pe.expand(rows, -1, -1, -1), tokens)
    upscaled = decoder.output_upscaling(cells.transpose(1, 2).reshape(src.shape))
    mlps = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(hidden[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)  # (R, 4, C / 8)
    logits = (weights @ upscaled.flatten(2)).view(rows, len(mlps), *upscaled.shape[-2:])
    return logits, decoder.iou_prediction_head(hidden[:, 0])
