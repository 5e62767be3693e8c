"""How good a converter is where the truth is known: fine objects, hard objects, incomplete labels."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.errors import DataError
from zim.evaluation.datasets import FolderDataset
from zim.evaluation.samples import MattingSample, evenly_spaced
from zim.image_io import save_png

from ..data.coarse_labels import synthesize_coarse_label
from .converter import Converter
from .crops import convert_labels, window_around
from .sga import SgaConfig, draw_regions

CaseName = Literal["fine", "hard", "unchanged", "incomplete"]
CASES: dict[CaseName, str] = {
    "fine": "fine objects, coarse labels",
    "hard": "hard objects, coarse labels",
    "unchanged": "hard objects, exact labels, which are to stay (STL)",
    "incomplete": "labels and truth with the same part cut out (SGA)",
}
PICTURE_SIDE = 160


class Case(NamedTuple):
    """label: (H, W) bool. truth: (H, W) float32, what it is to become. region: (H, W) bool that was cut out, or None.

    regrown_from: (H, W) bool, the labelled part of that region.
    """

    name: CaseName
    label: NDArray[np.bool_]
    truth: NDArray[np.float32]
    regrown_from: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class CaseFigures:
    """Means over the samples of a case; MSE times 1000 over the whole image.

    regrown: mean alpha of the converted matte where the label was cut out (0 is right); None where nothing was cut.
    """

    count: int
    label_mse: float
    converted_mse: float
    regrown: float | None = None

    @property
    def ratio(self) -> float:
        """Converted over label; infinite when the label has no error."""
        if self.label_mse:
            return self.converted_mse / self.label_mse
        return float("inf") if self.converted_mse else 1.0


def cases_of(name: str, alpha: NDArray[np.float32], *, fine: bool) -> list[Case]:
    """The labels that are made of a matte, always the same for a name.

    alpha: (H, W) float32. fine: whether it is of a fine object.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    label = synthesize_coarse_label(alpha, rng) > 0.5
    cases = [Case("fine" if fine else "hard", label, alpha)]
    region = draw_regions(label, rng, SgaConfig(probability=1.0))
    if region is not None:
        cut = np.where(region, np.float32(0), alpha)
        cases.append(Case("incomplete", label & ~region, cut, label & region))
    if not fine:
        exact = alpha > 0.5
        cases.append(Case("unchanged", exact, exact.astype(np.float32)))
    return [case for case in cases if case.label.any()]


def measure(
    converter: Converter,
    folder: str | Path,
    *,
    limit: int | None = None,
    picture: str | Path | None = None,
    progress: bool = True,
) -> dict[CaseName, CaseFigures]:
    """Figures of a converter on `fine/` and `coarse/` folders of `image/ + alpha/`.

    Args:
        folder: what `python -m training.data.scenes --export` writes.
        limit: at most this many pairs of each of the two folders.
        picture: PNG of a few samples of each case: image, label, converted, truth.

    Raises:
        DataError: there are no such pairs.
    """
    samples = list(FolderDataset(folder))
    chosen = [item for tag in ("fine", "coarse") for item in _some(samples, tag, limit)]
    if not chosen:
        raise DataError(f"{folder}: expected fine/ and coarse/ folders of image/ + alpha/, found neither")
    rows: dict[CaseName, list[tuple[float, float, float]]] = {name: [] for name in CASES}
    shown: dict[CaseName, list[NDArray[np.uint8]]] = {name: [] for name in CASES}
    for sample in tqdm(chosen, desc="measuring", unit="pair", disable=not progress):
        image, alpha = sample.load()
        cases = cases_of(sample.id, alpha, fine=sample.tag == "fine")
        mattes = convert_labels(converter, image, [case.label for case in cases])
        for case, matte in zip(cases, mattes, strict=True):
            converted = matte.full((alpha.shape[0], alpha.shape[1]))
            regrown = 0.0 if case.regrown_from is None else float(converted[case.regrown_from].mean())
            rows[case.name].append((_mse(case.label, case.truth), _mse(converted, case.truth), regrown))
            if picture is not None and len(shown[case.name]) < 12:
                shown[case.name].append(_strip(image, case, converted))
    if picture is not None:
        save_png(picture, np.concatenate([_column(strips) for strips in shown.values() if strips], axis=1))
    return {name: _figures(name, found) for name, found in rows.items() if found}


def as_json(figures: dict[CaseName, CaseFigures]) -> dict[str, Any]:
    """Figures with their ratios, as JSON carries them."""
    return {
        name: {**asdict(case), "ratio": case.ratio if np.isfinite(case.ratio) else None}
        for name, case in figures.items()
    }


def table(runs: dict[str, dict[CaseName, CaseFigures]]) -> str:
    """Markdown: one line a case and run."""
    lines = [
        "| case | converter | labels | MSE label | MSE converted | ratio | regrown |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, title in CASES.items():
        for run, figures in runs.items():
            case = figures.get(name)
            if case is not None:
                regrown = "" if case.regrown is None else f"{case.regrown:.3f}"
                lines.append(
                    f"| {title} | {run} | {case.count} | {case.label_mse:.3f} | {case.converted_mse:.3f} "
                    f"| {case.ratio:.3f} | {regrown} |"
                )
    return "\n".join(lines)


def _some(samples: Sequence[MattingSample], tag: str, limit: int | None) -> list[MattingSample]:
    return evenly_spaced([sample for sample in samples if sample.tag == tag], limit)


def _figures(name: CaseName, rows: list[tuple[float, float, float]]) -> CaseFigures:
    label, converted, regrown = (float(value) for value in np.mean(rows, axis=0))
    return CaseFigures(
        count=len(rows),
        label_mse=label,
        converted_mse=converted,
        regrown=regrown if name == "incomplete" else None,
    )


def _mse(matte: NDArray[np.generic], truth: NDArray[np.float32]) -> float:
    return float(np.mean((matte.astype(np.float64) - truth) ** 2)) * 1000


def _strip(image: NDArray[np.uint8], case: Case, converted: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Image, label, converted and truth around the label, side by side."""
    window = window_around(case.label, PICTURE_SIDE, 0.3)
    greys = [case.label.astype(np.float32), converted, case.truth]
    cut = [np.clip(np.asarray(window.cut(grey, PICTURE_SIDE), np.float32), 0, 1) for grey in greys]
    pictures = [np.repeat((grey * 255 + 0.5).astype(np.uint8)[..., None], 3, 2) for grey in cut]
    return np.concatenate([np.asarray(window.cut(image, PICTURE_SIDE), np.uint8), *pictures], axis=1)


def _column(strips: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = 12 * PICTURE_SIDE
    column = np.concatenate(strips, axis=0)
    return np.pad(column, ((0, height - len(column)), (0, 8), (0, 0)), constant_values=255)
