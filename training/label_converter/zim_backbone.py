"""The image encoder of `zim_tiny` as a backbone: it has seen photographs, and knows fur and nets."""

from pathlib import Path

import torch
from torch import Tensor, nn

from zim.errors import CheckpointError, ConfigError
from zim.modeling.config import ZIM_TINY, TinyEncoderConfig
from zim.modeling.tiny_encoder import TinyImageEncoder
from zim.registry import SHIPPED_MODELS, load_zim_checkpoint, shipped_weights_path

from .layers import GuidedProjection, convolution

ENCODER = TinyEncoderConfig()
EMBEDDING = ZIM_TINY.embed_dim


class ZimBackbone(nn.Module):
    """`TinyImageEncoder` with the label beside the image in its trunk and in its stem; stride 32 is added to it.

    side: of the crops, for the record: any multiple of 32 goes through. s32: channels at stride 32.
    """

    def __init__(self, *, side: int, s32: int) -> None:
        super().__init__()
        self.encoder = TinyImageEncoder(config=ENCODER, img_size=side, out_chans=EMBEDDING)
        _guide(self.encoder.stem.down2)
        _guide(self.encoder.trunk.stage4[0])
        self.to_s32 = convolution(EMBEDDING, s32, stride=2)
        self.channels = zim_widths(s32)

    def forward(self, image: Tensor, label: Tensor) -> list[Tensor]:
        encoded = self.encoder(torch.cat([image, 2 * label - 1], 1))
        return [encoded.maps.s4, encoded.maps.s8, encoded.embedding, self.to_s32(encoded.embedding)]

    def load_pretrained(self, source: str | Path) -> None:
        """Take over the encoder of a ZIM of zim_tiny's shape; the label's convolutions and stride 32 stay.

        source: "zim_tiny", or a safetensors file of `training.train_zim`.

        Raises:
            CheckpointError: there is no such file, or it holds a model of another shape.
        """
        path = zim_weights(source)
        encoder = load_zim_checkpoint(path).image_encoder.backbone
        if not isinstance(encoder, TinyImageEncoder):
            raise CheckpointError(f"{path}: expected a model of zim_tiny's shape, got a {type(encoder).__name__}")
        _guide(encoder.stem.down2)
        _guide(encoder.trunk.stage4[0])
        try:
            self.encoder.load_state_dict(encoder.state_dict())
        except RuntimeError as error:
            reason = str(error).splitlines()[1:2]
            raise CheckpointError(f"{path}: expected a model of zim_tiny's shape, got another: {reason}") from error


def zim_widths(s32: int) -> tuple[int, int, int, int]:
    """Channels at strides 4, 8, 16 and 32: the encoder's own and `s32`."""
    return (ENCODER.stem_widths[1], ENCODER.stem_widths[2], EMBEDDING, s32)


def zim_weights(source: str | Path) -> Path:
    """The file of shipped weights by their name, or the path as it is."""
    return shipped_weights_path(str(source)) if str(source) in SHIPPED_MODELS else Path(source)


def _guide(layer: nn.Module) -> None:
    """Let the label into the first convolution of a sequence."""
    if not isinstance(layer, nn.Sequential) or not isinstance(layer[0], nn.Conv2d):
        raise ConfigError(f"layer: expected a sequence that begins with a convolution, got {type(layer).__name__}")
    layer[0] = GuidedProjection(layer[0])
