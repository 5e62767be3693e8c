"""What a predictor knows about its image: features with their sizes, and the one state object around them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zim.checks import check_side, check_size, describe
from zim.errors import ImageError
from zim.modeling.features import ImageFeatures


class PredictorFeatures(ImageFeatures):
    """The features of one image with the sizes that its prompts and answers refer to.

    Still a tuple of four tensors, so whatever takes `ImageFeatures` takes it. It can be moved, copied,
    pickled and written by `torch.save`; `torch.load(weights_only=True)` reads it once `zim.features` is
    imported.

    `original_size` and `input_size` are (H, W) of the original and the input frame; `image_sha256` tells
    images apart and is None where the image came in as a tensor.
    """

    original_size: tuple[int, int]
    input_size: tuple[int, int]
    image_sha256: str | None

    @classmethod
    def of(
        cls,
        features: ImageFeatures,
        *,
        original_size: tuple[int, int],
        input_size: tuple[int, int],
        image_sha256: str | None = None,
    ) -> "PredictorFeatures":
        """Tie features (batch of one) to the sizes of their image.

        Raises:
            ImageError: a batch of several images, or impossible sizes.
        """
        if features.shape[0] != 1:
            raise ImageError(f"features: expected those of one image, got a batch of {features.shape[0]}")
        bound = cls(*features)
        bound.original_size = check_size(original_size, "original_size")
        bound.input_size = check_size(input_size, "input_size")
        bound.image_sha256 = image_sha256
        return bound

    def to(self, *args: Any, **kwargs: Any) -> "PredictorFeatures":
        """`Tensor.to` on every map; the sizes stay."""
        return PredictorFeatures.of(
            super().to(*args, **kwargs),
            original_size=self.original_size,
            input_size=self.input_size,
            image_sha256=self.image_sha256,
        )

    def cpu(self) -> "PredictorFeatures":
        """Every map in main memory."""
        return self.to("cpu")

    def cuda(self, device: int | str | torch.device = "cuda") -> "PredictorFeatures":
        """Every map on a CUDA device."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    def __repr__(self) -> str:
        return (
            f"PredictorFeatures(shape={tuple(self.shape)}, device={self.device}, "
            f"original_size={self.original_size}, input_size={self.input_size})"
        )


torch.serialization.add_safe_globals([ImageFeatures, PredictorFeatures])


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedImage:
    """The state of a predictor: nothing yet, parts put back one by one, or a whole image.

    Features of a predictor bring their sizes along; bare `ImageFeatures` wait until all four sides are known.
    """

    features: ImageFeatures | None = None
    orig_h: int | None = None
    orig_w: int | None = None
    input_h: int | None = None
    input_w: int | None = None

    @property
    def original_size(self) -> tuple[int, int] | None:
        """(H, W) of the original frame."""
        return None if self.orig_h is None or self.orig_w is None else (self.orig_h, self.orig_w)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(H, W) of the input frame."""
        return None if self.input_h is None or self.input_w is None else (self.input_h, self.input_w)

    @property
    def whole(self) -> PredictorFeatures | None:
        """Features and sizes when all is known."""
        return self.features if isinstance(self.features, PredictorFeatures) else None

    def with_features(self, features: Any) -> "EmbeddedImage":
        """Put features in; those of a predictor replace the sizes too.

        Raises:
            TypeError: a bare tensor or anything else that is not `ImageFeatures`.
        """
        if isinstance(features, Tensor):
            raise TypeError(
                "features: expected the object that predictor.features returns, got a bare tensor of shape "
                f"{tuple(features.shape)}; ZIM decodes from features at strides 2, 4 and 8 as well, "
                "which the image embedding alone does not hold"
            )
        if not isinstance(features, ImageFeatures):
            raise TypeError(f"features: expected the object that predictor.features returns, got {describe(features)}")
        if not isinstance(features, PredictorFeatures):
            return replace(self, features=features)._joined()
        (orig_h, orig_w), (input_h, input_w) = features.original_size, features.input_size
        return EmbeddedImage(features=features, orig_h=orig_h, orig_w=orig_w, input_h=input_h, input_w=input_w)

    def with_sides(self, **sides: Any) -> "EmbeddedImage":
        """Put some of `orig_h, orig_w, input_h, input_w` in.

        Raises:
            ImageError: a side that is not a positive integer.
        """
        checked: dict[str, Any] = {name: check_side(value, name) for name, value in sides.items()}
        return replace(self, **checked)._joined()

    def _joined(self) -> "EmbeddedImage":
        """Features and sizes tied together as soon as both are there."""
        features, original_size, input_size = self.features, self.original_size, self.input_size
        if features is None or original_size is None or input_size is None:
            return self
        sha256 = features.image_sha256 if isinstance(features, PredictorFeatures) else None
        bound = PredictorFeatures.of(features, original_size=original_size, input_size=input_size, image_sha256=sha256)
        return replace(self, features=bound)


class _Side:
    """An attribute such as `orig_h` that can be put back; None is ignored, for SAM holds None there."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: "ImageState | None", owner: type) -> Any:
        return self if instance is None else getattr(instance._image, self._name)

    def __set__(self, instance: "ImageState", value: int | None) -> None:
        if value is not None:
            instance._image = instance._image.with_sides(**{self._name: value})


class ImageState:
    """The attributes by which SAM's users take a predictor's image out and put it back, in any order.

    Assigning None changes nothing, and neither does `is_image_set = True`: what is there decides. Assigning
    `is_image_set = False` forgets the image.
    """

    _image: EmbeddedImage = EmbeddedImage()

    orig_h = _Side()
    orig_w = _Side()
    input_h = _Side()
    input_w = _Side()

    @property
    def features(self) -> Any:
        """`PredictorFeatures` of the image, or None; assign it to go back to that image, sizes included."""
        return self._image.features

    @features.setter
    def features(self, features: ImageFeatures | None) -> None:
        if features is not None:
            self._image = self._image.with_features(self._accepted(features))

    def _accepted(self, features: Any) -> Any:
        """A hook for the owner: check or move features on their way in."""
        return features

    @property
    def original_size(self) -> Any:
        """(H, W) of the original frame, or None."""
        return self._image.original_size

    @original_size.setter
    def original_size(self, size: tuple[int, int] | None) -> None:
        if size is not None:
            height, width = check_size(size, "original_size")
            self._image = self._image.with_sides(orig_h=height, orig_w=width)

    @property
    def input_size(self) -> Any:
        """(H, W) of the input frame, or None."""
        return self._image.input_size

    @input_size.setter
    def input_size(self, size: tuple[int, int] | None) -> None:
        if size is not None:
            height, width = check_size(size, "input_size")
            self._image = self._image.with_sides(input_h=height, input_w=width)

    @property
    def is_image_set(self) -> bool:
        """Whether prompts can be answered."""
        return self._image.whole is not None

    @is_image_set.setter
    def is_image_set(self, value: bool | None) -> None:
        if value is not None and not value:
            self.reset_image()

    def reset_image(self) -> None:
        """Forget the image: features and sizes."""
        self._image = EmbeddedImage()
