"""Two models on one photo: how long each takes, and how far each is from a true alpha."""

import html
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.answers import answers_from, rows_of
from adapters.fine_objects import KINDS, FineScene, fine_scene
from zim.errors import ImageError
from zim.evaluation.metrics import MatteErrors, matte_errors
from zim.image_io import read_alpha, save_png

from .errors import LimitError
from .limits import short
from .models import ModelPool
from .outbox import Outbox
from .photo_session import PhotoSession
from .photos import Photo, check_picture, open_photo
from .prompts import ObjectPrompts

MAX_TRUTH_PIXELS = 16_000_000
SCENE_SEED, SCENE_SIDE = 7, 512
KEPT_TIMES = 64
METRICS = ("SAD", "MSE", "MAE", "Grad", "Conn")

_scenes = Outbox()


class Times(NamedTuple):
    """Seconds: to look at the photo, once for all prompts, and to answer a prompt."""

    photo: float
    prompt: float


class TimedModels:
    """Asks the models of a pool, as `asking` does, and keeps how long they took and how they are reported."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool
        self._photo_seconds: dict[tuple[str, str], float] = {}
        self._times: OrderedDict[tuple[str, str, ObjectPrompts], Times] = OrderedDict()
        self._rows: dict[str, list[str]] = {}

    def __call__(self, name: str, photo: Photo, prompts: ObjectPrompts) -> NDArray[np.float32]:
        """(h, w) float32 of the working picture."""
        prompt = prompts.as_prompt(photo.scale, (photo.working.shape[0], photo.working.shape[1]))
        with self._pool.turn():
            self.rows(name)  # loads the model, which is nobody's answering time
            start = time.perf_counter()
            self._pool.embedded(name, photo.key, photo.working)
            looked = time.perf_counter()
            alpha = self._pool.alpha(name, photo.key, photo.working, prompt)
            done = time.perf_counter()
        seconds = self._photo_seconds.setdefault((name, photo.key), looked - start)
        self._times[name, photo.key, prompts] = Times(seconds, done - looked)
        while len(self._times) > KEPT_TIMES:
            self._times.popitem(last=False)
        return alpha

    def rows(self, name: str) -> list[str]:
        """The lines of a model in the table: two for a SAM.

        Raises:
            ZimError: the model cannot be loaded.
        """
        if name not in self._rows:
            self._rows[name] = rows_of(name, self._pool.predictor(name))
        return self._rows[name]

    def times(self, name: str, photo: Photo, prompts: ObjectPrompts) -> Times | None:
        """How long a model took for these prompts, if it was asked lately."""
        return self._times.get((name, photo.key, prompts))


class Line(NamedTuple):
    """One line of the table."""

    row: str
    model: str
    times: Times | None
    errors: MatteErrors | None


class Result(NamedTuple):
    """Both models' answers. names: of the models. alphas: (H, W) each. difference: of the two from each other."""

    names: Sequence[str]
    alphas: Sequence[NDArray[np.float32]]
    lines: Sequence[Line]
    difference: MatteErrors
    truth: NDArray[np.float32] | None


def compared(session: PhotoSession, ask: TimedModels, truth: NDArray[np.float32] | None) -> Result:
    """What the session's two layers answer to what is drawn, measured in the photo's own size.

    Raises:
        ZimError: nothing was prompted, or a model refuses.
    """
    photo = session.photo
    alphas = [session.united_alpha(layer) for layer in session.layers[:2]]
    if photo is None:
        raise ImageError("photo: expected one to be chosen first, got none")
    prompted = [one for one in session.drawing.objects if one.count]
    lines = []
    for name, alpha in zip(session.layers, alphas, strict=True):
        times = ask.times(name, photo, prompted[-1])
        for answer in answers_from(alpha, ask.rows(name)):
            errors = None if truth is None else matte_errors(answer.alpha, truth)
            lines.append(Line(answer.row, name, times, errors))
    return Result(session.layers[:2], alphas, lines, matte_errors(alphas[0], alphas[1]), truth)


def report(result: Result, session: PhotoSession) -> dict[str, Any]:
    """The table with the prompts behind it, ready for JSON."""
    return {
        **session.prompts_file(),
        "models": list(result.names),
        "truth": result.truth is not None,
        "units": "SAD, Conn: sums / 1000; MSE, MAE, Grad: means x 1000; over the whole photo; lower is better",
        "rows": [
            {
                "row": line.row,
                "model": line.model,
                "seconds": None if line.times is None else {k: round(v, 4) for k, v in line.times._asdict().items()},
                **({} if line.errors is None else line.errors._asdict()),
            }
            for line in result.lines
        ],
        "difference": result.difference._asdict(),
    }


