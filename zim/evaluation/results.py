"""What a benchmark run found: one row per model and sample, and the averages and ratios of these rows."""

from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.evaluation.samples import SizeBucket, Tag
from zim.evaluation.scoring import LOWER_IS_BETTER, SCORE_NAMES
from zim.prompts import Prompt

SPLITS = ("all", "fine", "coarse", "S", "M", "L")
SAM_SUFFIXES = (" (binary)", " (sigmoid)")
GRABCUT = "grabcut"


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One row's numbers on one sample. `row` is a model's name, with a suffix where a model has two rows."""

    row: str
    sample: str
    tag: Tag | None
    size: SizeBucket
    scores: dict[str, float]
    set_image_seconds: float | None = None
    prompt_seconds: float | None = None

    def belongs_to(self, split: str) -> bool:
        return split in ("all", self.tag, self.size)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A model that gave no usable answer, or (row "dataset") a sample that could not be asked about."""

    row: str
    sample: str
    message: str


@dataclass(frozen=True, kw_only=True)
class GalleryEntry:
    """A line of the contact sheet: photo (h, w, 3) uint8, truth and alphas (h, w) float32 in [0, 1]."""

    sample: str
    image: NDArray[np.uint8]
    truth: NDArray[np.float32]
    prompt: Prompt
    alphas: dict[str, NDArray[np.float32]]
    mse: dict[str, float]


@dataclass(kw_only=True)
class BenchmarkResult:
    """All rows of a run, in the order of `row_names`; `trivial_names` are the rows that need no model."""

    dataset: str
    prompt_rule: str
    long_side: int | None
    date: str
    command: str
    machine: dict[str, Any]
    sample_count: int
    row_names: list[str] = field(default_factory=list)
    trivial_names: list[str] = field(default_factory=list)
    rows: list[ImageRow] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    gallery: list[GalleryEntry] = field(default_factory=list)

    def rows_of(self, row: str, split: str = "all") -> list[ImageRow]:
        """The rows of one model in one split (all, fine, coarse, S, M, L)."""
        return [r for r in self.rows if r.row == row and r.belongs_to(split)]

    def mean(self, row: str, score: str, split: str = "all") -> float:
        """The mean of one score of one row.

        Raises:
            KeyError: there is no such number.
        """
        value = self.aggregate(row, split).get(score)
        if value is None:
            raise KeyError(
                f"no {score!r} of row {row!r} in split {split!r}; rows: {', '.join(self.row_names)}"
            )
        return value

    def aggregate(self, row: str, split: str = "all") -> dict[str, Any]:
        """`count`, the mean of every score, and the medians of both times, of one row in one split."""
        rows = self.rows_of(row, split)
        numbers: dict[str, Any] = {"count": len(rows), "failures": sum(f.row == row for f in self.failures)}
        if split != "all":
            del numbers["failures"]  # a failed sample need not have got as far as its split
        for name in SCORE_NAMES:
            values = [r.scores[name] for r in rows if name in r.scores]
            if values:
                numbers[name] = fmean(values)
        for name in ("set_image_seconds", "prompt_seconds"):
            seconds = [value for r in rows if (value := getattr(r, name)) is not None]
            if seconds:
                numbers[f"median_{name}"] = median(seconds)
        return numbers

    def aggregates(self) -> dict[str, dict[str, dict[str, Any]]]:
        """split -> row -> numbers, for every split that has a sample."""
        splits = [split for split in SPLITS if any(r.belongs_to(split) for r in self.rows)]
        return {split: {row: self.aggregate(row, split) for row in self.row_names} for split in splits}

    def ratios(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Error of each model divided by a reference's: reference -> row -> split -> score -> ratio, below 1
        is better.

        The references are GrabCut and, for every SAM, the better of its binary and sigmoid rows, chosen score
        by score. Both sides are averaged over the samples that both answered.
        """
        references = {f"{name} (better row)": [name + s for s in SAM_SUFFIXES] for name in self.sam_names()}
        if GRABCUT in self.row_names:
            references[GRABCUT] = [GRABCUT]
        models = [row for row in self.row_names if row not in self.trivial_names]
        splits = [split for split in SPLITS if any(r.belongs_to(split) for r in self.rows)]
        return {
            label: {
                row: {split: self._ratio(row, against, split) for split in splits}
                for row in models
                if row not in against
            }
            for label, against in references.items()
        }

    def sam_names(self) -> list[str]:
        """Models that have a binary and a sigmoid row."""
        binary, sigmoid = SAM_SUFFIXES
        bases = [row.removesuffix(binary) for row in self.row_names if row.endswith(binary)]
        return [base for base in bases if base + sigmoid in self.row_names]

    def _ratio(self, row: str, against: list[str], split: str) -> dict[str, float]:
        mine = {r.sample: r.scores for r in self.rows_of(row, split)}
        others = [{r.sample: r.scores for r in self.rows_of(name, split)} for name in against]
        common = [sample for sample in mine if all(sample in other for other in others)]
        ratios = {}
        for name in LOWER_IS_BETTER:
            shared = [sample for sample in common if name in mine[sample]]
            if not shared:
                continue
            best = min(fmean(other[sample][name] for sample in shared) for other in others)
            if best > 0:
                ratios[name] = fmean(mine[sample][name] for sample in shared) / best
        return ratios
