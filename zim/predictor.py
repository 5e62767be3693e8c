"""`ZimPredictor`: show it one image, then ask with points, a box, an earlier answer, or all of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zim.checks import (
    PromptTensors,
    check_positive_int,
    check_size,
    check_torch_image,
    describe,
    prompts_of_batch,
    prompts_of_one,
)
from zim.decoding import (
    DECODE_CHUNK,
    Answer,
    Output,
    Triple,
    decode,
    decode_promising,
    join,
    row_as_numpy,
)
from zim.embedding_store import image_sha256, load_features, model_sha256, save_features
from zim.errors import ConfigError, ImageError, ImageNotSetError, PromptError
from zim.features import ImageState, PredictorFeatures
from zim.image_conversion import to_rgb
from zim.logit_windows import Promising
from zim.modeling.features import ImageFeatures
from zim.modeling.zim import Zim
from zim.prompts import Prompt
from zim.registry import load_model
from zim.transforms import ResizeLongestSide


class _Resized(NamedTuple):
    """One image in the input frame: (1, 3, h, w) values 0..255, and what its features will be tied to."""

    pixels: Tensor
    original_size: tuple[int, int]
    image_sha256: str | None


class ZimPredictor(ImageState):
    """SAM's predictor, answering with alphas.

    `predict` and `predict_torch` take SAM's arguments in SAM's order. The first item of what they return is, by
    `output`: "alpha" float32 in [0, 1]; "mask" bool, as SAM's; with `return_logits=True` the logits in either
    case. The alpha is the sigmoid of exactly those logits, the mask is where they are above
    `model.mask_threshold` (0).

    Points and boxes may stick out of the image and are cut to it; a box that does not touch it is an error.
    One predictor serves one user; a model may serve many predictors. The model is put into evaluation mode,
    again whenever an image is set.
    """

    def __init__(self, model: Zim, output: Output = "alpha") -> None:
        if output not in ("alpha", "mask"):
            raise ConfigError(f'output: expected "alpha" or "mask", got {output!r}')
        self.model = model.eval()
        self.output: Output = output
        self.transform = ResizeLongestSide(model.image_encoder.img_size)
        self.reset_image()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        output: Output = "alpha",
    ) -> "ZimPredictor":
        """A predictor around `zim.load_model(name_or_path, device, dtype)`."""
        return cls(load_model(name_or_path, device=device, dtype=dtype), output=output)

    def another(self) -> "ZimPredictor":
        """A predictor of its own, without an image, around the same model: for another user."""
        return type(self)(self.model, output=self.output)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.model.device

    def set_image(self, image: Any, image_format: str = "RGB") -> None:
        """Embed the image that later prompts refer to; when this fails, the image before it stays.

        Args:
            image: (H, W, 3) uint8 from 1 x 1 on, or what `zim.image_conversion` states: grey, RGBA, 16 bit,
                PIL.
            image_format: "RGB" or "BGR", the order of an array's colours.

        Raises:
            ImageError: another type, dtype, shape or format.
        """
        self.features = self._embed([self._resized(image, image_format)])[0]

    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """Embed an image that is in the input frame already.

        Args:
            transformed_image: (1, 3, h, w) RGB values 0..255, resized by `transform`.
            original_image_size: (H, W) before that.

        Raises:
            ImageError: another shape, dtype or size.
        """
        check_torch_image(transformed_image, self.model.image_encoder.img_size)
        original_size = check_size(original_image_size, "original_image_size")
        self.features = self._embed([_Resized(transformed_image, original_size, None)])[0]

    def set_image_batch(
        self, images: Sequence[Any], image_format: str = "RGB", *, batch_size: int = 4
    ) -> list[PredictorFeatures]:
        """Embed many images; assign one of the results to `features` to ask about that image.

        The predictor's own image stays what it is.

        Args:
            images: each as in `set_image`, of any sizes; none give an empty list.
            image_format: "RGB" or "BGR", for all of them.
            batch_size: images that go through the encoder at once.

        Raises:
            ImageError: no sequence of images, or one of them cannot be taken; the message says which.
        """
        step = check_positive_int(batch_size, "batch_size")
        if not isinstance(images, Sequence | np.ndarray) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise ImageError(f"images: expected a sequence of images, got {describe(images)}")
        features: list[PredictorFeatures] = []
        for start in range(0, len(images), step):
            resized = []
            for index in range(start, min(start + step, len(images))):
                try:
                    resized.append(self._resized(images[index], image_format))
                except ImageError as error:
                    raise ImageError(f"images[{index}]: {error}") from error
            features += self._embed(resized)
        return features

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Triple:
        """Answer one prompt about the current image; any of its parts may be left out, not all.

        Args:
            point_coords: (N, 2) xy in pixels of the original frame.
            point_labels: (N,) 1 foreground, 0 background, -1 padding.
            box: (4,) or (1, 4) xyxy in pixels of the original frame, both corners inside.
            mask_input: (1, 256, 256) logits of an earlier answer, `low_res[best][None]`; (256, 256) and the
                decoder's own (1, 512, 512) are taken too (S/4 and S/2 for a model of input size S).
            multimask_output: three answers for an ambiguous prompt, or one.
            return_logits: logits instead of what `output` says.

        Returns:
            (C, H, W) alphas, masks or logits of the original frame; (C,) float32 predicted qualities;
            (C, 256, 256) float32 logits of the padded frame. C is 3 or 1.

        Raises:
            ImageNotSetError: there is no image.
            PromptError: no prompt, or one that cannot be meant.
        """
        features = self._require_image()
        prompt = Prompt(point_coords=point_coords, point_labels=point_labels, box=box, mask_input=mask_input)
        answer = decode(
            self.model,
            features,
            self._in_input_frame(prompt),
            answer=self._answer(return_logits),
            multimask_output=multimask_output,
        )
        return row_as_numpy(answer, 0)

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        chunk_size: int = DECODE_CHUNK,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Answer B prompts about the current image, tensors in and out.

        Args:
            point_coords: (B, N, 2) xy in the input frame (`transform.apply_coords_torch`).
            point_labels: (B, N).
            boxes: (B, 4) xyxy in the input frame.
            mask_input: (B, 1, 256, 256) logits.
            multimask_output: three answers a prompt, or one.
            return_logits: logits instead of what `output` says.
            chunk_size: prompts that go through the decoder at once.

        Returns:
            (B, C, H, W), (B, C) and (B, C, 256, 256), as in `predict`.

        Raises:
            ImageNotSetError: there is no image.
            PromptError: no prompt, or one that cannot be meant.
        """
        features = self._require_image()
        return decode(
            self.model,
            features,
            self._checked_batch(features, point_coords, point_labels, boxes, mask_input),
            answer=self._answer(return_logits),
            multimask_output=multimask_output,
            chunk_size=check_positive_int(chunk_size, "chunk_size"),
        )

    def predict_promising(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        *,
        least_quality: float,
        chunk_size: int = DECODE_CHUNK,
    ) -> Promising:
        """As `predict_torch`, but only answers whose predicted quality is above `least_quality`, not yet resized.

        Most answers to a grid of points are of no use, and the others fill a small part of a large photo:
        `Promising.window` resizes that part of one of them.

        Raises:
            ImageNotSetError: there is no image.
            PromptError: no prompt, or one that cannot be meant.
        """
        features = self._require_image()
        return decode_promising(
            self.model,
            features,
            self._checked_batch(features, point_coords, point_labels, boxes, mask_input),
            least_quality=least_quality,
            multimask_output=multimask_output,
            chunk_size=check_positive_int(chunk_size, "chunk_size"),
        )

    def _checked_batch(
        self,
        features: PredictorFeatures,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        mask_input: Tensor | None,
    ) -> PromptTensors:
        return prompts_of_batch(
            point_coords,
            point_labels,
            boxes,
            mask_input,
            frame_hw=features.input_size,
            img_size=self.model.image_encoder.img_size,
        )

    def predict_many(
        self,
        prompts: Sequence[Prompt],
        multimask_output: bool = False,
        return_logits: bool = False,
        *,
        chunk_size: int = DECODE_CHUNK,
    ) -> list[Triple]:
        """Answer the prompts of many objects in the current image; those of one kind share decoder runs.

        Returns:
            For each prompt, in order, what `predict` returns for it.

        Raises:
            ImageNotSetError: there is no image.
            PromptError: one of the prompts cannot be meant; the message says which.
        """
        features = self._require_image()
        step = check_positive_int(chunk_size, "chunk_size")
        if isinstance(prompts, Mapping) or not isinstance(prompts, Iterable):
            raise PromptError(f"prompts: expected a sequence of zim.prompts.Prompt, got {describe(prompts)}")
        kinds: dict[tuple[Any, ...], list[int]] = {}
        checked = []
        for index, prompt in enumerate(prompts):
            try:
                checked.append(self._in_input_frame(prompt))
            except PromptError as error:
                raise PromptError(f"prompts[{index}]: {error}") from error
            kind = tuple(None if field is None else tuple(field.shape) for field in checked[-1])
            kinds.setdefault(kind, []).append(index)
        answers: dict[int, Triple] = {}
        for members in kinds.values():
            for chunk in (members[start : start + step] for start in range(0, len(members), step)):
                answer = decode(
                    self.model,
                    features,
                    join([checked[index] for index in chunk]),
                    answer=self._answer(return_logits),
                    multimask_output=multimask_output,
                    chunk_size=step,
                )
                answers.update((index, row_as_numpy(answer, row)) for row, index in enumerate(chunk))
        return [answers[index] for index in range(len(checked))]

    def get_image_embedding(self) -> Tensor:
        """(1, 256, 64, 64) image embedding of the current image (side S/16).

        Raises:
            ImageNotSetError: there is no image.
        """
        return self._require_image().embedding

    def save_embedding(self, path: str | Path) -> None:
        """Write the current image's features and sizes to a safetensors file, atomically.

        Raises:
            ImageNotSetError: there is no image.
        """
        save_features(path, self._require_image(), model_hash=model_sha256(self.model))

    def load_embedding(self, path: str | Path, *, image: Any = None, image_format: str = "RGB") -> None:
        """Go back to an image whose features `save_embedding` wrote.

        Args:
            path: the file.
            image: as in `set_image`; when given, the file must belong to it.
            image_format: "RGB" or "BGR", the order of that image's colours.

        Raises:
            DataError: not such a file, or one of another image.
            CheckpointError: written by another image encoder.
        """
        expected = None if image is None else self._resized(image, image_format).image_sha256
        self.features = load_features(path, model_hash=model_sha256(self.model), image_hash=expected)

    def _accepted(self, features: Any) -> Any:
        """Features on their way in: of this model's grid, moved to its device and dtype."""
        if not isinstance(features, ImageFeatures):
            return features
        grid = self.model.image_encoder.img_size // 16
        if tuple(features.shape[-2:]) != (grid, grid):
            raise ImageError(
                f"features: expected an embedding of {grid} x {grid} cells, got {tuple(features.shape)}; "
                "these features belong to a model of another input size"
            )
        return features.to(self.device, self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _require_image(self) -> PredictorFeatures:
        features = self._image.whole
        if features is None:
            raise ImageNotSetError(
                "set_image: an image must be set with .set_image(...) before prediction"
                if self._image.features is None
                else "features: put back without their sizes; assign original_size and input_size too"
            )
        if features.device == self.device:
            return features
        self.features = features  # the model has moved since
        return self._require_image()

    def _resized(self, image: Any, image_format: str) -> _Resized:
        rgb = to_rgb(image, image_format)
        original_size = (rgb.shape[0], rgb.shape[1])
        resized = self.transform.apply_image(rgb)  # (h, w, 3)
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None]  # (1, 3, h, w)
        return _Resized(pixels, original_size, image_sha256(resized, original_size))

    @torch.no_grad()
    def _embed(self, images: Sequence[_Resized]) -> list[PredictorFeatures]:
        if self.model.training:  # else batch statistics would shape the features, and the image the statistics
            self.model.eval()
        padded = torch.cat([self.model.preprocess(image.pixels.to(self.device)) for image in images])
        features = self.model.image_encoder(padded.to(self._dtype))
        return [
            PredictorFeatures.of(
                features if len(images) == 1 else ImageFeatures(*(map_.clone() for map_ in features.select(index))),
                original_size=image.original_size,
                input_size=(image.pixels.shape[-2], image.pixels.shape[-1]),
                image_sha256=image.image_sha256,
            )
            for index, image in enumerate(images)
        ]

    def _in_input_frame(self, prompt: Prompt) -> PromptTensors:
        """Check a prompt of the original frame and move it to the input frame, on the CPU."""
        original_size = self._require_image().original_size
        if not isinstance(prompt, Prompt):
            raise PromptError(f"prompt: expected a zim.prompts.Prompt, got {type(prompt).__name__}")
        checked = prompts_of_one(
            **prompt.as_kwargs(), frame_hw=original_size, img_size=self.model.image_encoder.img_size
        )
        coords, boxes = checked.point_coords, checked.boxes
        if coords is not None:
            coords = torch.from_numpy(self.transform.apply_coords(coords.cpu().numpy(), original_size)).float()
        if boxes is not None:
            boxes = torch.from_numpy(self.transform.apply_boxes(boxes.cpu().numpy(), original_size)).float()
        return checked._replace(point_coords=coords, boxes=boxes)

    def _answer(self, return_logits: bool) -> Answer:
        return "logits" if return_logits else self.output
