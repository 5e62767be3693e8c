"""The converter as a task of the project's trainer: its stages and its loss."""

import dataclasses

import torch
from torch import Tensor, nn

from zim.errors import ConfigError

from ..region_contrast import NoContrast
from ..train_config import Stage
from .batches import ConverterBatch
from .config import ConverterConfig
from .converter import normalised
from .loss import ConverterLossConfig, converter_loss
from .matting import MaskGuidedMatting, Mattes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConverterStage(Stage):
    """A part of a run: `steps` steps of `images` crops of `side` pixels, from `scenes` scenes of `scene_size`."""

    prompts: int = 1
    scenes: int = 5000
    scene_size: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side < 32 or self.side % 32:
            raise ConfigError(f"stage: expected a side that 32 divides, got {self.side}")


class ConverterTask:
    """A converter and the loss of its mattes; `training.trainer.Trainer` does the rest.

    model: in the shape of `config`.
    """

    name = "converter"
    channels_last: tuple[str, ...] = ("cpu",)

    def __init__(
        self, model: MaskGuidedMatting, config: ConverterConfig, loss: ConverterLossConfig = ConverterLossConfig()
    ) -> None:
        self.model, self.config, self.loss_config = model, config, loss
        self.contrast: nn.Module = NoContrast()

    @property
    def encoder(self) -> nn.Module:
        """The backbone, which a stage may freeze."""
        backbone: nn.Module = self.model.get_submodule("backbone")
        return backbone

    def set_image_size(self, side: int) -> None:
        """Nothing to do: crops of any side that 32 divides go through, or are refused by the backbone."""

    def loss(self, batch: ConverterBatch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch of crops at `progress` in [0, 1] of the run, and the finest matte's figures."""
        image, label = normalised(batch.images), batch.labels[:, None].float()
        mattes = Mattes(*(matte.float() for matte in self.model(image, label, scale=batch.scale)))
        target = batch.alphas[:, None].float() / 255
        with torch.autocast(image.device.type, enabled=False):
            return converter_loss(mattes, target, self.loss_config, progress)
