"""Mattes of photo files: prompts in the words of the command line, one predictor, PNG files out."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ImageColor

from zim.alpha import predict_alpha
from zim.compositing import Background
from zim.cutout import composite, cutout, mask_from_alpha, trimap_from_alpha, trimap_to_uint8
from zim.errors import ConfigError, ImageError, PromptError
from zim.image_io import read_alpha, read_gray, read_image, save_png
from zim.prompts import Prompt, mask_input_from_mask, points_from_scribble
from zim.protocol import Predictor
from zim.text_detection import TextDetector, check_thresholds, clean_detections, split_phrases

OutputKind = Literal["alpha", "cutout", "mask", "trimap", "all"]
EVERY_KIND = ("alpha", "cutout", "mask", "trimap")
PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

Box = tuple[float, float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What the user points at, the same for every photo.

    `boxes` are objects; a point belongs to the box that contains it. `scribble` is a PNG of the photo's size
    (255 foreground, 0 background, 128 nothing), whose points join `points`. `mask` is a rough mask of the
    photo's size. `text` stands in place of all of these: phrases for a detector, whose boxes are the objects.
    """

    boxes: tuple[Box, ...] = ()
    points: tuple[Point, ...] = ()
    scribble: Path | None = None
    mask: Path | None = None
    text: str | None = None
    box_threshold: float = 0.25
    text_threshold: float = 0.25

    @property
    def object_count(self) -> int:
        """Objects a photo: one for each box, or one; with `text`, the fewest."""
        return max(len(self.boxes), 1)


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where results go and which: a `.png` file, or a folder for several photos or kinds.

    With `unite` the objects of a photo give one matte, the highest alpha of each pixel.
    """

    path: Path
    kind: OutputKind = "alpha"
    background: Background | None = None
    multimask: bool = False
    unite: bool = False

    @property
    def is_file(self) -> bool:
        """A name that ends in .png and is no folder yet means one file."""
        return self.path.suffix.lower() == ".png" and not self.path.is_dir()


def check_prompts(options: PromptOptions) -> None:
    """Refuse combinations that cannot be meant, before any model is loaded.

    Raises:
        PromptError: no prompt at all, a box inside out, a label that is not 0 or 1, several boxes with one
            mask, a scribble or mask that is not there, a foreground point outside all of several boxes, or a
            text without phrases or beside another prompt.
        ConfigError: a threshold outside [0, 1].
    """
    others = bool(options.boxes or options.points or options.scribble or options.mask)
    if options.text is not None:
        split_phrases(options.text)
        check_thresholds(box_threshold=options.box_threshold, text_threshold=options.text_threshold)
        if others:
            raise PromptError("--text: expected no --box, --point, --scribble or --mask beside it")
    elif not others:
        raise PromptError("prompt: expected --box, --point, --scribble, --mask or --text, got none")
    for x1, y1, x2, y2 in options.boxes:
        if x2 < x1 or y2 < y1:
            raise PromptError(f"--box: expected X1 <= X2 and Y1 <= Y2, got {x1:g} {y1:g} {x2:g} {y2:g}")
    for *_, label in options.points:
        if label not in (0, 1):
            raise PromptError(f"--point: expected label 1 (object) or 0 (background), got {label:g}")
    if options.mask and len(options.boxes) > 1:
        raise PromptError(f"--mask: expected at most one --box beside it, got {len(options.boxes)}")
    for option, file in (("--scribble", options.scribble), ("--mask", options.mask)):
        if file is not None and not file.is_file():
            raise PromptError(f"{option}: expected an existing file, got {file}")
    _points_by_box(options.boxes, options.points)


def build_prompts(options: PromptOptions, hw: tuple[int, int]) -> list[Prompt]:
    """One prompt for each object of a photo of height and width `hw`.

    Raises:
        PromptError: as `check_prompts`, or a scribble or mask of another size.
    """
    points = list(options.points)
    if options.scribble is not None:
        scribble = read_gray(options.scribble)
        _check_size("--scribble", options.scribble, scribble.shape, hw)
        coords, labels = points_from_scribble(scribble)
        points += [(float(x), float(y), int(label)) for (x, y), label in zip(coords, labels, strict=True)]
    mask_input = None
    if options.mask is not None:
        mask = read_alpha(options.mask)
        _check_size("--mask", options.mask, mask.shape, hw)
        if not (mask > 0.5).any():
            raise PromptError(f"--mask: expected white on the object, got no white pixel in {options.mask}")
        mask_input = mask_input_from_mask(mask)
    groups = _points_by_box(options.boxes, points)
    return [
        Prompt(
            point_coords=np.array([point[:2] for point in group], dtype=np.float32) if group else None,
            point_labels=np.array([point[2] for point in group], dtype=np.int32) if group else None,
            box=np.array(options.boxes[index], dtype=np.float32) if options.boxes else None,
            mask_input=mask_input,
        )
        for index, group in enumerate(groups)
    ]


def _check_size(option: str, file: Path, shape: tuple[int, ...], hw: tuple[int, int]) -> None:
    if shape != hw:
        raise PromptError(
            f"{option}: expected the photo's size {hw[1]}x{hw[0]}, got {shape[1]}x{shape[0]} in {file}"
        )


def _points_by_box(boxes: Sequence[Box], points: Sequence[Point]) -> list[list[Point]]:
    """Points of each object.

    One object gets all. Of several, a foreground point goes to the smallest box that contains it, a
    background point to every box that does, or to all boxes when it is outside all.
    """
    if len(boxes) <= 1:
        return [list(points)]
    groups: list[list[Point]] = [[] for _ in boxes]
    for point in points:
        x, y, label = point
        holders = [i for i, (x1, y1, x2, y2) in enumerate(boxes) if x1 <= x <= x2 and y1 <= y <= y2]
        if label == 1 and not holders:
            raise PromptError(f"--point: expected object points inside one of the boxes, got {x:g} {y:g}")
        if label == 1:
            areas = [(boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]) for i in holders]
            holders = [holders[int(np.argmin(areas))]]
        for index in holders or range(len(boxes)):
            groups[index].append(point)
    return groups


def find_photos(inputs: Sequence[Path]) -> list[Path]:
    """Files as given; a folder stands for the pictures directly in it, by name.

    Raises:
        ImageError: a folder without pictures.
    """
    photos: list[Path] = []
    for path in inputs:
        if not path.is_dir():
            photos.append(path)
            continue
        found = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in PICTURE_SUFFIXES)
        found = [p for p in found if not p.name.startswith(".")]
        if not found:
            raise ImageError(f"image: expected pictures in the folder {path}, got none")
        photos += found
    return photos


def background_from_text(text: str) -> Background:
    """ "checkerboard", a picture file, or a colour in any CSS spelling.

    Raises:
        ImageError: none of the three, or a file that is no picture.
    """
    if text == "checkerboard":
        return text
    if Path(text).is_file():
        return read_image(Path(text))
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        expected = "a colour, checkerboard or a picture file"
        raise ImageError(f"--background: expected {expected}, got {text!r}") from error
    return red, green, blue


def plan_outputs(
    photos: Sequence[Path], prompts: PromptOptions, output: OutputOptions, inputs: Sequence[Path] = ()
) -> dict[Path, list[dict[str, Path]]]:
    """Name every output before anything runs: photo -> one {kind: file} for each object.

    Args:
        photos: what `find_photos` gave.
        prompts: decides how many objects a photo has.
        output: path, kind and background.
        inputs: the arguments as given, so that a folder of pictures is not also the folder of results.

    Raises:
        ConfigError: names that would overwrite each other or an input, or a path that cannot be meant.
    """
    if output.path.suffix.lower() in PICTURE_SUFFIXES and output.path.suffix.lower() != ".png":
        raise ConfigError(f"--out: results are PNG files; expected NAME.png or a folder, got {output.path}")
    if output.is_file and (len(photos) > 1 or output.kind == "all"):
        raise ConfigError(f"--out: expected a folder for several photos or kinds, got the file {output.path}")
    if any(path.is_dir() and path.resolve() == output.path.resolve() for path in inputs):
        raise ConfigError(f"--out: expected another folder than that of the photos, got {output.path}")
    _check_folder(output.path.parent if output.is_file else output.path)
    plan = {photo: name_outputs(photo, prompts, output, prompts.object_count) for photo in photos}
    sources = [*photos, *(file for file in (prompts.scribble, prompts.mask) if file)]
    _refuse_clashes(plan, sources)
    if prompts.text is not None and not output.unite:
        _refuse_numbered_sources(photos, output, sources)
    return plan


def name_outputs(photo: Path, prompts: PromptOptions, output: OutputOptions, count: int) -> list[dict[str, Path]]:
    """{kind: file} for each of `count` objects of a photo, one if they are united.

    Several objects are numbered. In a folder those of a text are so even if there is one, for their number
    differs from photo to photo; NAME.png stays NAME.png for one object.
    """
    kinds = _kinds(output)
    count = 1 if output.unite else count
    numbered = count > 1 or (prompts.text is not None and not output.is_file and not output.unite)
    objects = []
    for index in range(count):
        number = f"_{index}" if numbered else ""
        if output.is_file:
            objects.append({kinds[0]: output.path.with_stem(output.path.stem + number)})
        else:
            objects.append({kind: output.path / f"{photo.stem}{number}_{kind}.png" for kind in kinds})
    return objects


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written before a model has worked for it."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(f"--out: expected NAME.png or a folder, got {folder}: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"--out: expected a folder that can be written, got {folder}")


def _kinds(output: OutputOptions) -> tuple[str, ...]:
    if output.kind == "all":
        return EVERY_KIND if output.background is None else (*EVERY_KIND, "composite")
    if output.background is None:
        return (output.kind,)
    if output.kind != "cutout":
        raise ConfigError(f"--background: expected --output-kind cutout or all beside it, got {output.kind}")
    return ("composite",)


def _refuse_clashes(plan: dict[Path, list[dict[str, Path]]], sources: Sequence[Path]) -> None:
    written = [
        (photo, file) for photo, objects in plan.items() for names in objects for file in names.values()
    ]
    files = [(file.resolve(), photo) for photo, file in written]
    for file, count in Counter(file for file, _ in files).items():
        if count > 1:
            rivals = ", ".join(str(photo) for path, photo in files if path == file)
            raise ConfigError(f"--out: expected photos of different names, got {rivals} for {file}")
    taken = {source.resolve() for source in sources} & {file for file, _ in files}
    if taken:
        raise ConfigError(f"--out: expected other files than the inputs, got {taken.pop()}")


def _refuse_numbered_sources(photos: Sequence[Path], output: OutputOptions, sources: Sequence[Path]) -> None:
    """Refuse inputs that an object of some number would overwrite, while nobody knows how many there are."""
    stems = {output.path.stem} if output.is_file else {photo.stem for photo in photos}
    folder = (output.path.parent if output.is_file else output.path).resolve()
    kinds = "" if output.is_file else f"_({'|'.join(_kinds(output))})"
    for source in sources:
        match = re.fullmatch(rf"(?P<stem>.+)_\d+{kinds}\.png", source.name)
        if match and match["stem"] in stems and source.resolve().parent == folder:
            raise ConfigError(f"--out: expected other files than the inputs, got {source}")


def matte_photo(
    photo: Path,
    predictor: Predictor,
    prompts: PromptOptions,
    output: OutputOptions,
    names: Sequence[dict[str, Path]],
    detector: TextDetector | None = None,
) -> Iterator[Path]:
    """Matte one photo and write its files one by one, each whole or not at all; yields what was written.

    Args:
        photo: the file.
        predictor: what mattes.
        prompts: what to matte.
        output: what to write.
        names: the files of each object, of `plan_outputs`; with a text, as many as there are found count.
        detector: finds what `prompts.text` names.

    Raises:
        ZimError: an unreadable photo, a prompt that does not fit it, or a text that names nothing in it.
        OSError: a file cannot be written.
    """
    image = read_image(photo)
    height, width = image.shape[:2]
    if prompts.text is not None:
        boxes = _found_boxes(image, prompts, detector)
        names = name_outputs(photo, prompts, output, len(boxes))
        prompts = replace(prompts, text=None, boxes=boxes)
    object_prompts = build_prompts(prompts, (height, width))
    predictor.set_image(image)
    alphas: Iterable[np.ndarray] = (_alpha(predictor, prompt, output) for prompt in object_prompts)
    if output.unite:
        alphas = [reduce(np.maximum, alphas)]
    for alpha, files in zip(alphas, names, strict=True):
        for kind, file in files.items():
            save_png(file, _render(kind, image, alpha, output.background))
            yield file


def _alpha(predictor: Predictor, prompt: Prompt, output: OutputOptions) -> np.ndarray:
    given = {name: value for name, value in prompt.as_kwargs().items() if value is not None}
    return predict_alpha(predictor, multimask_output=output.multimask, **given)


def _found_boxes(image: np.ndarray, prompts: PromptOptions, detector: TextDetector | None) -> tuple[Box, ...]:
    """One box for each object that the text names, the surest first."""
    if prompts.text is None or detector is None:
        raise ConfigError("detector: expected a text detector and a text, got none")
    thresholds = {"box_threshold": prompts.box_threshold, "text_threshold": prompts.text_threshold}
    answer = detector.detect(image, prompts.text, **thresholds)
    found = clean_detections(answer.boxes, answer.scores, answer.labels, image.shape[:2])
    if not found.labels:
        raise PromptError(
            f"--text: found no {' and no '.join(map(repr, split_phrases(prompts.text)))} above "
            f"--box-threshold {prompts.box_threshold:g}; a lower one finds more"
        )
    return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in found.boxes)


def _render(kind: str, image: np.ndarray, alpha: np.ndarray, background: Background | None) -> np.ndarray:
    """Pixels of one output file."""
    renderers: dict[str, Callable[[], np.ndarray]] = {
        "alpha": lambda: alpha,
        "mask": lambda: mask_from_alpha(alpha),
        "trimap": lambda: trimap_to_uint8(trimap_from_alpha(alpha)),
        "cutout": lambda: cutout(image, alpha),
        "composite": lambda: composite(image, "checkerboard" if background is None else background, alpha),
    }
    return renderers[kind]()