def table_html(result: Result) -> str:
    """The table for the page; the best figures are bold."""
    heads = ["", *(METRICS if result.truth is not None else ()), "Prompt", "Photo"]
    best = None
    if result.truth is not None:
        best = MatteErrors(*np.min([line.errors for line in result.lines if line.errors], axis=0))
    body = []
    for line in result.lines:
        cells = []
        if line.errors is not None and best is not None:
            figures = zip(map(_figure, line.errors), map(_figure, best), strict=True)
            cells = [f"<strong>{found}</strong>" if found == lowest else found for found, lowest in figures]
        cells += ["", ""] if line.times is None else [_seconds(line.times.prompt), _seconds(line.times.photo)]
        body.append(f"<th scope='row'>{html.escape(line.row)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells))
    head = "".join(f"<th scope='col'>{one}</th>" for one in heads)
    rows = "".join(f"<tr>{one}</tr>" for one in body)
    return (
        "<div class='compare-table' tabindex='0' role='region' aria-label='Figures of both models'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div><p>{remark(result)}</p>"
    )


def remark(result: Result) -> str:
    """What the table means, in a few sentences."""
    apart = f"The two answers differ by SAD {_figure(result.difference.sad)}. "
    times = "Prompt: the time of this answer; Photo: of looking at the photo, once for all prompts. "
    if result.truth is None:
        return apart + times + "For errors, add the true alpha or choose one of the drawn objects."
    return apart + times + (
        "Errors against the true alpha over the whole photo, lower is better: SAD and Conn in 1000 pixels, MSE, MAE "
        "and Grad times 1000. A SAM is listed as the mask it gives and as the sigmoid of its logits."
    )


def _seconds(value: float) -> str:
    return "kept" if value < 5e-4 else f"{value:.2f} s"


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def open_truth(path: str | Path | None, photo: Photo | None) -> NDArray[np.float32]:
    """An uploaded true alpha of a photo: (H, W) float32 in [0, 1].

    Raises:
        LimitError: too large a file or picture.
        ImageError: no picture, or another size than the photo's.
    """
    if photo is None:
        raise ImageError("true alpha: choose or upload its photo first")
    if not path or not isinstance(path, str | Path):
        raise ImageError(f"true alpha: expected a picture file, got {short(path)}")
    file = Path(path)
    check_picture(file, file.name)
    height, width = photo.hw
    if height * width > MAX_TRUTH_PIXELS:
        most = MAX_TRUTH_PIXELS // 1_000_000
        raise LimitError(f"true alpha: expected a photo of at most {most} megapixels, got {width} x {height}")
    truth = read_alpha(file)
    if truth.shape != photo.hw:
        found = f"{truth.shape[1]} x {truth.shape[0]}"
        raise ImageError(f"true alpha: expected the photo's size {width} x {height}, got {found} in {file.name}")
    return truth


class Drawn(NamedTuple):
    """An object that was drawn, so that its alpha is known exactly."""

    photo: Photo
    truth: NDArray[np.float32]
    prompts: ObjectPrompts


@cache
def drawn_object(kind: str) -> Drawn:
    """One of `adapters.fine_objects`, with its box as the prompt.

    Raises:
        ImageError: no such kind.
    """
    known = {one: one for one in KINDS}
    if kind not in known:
        raise ImageError(f"example: expected one of {', '.join(KINDS)}, got {short(kind)}")
    scene: FineScene = fine_scene(known[kind], seed=SCENE_SEED, side=SCENE_SIDE)
    path = _scenes.beside(f"{kind}.png")
    save_png(path, scene.image)
    x1, y1, x2, y2 = (float(value) for value in scene.box)
    return Drawn(open_photo(path, path.name), scene.alpha, ObjectPrompts(box=(x1, y1, x2, y2)))


def chosen_pair(first: Any, second: Any, names: Sequence[str]) -> tuple[str, str]:
    """Two of the names that the app was started with.

    Raises:
        LimitError: another name, or one of them twice.
    """
    for value in (first, second):
        if not isinstance(value, str) or value not in names:
            raise LimitError(f"model: expected one of {', '.join(names)}, got {short(value)}")
    if first == second:
        raise LimitError(f"model: expected two different ones, got {first} twice")
    return first, second


