"""Two real photographs, one box each: alpha, cut-out and a comparison with the SAM baseline.

    python demos/quickstart.py --out out/demo

The photographs come with scikit-image (public domain); nothing is downloaded.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import zim
from zim.cutout import composite, cutout
from zim.errors import ConfigError, MissingDependencyError, ZimError
from zim.image_io import save_png
from zim.protocol import Predictor

PANEL_HEIGHT = 360
TITLE_HEIGHT = 28
GAP = 8
BOX_COLOUR = (255, 64, 64)


class Subject(NamedTuple):
    """A photograph of scikit-image and the object in it: xyxy pixels."""

    name: str
    what: str
    box: tuple[int, int, int, int]


SUBJECTS = (
    Subject("chelsea", "the cat", (0, 0, 402, 299)),
    Subject("astronaut", "the astronaut", (20, 12, 362, 511)),
)


class Contender(NamedTuple):
    """A predictor under the name that its panels carry; None with the reason when it could not be loaded."""

    label: str
    predictor: Predictor | None
    note: str = ""


class Panel(NamedTuple):
    """One part of the comparison picture: an (H, W, 3) uint8 image, or None and the reason in its place."""

    title: str
    image: np.ndarray | None
    note: str = ""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.perf_counter()
    yield
    print(f"  {what:<52} {time.perf_counter() - start:6.2f} s", flush=True)


def load_photo(name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB photograph that comes with scikit-image.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        hint = "pip install 'zim-matting[demo]'"
        raise MissingDependencyError(f"the photographs come with scikit-image: {hint}") from error
    return np.asarray(getattr(data, name)())[..., :3]


def load_baseline(name: str) -> Contender:
    """The baseline; when it cannot be loaded, the words to put in its place."""
    label = f"SAM baseline ({name})"
    try:
        with timed(f"load {name}"):
            return Contender(label, zim.load_predictor(name))
    except MissingDependencyError as error:
        print(f"  {name}: not installed ({error})")
        return Contender(label, None, "not installed")
    except ZimError as error:
        print(f"  {name}: not available ({error})")
        return Contender(label, None, "not available")


def matte_subject(subject: Subject, ours: Contender, baseline: Contender, out: Path) -> list[Path]:
    """Matte one photograph and write `NAME_alpha.png`, `NAME_cutout.png` and `NAME_comparison.png`.

    Raises:
        ZimError: our predictor is not there or refuses the prompt.
        OSError: a file cannot be written.
    """
    photo = load_photo(subject.name)
    print(f"{subject.name}: {photo.shape[1]}x{photo.shape[0]}, {subject.what}, box {subject.box}")
    alpha, baseline_alpha = (_timed_alpha(contender, photo, subject.box) for contender in (ours, baseline))
    if alpha is None:
        raise ConfigError(f"model: expected a predictor, got none: {ours.note}")
    with timed("foreground colours and cut-out"):
        rgba = cutout(photo, alpha)
    with timed("write files"):
        panels = [
            Panel("photo with box prompt", _with_box(photo, subject.box)),
            Panel(baseline.label, None if baseline_alpha is None else _grey(baseline_alpha), baseline.note),
            Panel(f"{ours.label}, alpha", _grey(alpha)),
            Panel(f"{ours.label}, cut-out", composite(rgba, "checkerboard")),
        ]
        pictures = {"alpha": alpha, "cutout": rgba, "comparison": draw_comparison(panels, photo.shape[:2])}
        files = [out / f"{subject.name}_{kind}.png" for kind in pictures]
        for file, picture in zip(files, pictures.values(), strict=True):
            save_png(file, picture)
    return files


def _timed_alpha(contender: Contender, photo: np.ndarray, box: Sequence[int]) -> np.ndarray | None:
    """(H, W) float32 alpha of one box; None from a contender that is not there."""
    if contender.predictor is None:
        return None
    with timed(f"{contender.label}: embed the photo (once)"):
        contender.predictor.set_image(photo)
    with timed(f"{contender.label}: answer the box"):
        return zim.predict_alpha(contender.predictor, box=np.array(box, dtype=np.float32))


def _grey(alpha: np.ndarray) -> np.ndarray:
    """(H, W) alpha as an (H, W, 3) uint8 picture."""
    return np.repeat((alpha * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def _with_box(photo: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """The photo with a box drawn just inside its pixels, so that one along the border stays visible."""
    canvas = Image.fromarray(photo)
    width = max(2, round(max(photo.shape) / 160))
    ImageDraw.Draw(canvas).rectangle(list(box), outline=BOX_COLOUR, width=width)
    return np.asarray(canvas)


def draw_comparison(panels: Sequence[Panel], hw: tuple[int, int]) -> np.ndarray:
    """Panels side by side under their titles.

    Args:
        panels: pictures of height and width `hw`, or notes.
        hw: the photo's size.

    Returns:
        (H, W, 3) uint8, white between the panels.
    """
    width = round(hw[1] * PANEL_HEIGHT / hw[0])
    size = (GAP + len(panels) * (width + GAP), TITLE_HEIGHT + PANEL_HEIGHT + GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=17)
    for index, panel in enumerate(panels):
        left = GAP + index * (width + GAP)
        draw.text((left, 3), panel.title, fill="black", font=font)
        if panel.image is None:
            corner = (left + width - 1, TITLE_HEIGHT + PANEL_HEIGHT - 1)
            draw.rectangle(((left, TITLE_HEIGHT), corner), fill=(230, 230, 230))
            middle = (left + width / 2, TITLE_HEIGHT + PANEL_HEIGHT / 2)
            draw.text(middle, panel.note, fill=(90, 90, 90), font=font, anchor="mm")
            continue
        smaller = panel.image.shape[0] > PANEL_HEIGHT
        picture = cv2.resize(
            panel.image, (width, PANEL_HEIGHT), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        )
        canvas.paste(Image.fromarray(picture), (left, TITLE_HEIGHT))
    return np.asarray(canvas)


def run(arguments: argparse.Namespace) -> list[Path]:
    """Load both predictors, matte every subject; the files written."""
    print("models")
    with timed(f"load {arguments.model}"):
        ours = Contender(_label(arguments.model), zim.load_predictor(arguments.model))
    baseline = load_baseline(arguments.baseline)
    written: list[Path] = []
    for subject in SUBJECTS:
        written += matte_subject(subject, ours, baseline, arguments.out)
    return written


def _label(model: str) -> str:
    """What the panels call the model: ZIM for the shipped one, else its name or file name."""
    return "ZIM" if model == "zim_tiny" else Path(model).name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when everything was written, 1 when something failed."""
    parser = argparse.ArgumentParser(description="Matte two photographs that come with scikit-image.")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder (default: %(default)s)")
    parser.add_argument("--model", default="zim_tiny", help="name or checkpoint (default: %(default)s)")
    parser.add_argument("--baseline", default="sam_tiny", help="what to compare with (default: %(default)s)")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        written = run(arguments)
    except (ZimError, OSError) as error:
        print(f"quickstart: error: {error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start
    print(f"wrote {len(written)} files in {seconds:.1f} s; look at the *_comparison.png first:")
    for file in written:
        print(f"  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
