"""Peers that need no weights: OpenCV's GrabCut, and GrabCut refined by closed-form matting.

Both keep SAM's predictor surface, so that a benchmark treats them as any model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import ImageError, ImageNotSetError, MissingDependencyError, PromptError

Triple = tuple[NDArray, NDArray[np.float32], NDArray[np.float32]]
EstimateAlpha = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

BINARY_LOGIT = 20.0  # its sigmoid is 1 - 2e-9
LOW_RES = 256
GRABCUT_ITERATIONS = 5
_GRABCUT_LONG_SIDE = 1024
_MATTING_LONG_SIDE = 512
_DISC_OF_DIAGONAL = 0.015
_MIN_DISC = 3  # px; a smaller disc has too few pixels for a colour model
_UNKNOWN_OF_OBJECT = 0.04  # half width of the unknown band, relative to the square root of the object's area
_MIN_SAMPLES = 5  # GrabCut fits five Gaussians to each side
_SEED = 0


@dataclass(frozen=True)
class _Photo:
    """The photo of the user, and the copy that GrabCut works on."""

    image: NDArray[np.uint8]
    small: NDArray[np.uint8]

    @property
    def scale_xy(self) -> NDArray[np.float64]:
        return np.array(self.small.shape[1::-1], np.float64) / self.image.shape[1::-1]


class GrabCutPredictor:
    """GrabCut with SAM's `predict`: five iterations from a box, from points, from a previous mask, or from
    all of them.

    Outside the box is certain background. Points are discs of certain foreground or background, their radius
    1.5% of the image's diagonal. Where only points are given the rest of the image is probable background
    (probable foreground, when all of them are negative). The answer is binary and has no quality estimate:
    scores are 1. With `multimask_output=True` the one answer comes three times, because SAM's callers count
    on three masks.

    Photos of more than 1024 pixels are segmented at 1024 and the outline is scaled back. The same call gives
    the same answer: OpenCV's random generator is seeded before every one.
    """

    def __init__(self) -> None:
        self._photo: _Photo | None = None

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Take a photo, (H, W, 3) uint8, in RGB or BGR.

        Raises:
            ImageError: another shape, dtype or format.
        """
        self._photo = None
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
            raise ImageError(f"image: expected (H, W, 3) uint8, got shape {array.shape} of {array.dtype}")
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f"image_format: expected 'RGB' or 'BGR', got {image_format!r}")
        rgb = np.ascontiguousarray(array if image_format == "RGB" else array[..., ::-1])
        self._photo = _Photo(rgb, _shrink(rgb, _GRABCUT_LONG_SIDE))

    def reset_image(self) -> None:
        """Forget the photo."""
        self._photo = None

    def predict(
        self,
        point_coords: NDArray | None = None,
        point_labels: NDArray | None = None,
        box: NDArray | None = None,
        mask_input: NDArray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Triple:
        """Segment the photo; arguments and result as in SAM.

        Args:
            point_coords: (N, 2) xy in pixels of the photo.
            point_labels: (N,), 1 foreground, 0 background, -1 ignored.
            box: (4,) or (1, 4) xyxy in pixels of the photo; the pixels x2 and y2 belong to it.
            mask_input: (1, 256, 256) or (256, 256) logits of an earlier call.
            multimask_output: three equal masks instead of one.
            return_logits: logits instead of masks.

        Returns:
            Masks (C, H, W), bool, or float32 logits; scores (C,) float32; low-res logits (C, 256, 256)
            float32 in SAM's padded square.

        Raises:
            ImageNotSetError: no photo was set.
            PromptError: no prompt at all, or one of another shape.
        """
        photo = self._require_photo()
        mask = self._segment(photo, _Request.checked(point_coords, point_labels, box, mask_input))
        logits = _binary_logits(mask)
        return _triple(logits if return_logits else mask, logits, 3 if multimask_output else 1)

    def _require_photo(self) -> _Photo:
        if self._photo is None:
            raise ImageNotSetError("predict: expected set_image(...) to be called first")
        return self._photo

    def _segment(self, photo: _Photo, request: "_Request") -> NDArray[np.bool_]:
        """The object as a mask of the photo's size."""
        regions = _initial_regions(photo, request)
        _grow(photo.small, regions)
        mask = (regions == cv2.GC_FGD) | (regions == cv2.GC_PR_FGD)
        return _resize_mask(mask, photo.image.shape[:2])


class GrabCutClosedFormPredictor(GrabCutPredictor):
    """GrabCut, a trimap around its outline, and closed-form matting inside the trimap's unknown region.

    The unknown band's half width is 4% of the square root of the object's area. Matting runs at 512 pixels
    (closed-form matting solves a linear system in the number of pixels) and is scaled back. Where the trimap
    lacks foreground, background or unknown, GrabCut's own answer stands. `predict` returns soft alphas,
    float32 in [0, 1], as masks.

    Args:
        estimate_alpha: (image (h, w, 3) float64 in [0, 1], trimap (h, w) float64) -> alpha; pymatting's
            closed form by default.
    """

    def __init__(self, estimate_alpha: EstimateAlpha | None = None) -> None:
        super().__init__()
        self._estimate_alpha = estimate_alpha

    def predict(
        self,
        point_coords: NDArray | None = None,
        point_labels: NDArray | None = None,
        box: NDArray | None = None,
        mask_input: NDArray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Triple:
        """As `GrabCutPredictor.predict`, with soft alphas (float32) instead of bool masks.

        Raises:
            MissingDependencyError: pymatting is not installed.
        """
        photo = self._require_photo()
        mask = self._segment(photo, _Request.checked(point_coords, point_labels, box, mask_input))
        alpha = self._refine(photo.image, mask)
        if alpha is None:
            logits = _binary_logits(mask)
            alpha = mask.astype(np.float32)
        else:
            clipped = np.clip(alpha, 1e-4, 1 - 1e-4)
            logits = np.log(clipped / (1 - clipped)).astype(np.float32)
        return _triple(logits if return_logits else alpha, logits, 3 if multimask_output else 1)

    def _refine(self, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        small = _shrink(image, _MATTING_LONG_SIDE)
        trimap = trimap_around(_resize_mask(mask, small.shape[:2]))
        if len(np.unique(trimap)) < 3:
            return None
        estimate = self._estimate_alpha or _closed_form()
        alpha = estimate(small.astype(np.float64) / 255, trimap).astype(np.float32)
        full = cv2.resize(alpha, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.clip(full, 0, 1)


def trimap_around(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """0 background, 1 foreground, 0.5 in a band around the mask's outline, as wide as the object is large."""
    radius = max(2, round(_UNKNOWN_OF_OBJECT * float(np.sqrt(np.count_nonzero(mask)))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    solid = mask.astype(np.uint8)
    # The image border is no outline: with OpenCV's default borders what touches it goes on beyond it.
    eroded, dilated = cv2.erode(solid, disc), cv2.dilate(solid, disc)
    return (eroded.astype(np.float64) + dilated) / 2


@dataclass(frozen=True)
class _Request:
    """A checked prompt."""

    coords: NDArray[np.float64]  # (N, 2) xy
    labels: NDArray[np.int64]  # (N,)
    box: NDArray[np.float64] | None  # (4,)
    mask_logits: NDArray[np.float32] | None  # (256, 256)

    @classmethod
    def checked(
        cls, coords: NDArray | None, labels: NDArray | None, box: NDArray | None, mask_input: NDArray | None
    ) -> "_Request":
        if coords is None and box is None and mask_input is None:
            raise PromptError("prompt: expected points, a box or a mask input, got none")
        if (coords is None) != (labels is None):
            raise PromptError("prompt: expected point_coords and point_labels together, got one of them")
        points = np.zeros((0, 2)) if coords is None else np.asarray(coords, np.float64)
        signs = np.zeros(0, np.int64) if labels is None else np.asarray(labels).astype(np.int64)
        if points.ndim != 2 or points.shape[1] != 2 or signs.shape != points.shape[:1]:
            raise PromptError(
                f"prompt: expected points (N, 2) and labels (N,), got {points.shape} and {signs.shape}"
            )
        corners = None if box is None else np.asarray(box, np.float64)
        if corners is not None and corners.shape not in ((4,), (1, 4)):
            raise PromptError(f"box: expected shape (4,) or (1, 4), got {corners.shape}")
        mask = None if mask_input is None else np.asarray(mask_input, np.float32)
        if mask is not None and mask.shape not in ((LOW_RES, LOW_RES), (1, LOW_RES, LOW_RES)):
            raise PromptError(f"mask_input: expected shape (1, {LOW_RES}, {LOW_RES}), got {mask.shape}")
        for name, array in (("point_coords", points), ("box", corners), ("mask_input", mask)):
            if array is not None and not np.isfinite(array).all():
                raise PromptError(f"{name}: expected finite numbers, got NaN or infinity")
        known = signs >= 0
        if not known.any() and corners is None and mask is None:
            raise PromptError("prompt: expected at least one point with label 0 or 1, got only padding")
        return cls(
            points[known],
            signs[known],
            None if corners is None else corners.reshape(4),
            None if mask is None else mask.reshape(LOW_RES, LOW_RES),
        )


def _initial_regions(photo: _Photo, request: _Request) -> NDArray[np.uint8]:
    """GrabCut's four regions before it starts, on the working copy."""
    height, width = photo.small.shape[:2]
    only_negatives = request.box is None and not (request.labels > 0).any()
    regions = np.full((height, width), cv2.GC_PR_FGD if only_negatives else cv2.GC_PR_BGD, np.uint8)
    inside = np.ones((height, width), dtype=bool)
    if request.box is not None:
        inside = _box_mask(request.box, photo)
        regions[inside] = cv2.GC_PR_FGD
    if request.mask_logits is not None:
        regions[:] = np.where(
            _from_low_res(request.mask_logits, (height, width)), cv2.GC_PR_FGD, cv2.GC_PR_BGD
        )
    regions[~inside] = cv2.GC_BGD
    radius = max(_MIN_DISC, round(_DISC_OF_DIAGONAL * float(np.hypot(height, width))))
    for xy, label in zip(request.coords, request.labels, strict=True):
        x, y = np.clip(xy * photo.scale_xy, 0, (width - 1, height - 1)).astype(int).tolist()
        cv2.circle(regions, (x, y), radius, cv2.GC_FGD if label > 0 else cv2.GC_BGD, thickness=-1)
    return regions


def _grow(image: NDArray[np.uint8], regions: NDArray[np.uint8]) -> None:
    """Run GrabCut in place; the regions stay as they are where one side is too small for its colour model."""
    background = (regions == cv2.GC_BGD) | (regions == cv2.GC_PR_BGD)
    if not background.any() and min(image.shape[:2]) > 2:  # a box around everything: learn from the frame
        regions[[0, -1], :] = cv2.GC_PR_BGD
        regions[:, [0, -1]] = cv2.GC_PR_BGD
        background = regions == cv2.GC_PR_BGD
    count = int(np.count_nonzero(background))
    if min(count, regions.size - count) < _MIN_SAMPLES:
        return
    background_model, foreground_model = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    unused = (0, 0, 1, 1)  # the regions carry the box, which equals initialising with the rectangle
    cv2.setRNGSeed(_SEED)
    cv2.grabCut(
        image, regions, unused, background_model, foreground_model, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK
    )


def _box_mask(box: NDArray[np.float64], photo: _Photo) -> NDArray[np.bool_]:
    """The pixels of the working copy that a box covers, at least one."""
    height, width = photo.small.shape[:2]
    scale_x, scale_y = photo.scale_xy
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    left, top = (
        int(np.clip(np.floor(x1 * scale_x), 0, width - 1)),
        int(np.clip(np.floor(y1 * scale_y), 0, height - 1)),
    )
    right = int(np.clip(np.ceil((x2 + 1) * scale_x), left + 1, width))
    bottom = int(np.clip(np.ceil((y2 + 1) * scale_y), top + 1, height))
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def _binary_logits(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, np.float32(BINARY_LOGIT), np.float32(-BINARY_LOGIT))


def _triple(masks: NDArray, logits: NDArray[np.float32], copies: int) -> Triple:
    """SAM's result: (C, H, W), (C,), (C, 256, 256)."""
    low_res = _to_low_res(logits)
    return (
        np.repeat(masks[None], copies, axis=0),
        np.ones(copies, np.float32),
        np.repeat(low_res[None], copies, axis=0),
    )


def _low_res_hw(shape: tuple[int, ...]) -> tuple[int, int]:
    """Size that an image of `shape` has inside SAM's 256 x 256 padded square."""
    scale = LOW_RES / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _to_low_res(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (H, W) to (256, 256): long side 256, padded right and below with the surest background."""
    height, width = _low_res_hw(logits.shape)
    shrinks = max(logits.shape) > LOW_RES
    small = cv2.resize(logits, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    square = np.full((LOW_RES, LOW_RES), -BINARY_LOGIT, np.float32)
    square[:height, :width] = small
    return square


def _from_low_res(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = _low_res_hw(shape)
    return cv2.resize(logits[:height, :width], shape[::-1], interpolation=cv2.INTER_LINEAR) > 0


def _shrink(image: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _resize_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape == shape:
        return mask
    interpolation = cv2.INTER_AREA if mask.size > shape[0] * shape[1] else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=interpolation) > 0.5


def _closed_form() -> EstimateAlpha:
    try:
        from pymatting import estimate_alpha_cf
    except ImportError as error:
        raise MissingDependencyError(
            "grabcut+cf needs pymatting; install it with: pip install 'zim-matting[matting]'"
        ) from error
    return estimate_alpha_cf
