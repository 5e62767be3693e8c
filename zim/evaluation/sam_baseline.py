"""The baseline: segment_anything's own `Sam` and `MaskDecoder` around the tiny encoder and prompt encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zim.compat.segment_anything import import_segment_anything
from zim.errors import ConfigError
from zim.modeling.config import SAM_TINY, ZimConfig
from zim.modeling.tiny_encoder import TinyImageEncoder
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD, build_prompt_encoder


class EmbeddingEncoder(TinyImageEncoder):
    """The tiny encoder as `Sam` wants it: only the image embedding."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, 3, S, S) normalised and padded -> (B, 256, S/16, S/16)."""
        return super().forward(x).embedding


def build_sam_tiny(config: ZimConfig | None = None, checkpoint: str | Path | None = None) -> Any:
    """A real `segment_anything.modeling.Sam` with the tiny encoder and its prompt encoder.

    Args:
        config: `SAM_TINY` when None, or the checkpoint's own.
        checkpoint: safetensors written by this project; random weights when None.

    Returns:
        `Sam`, whose `config` attribute is the `ZimConfig` it was built from.

    Raises:
        MissingDependencyError: segment_anything is not installed.
        ConfigError: the configuration does not describe a SAM baseline.
    """
    from zim.checkpoints import load_into, read_checkpoint

    loaded = None if checkpoint is None else read_checkpoint(checkpoint)
    if config is None:
        config = SAM_TINY if loaded is None else ZimConfig.from_dict(loaded.config)
    if config.architecture != "sam" or config.tiny_encoder is None:
        raise ConfigError(
            f"config: expected architecture 'sam' with a tiny encoder, got {config.architecture!r}"
        )
    library = import_segment_anything()
    modeling = library.modeling
    transformer = modeling.TwoWayTransformer(
        depth=2, embedding_dim=config.embed_dim, num_heads=8, mlp_dim=config.transformer_mlp_dim
    )
    sam = modeling.Sam(
        image_encoder=EmbeddingEncoder(
            config=config.tiny_encoder, img_size=config.img_size, out_chans=config.embed_dim
        ),
        prompt_encoder=build_prompt_encoder(config),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3, transformer=transformer, transformer_dim=config.embed_dim
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )
    sam.config = config
    if loaded is not None:
        load_into(sam, loaded.state_dict)
    return sam.eval()


class SamBaselinePredictor:
    """segment_anything's own `SamPredictor`, marked so that tables report it as binary and as sigmoid."""

    reports_binary = True

    def __init__(self, sam: Any) -> None:
        self.model = sam
        self._predictor = import_segment_anything().SamPredictor(sam)

    def another(self) -> "SamBaselinePredictor":
        """A predictor of its own, without an image, around the same model: for another user."""
        return type(self)(self.model)

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """(H, W, 3) uint8."""
        self._predictor.set_image(image, image_format)

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`SamPredictor.predict`, unchanged."""
        return self._predictor.predict(
            point_coords, point_labels, box, mask_input, multimask_output, return_logits
        )

    @property
    def transform(self) -> Any:
        """`SamPredictor.transform`: from the original frame to the input frame."""
        return self._predictor.transform

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._predictor.device
        return device

    def predict_torch(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
        """`SamPredictor.predict_torch`, unchanged."""
        answer: tuple[Tensor, Tensor, Tensor] = self._predictor.predict_torch(*arguments, **named)
        return answer
