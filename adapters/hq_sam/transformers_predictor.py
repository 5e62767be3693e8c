"""transformers' `SamHQModel` as a predictor: a baseline of another make.

`load_predictor("adapters.hq_sam.transformers_predictor:sam_hq_vit_base")` downloads the published weights.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from zim.errors import ConfigError, ImageError, ImageNotSetError, MissingDependencyError, PromptError

HUB_NAMES = {
    "vit_base": "syscv-community/sam-hq-vit-base",
    "vit_large": "syscv-community/sam-hq-vit-large",
    "vit_huge": "syscv-community/sam-hq-vit-huge",
}
"""Published weights on the hub, licence Apache-2.0."""

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class TransformersHqPredictor:
    """SAM's `set_image` and `predict` around a `SamHQModel`; `reports_binary`, as all SAMs.

    With `multimask_output=True` there are three masks, best first, as the model sorts them.
    """

    reports_binary = True

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        _use_attended_cells(model.mask_decoder)
        self._side = int(model.config.vision_config.image_size)
        self._embedded: tuple[Any, Any] | None = None
        self._original_hw = self._input_hw = (0, 0)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @torch.no_grad()
    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """(H, W, 3) uint8 in "RGB" or "BGR" order.

        Raises:
            ImageError: another shape, dtype or format.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image_format not in ("RGB", "BGR"):
            raise ImageError(f"image: expected (H, W, 3) uint8, RGB or BGR, got {image.dtype} {image.shape}")
        rgb = image if image_format == "RGB" else image[..., ::-1]
        height, width = rgb.shape[:2]
        scale = self._side / max(height, width)
        input_hw = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
        resized = _resized(rgb, input_hw)
        mean, std = (np.array(values, np.float32) for values in (_MEAN, _STD))
        pixels = torch.from_numpy((resized - mean) / std).permute(2, 0, 1)[None].to(self.device)
        padded = F.pad(pixels, (0, self._side - input_hw[1], 0, self._side - input_hw[0]))
        self._embedded = self.model.get_image_embeddings(padded)
        self._original_hw, self._input_hw = (height, width), input_hw

    @torch.no_grad()
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
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """SAM's `predict`; `hq_token_only` as in `zim.hq_predictor`.

        Raises:
            ImageNotSetError: there is no image.
            PromptError: no prompt, or several boxes.
        """
        if self._embedded is None:
            raise ImageNotSetError("set_image: an image must be set with .set_image(...) before prediction")
        if point_coords is None and box is None and mask_input is None:
            raise PromptError("prompt: expected points, a box or a mask input, got none")
        arguments = self._arguments(point_coords, point_labels, box, mask_input)
        answer = self.model(
            image_embeddings=self._embedded[0],
            intermediate_embeddings=self._embedded[1],
            multimask_output=multimask_output,
            hq_token_only=hq_token_only,
            **arguments,
        )
        low_res = answer.pred_masks[0, 0].float()  # (C, S/4, S/4)
        whole = F.interpolate(low_res[None], (self._side, self._side), mode="bilinear", align_corners=False)
        inside = whole[..., : self._input_hw[0], : self._input_hw[1]]
        logits = F.interpolate(inside, self._original_hw, mode="bilinear", align_corners=False)[0]
        masks = logits if return_logits else logits > 0
        return masks.cpu().numpy(), answer.iou_scores[0, 0].float().cpu().numpy(), low_res.cpu().numpy()

    def _arguments(
        self,
        point_coords: NDArray[Any] | None,
        point_labels: NDArray[Any] | None,
        box: NDArray[Any] | None,
        mask_input: NDArray[Any] | None,
    ) -> dict[str, Any]:
        """The prompt in the input frame, one image and one prompt."""
        ratio = np.array([self._input_hw[1] / self._original_hw[1], self._input_hw[0] / self._original_hw[0]])
        arguments: dict[str, Any] = {}
        if point_coords is not None:
            if point_labels is None or len(point_labels) != len(point_coords):
                raise PromptError("point_labels: expected one for each of point_coords")
            points = np.asarray(point_coords, np.float64) * ratio
            arguments["input_points"] = torch.from_numpy(points).float()[None, None].to(self.device)
            labels = torch.from_numpy(np.asarray(point_labels, np.int64))
            arguments["input_labels"] = labels[None, None].to(self.device)
        if box is not None:
            if np.size(box) != 4:
                raise PromptError(f"box: expected (4,) or (1, 4), got shape {np.shape(box)}")
            corners = np.asarray(box, np.float64).reshape(2, 2) * ratio
            arguments["input_boxes"] = torch.from_numpy(corners.reshape(1, 1, 4)).float().to(self.device)
        if mask_input is not None:
            logits = torch.from_numpy(np.asarray(mask_input, np.float32)).reshape(1, 1, *np.shape(mask_input)[-2:])
            arguments["input_masks"] = logits.to(self.device)
        return arguments


def load_transformers_hq(name_or_path: str, device: str = "cpu") -> TransformersHqPredictor:
    """A predictor around `SamHQModel.from_pretrained(name_or_path)`, downloaded when need be.

    Raises:
        MissingDependencyError: transformers, or a version of it that knows SAM-HQ, is not installed.
        ConfigError: there are no such weights, here or on the hub.
    """
    try:
        from transformers import SamHQModel
    except ImportError as error:
        raise MissingDependencyError(
            "SamHQModel needs transformers; install it with: pip install 'zim-matting[text]'"
        ) from error
    try:
        model: Any = SamHQModel.from_pretrained(name_or_path)
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"SamHQModel: cannot load {name_or_path!r}: {first}") from error
    return TransformersHqPredictor(model.to(device))


def sam_hq_vit_base() -> TransformersHqPredictor:
    """The published ViT-B, for `load_predictor("adapters.hq_sam.transformers_predictor:sam_hq_vit_base")`."""
    return load_transformers_hq(HUB_NAMES["vit_base"])


def sam_hq_vit_large() -> TransformersHqPredictor:
    """The published ViT-L."""
    return load_transformers_hq(HUB_NAMES["vit_large"])


def sam_hq_vit_huge() -> TransformersHqPredictor:
    """The published ViT-H."""
    return load_transformers_hq(HUB_NAMES["vit_huge"])


def _use_attended_cells(decoder: Any) -> None:
    """Upscale what the two-way transformer made of the image cells.

    The mask decoder of transformers 5.23.0 drops it (`point_embedding, iou_token_out = self.transformer(...)`) and
    upscales the embedding from before, turned by a transposition, which no published weights were trained for. Where
    the library does it right this changes nothing.
    """
    if getattr(decoder, "_zim_attended_cells", False):
        return
    attended: list[torch.Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        attended[:] = [output[1]]  # (B, prompts, h * w, C)

    def replace(module: Any, arguments: Any) -> Any:
        return (attended.pop().transpose(2, 3).reshape(arguments[0].shape),)

    decoder.transformer.register_forward_hook(keep)
    decoder.upscale_conv1.register_forward_pre_hook(replace)
    decoder._zim_attended_cells = True


def _resized(rgb: NDArray[np.uint8], hw: tuple[int, int]) -> NDArray[np.float32]:
    resized = Image.fromarray(np.ascontiguousarray(rgb)).resize((hw[1], hw[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)
