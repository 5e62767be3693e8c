"""Benchmark of matting predictors on photos with true alphas.

`python -m zim.evaluation.benchmark --dataset folder --root DIR --models zim_tiny,grabcut --prompt box`

Every model gets the same photo and the same prompt, and every alpha comes through `zim.alpha.predict_alpha`.
Predictors that answer with binary masks by design (their attribute `reports_binary` is True: the SAM family)
have two rows of one forward pass: "(binary)", logits > 0, and "(sigmoid)". A model that fails on a sample is
recorded as a failure, never left out silently.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.alpha import predict_alpha
from zim.errors import ConfigError, DataError, ZimError
from zim.evaluation.datasets import FolderDataset, MicroMat3kDataset
from zim.evaluation.figure import save_figure, thumbnail
from zim.evaluation.loader import LoadPredictor, default_loader
from zim.evaluation.machine import describe_machine, now, timed, use_threads
from zim.evaluation.model_errors import blaming_model
from zim.evaluation.prompt_rules import PromptRule, scale_prompt
from zim.evaluation.report import json_report, markdown_report, text_report
from zim.evaluation.results import SAM_SUFFIXES, BenchmarkResult, Failure, GalleryEntry, ImageRow
from zim.evaluation.samples import MattingSample, downsize, evenly_spaced, size_bucket
from zim.evaluation.scoring import Truth, score
from zim.files import write_json_atomic, write_text_atomic
from zim.prompts import Prompt
from zim.protocol import Predictor

EMPTY_ROW, BOX_ROW, TRUTH_ROW = "empty", "box", "thresholded truth"
DEFAULT_LONG_SIDE = 1024
GALLERY_SIZE = 8


def run_benchmark(
    dataset: Sequence[MattingSample],
    predictors: dict[str, Predictor],
    prompt_rule: PromptRule | str = "box",
    *,
    long_side: int | None = DEFAULT_LONG_SIDE,
    gallery_size: int = 0,
    progress: bool = False,
    dataset_name: str = "dataset",
    command: str = "",
) -> BenchmarkResult:
    """Ask every predictor about every sample and measure the answers.

    Args:
        dataset: Samples; one that cannot be read or asked about becomes a failure of the row "dataset".
        predictors: Row name -> predictor.
        prompt_rule: box, point or points:N; prompts stored with a sample win over the rule. The trivial row
            "box", the filled prompt box, exists for box prompts only.
        long_side: Photo and alpha are first shrunk together to this long side; None keeps every size.
        gallery_size: Keep small pictures of this many samples, evenly chosen, for the figure.
        progress: Show a progress bar.

    Raises:
        ValueError: an empty dataset, no prompt rule of that name, or a row name used twice or reserved.
    """
    if not len(dataset):
        raise ValueError("dataset: expected at least one sample, got none")
    run = _Run(
        predictors,
        PromptRule.parse(prompt_rule) if isinstance(prompt_rule, str) else prompt_rule,
        long_side,
        gallery=set(evenly_spaced(range(len(dataset)), gallery_size)) if gallery_size else set(),
        result=BenchmarkResult(
            dataset=dataset_name,
            prompt_rule=str(prompt_rule),
            long_side=long_side,
            date=now(),
            command=command,
            machine=describe_machine(),
            sample_count=len(dataset),
        ),
    )
    for index, sample in enumerate(tqdm(dataset, desc="benchmark", unit="image", disable=not progress)):
        run.measure(index, sample)
    return run.result


class _Run:
    """One run's predictors and its growing result."""

    def __init__(
        self,
        predictors: dict[str, Predictor],
        rule: PromptRule,
        long_side: int | None,
        *,
        gallery: set[int],
        result: BenchmarkResult,
    ) -> None:
        self.predictors = predictors
        self.rule = rule
        self.long_side = long_side
        self.gallery = gallery
        self.result = result
        self._photo_of: dict[str, Path] = {}  # several samples share a photo: embed it once
        result.trivial_names = [EMPTY_ROW, *([BOX_ROW] if rule.kind == "box" else []), TRUTH_ROW]
        result.row_names = [
            row for name, p in predictors.items() for row in _rows_of(name, p)
        ] + result.trivial_names
        if len(set(result.row_names)) < len(result.row_names):
            raise ValueError(
                f"predictors: expected distinct names that no trivial row has, got {result.row_names}"
            )

    def measure(self, index: int, sample: MattingSample) -> None:
        """All rows of one sample."""
        try:
            full_image, full_alpha = sample.load()
            image, alpha = downsize(full_image, full_alpha, self.long_side)
            scale = (image.shape[1] / full_image.shape[1], image.shape[0] / full_image.shape[0])
            stored = None if sample.prompt is None else scale_prompt(sample.prompt, scale)
            prompt = self.rule.prompt(alpha, stored)
        except ZimError as error:
            self.result.failures.append(Failure(row="dataset", sample=sample.id, message=str(error)))
            return
        answers: dict[str, NDArray] = {}
        truth = Truth.of(alpha)
        for name in self.predictors:
            answers |= self._ask(name, sample, image, prompt, truth)
        for row, answer in _trivial_answers(self.result.trivial_names, alpha, prompt).items():
            self._record(row, sample, score(answer, truth), truth)
            answers[row] = answer
        if index in self.gallery:
            self._keep(sample, image, alpha, prompt, answers)

    def _ask(
        self, name: str, sample: MattingSample, image: NDArray[np.uint8], prompt: Prompt, truth: Truth
    ) -> dict[str, NDArray]:
        """One predictor's rows on one sample: row name -> alpha; nothing when it failed."""
        predictor = self.predictors[name]
        try:
            seconds = None
            if self._photo_of.get(name) != sample.image_path:
                self._photo_of.pop(name, None)
                _, seconds = timed(lambda: predictor.set_image(image))
                self._photo_of[name] = sample.image_path
            alpha, prompt_seconds = timed(lambda: predict_alpha(predictor, **_given(prompt)))
            rows = _rows_of(name, predictor)
            answers = {rows[0]: alpha} if len(rows) == 1 else {rows[0]: alpha > 0.5, rows[1]: alpha}
            scores = {row: score(answer, truth) for row, answer in answers.items()}
        except Exception as error:  # any model may raise anything, and the table must say so
            self._photo_of.pop(name, None)
            message = f"{type(error).__name__}: {error}"
            self.result.failures += [
                Failure(row=row, sample=sample.id, message=message) for row in _rows_of(name, predictor)
            ]
            return {}
        for row in rows:
            self._record(row, sample, scores[row], truth, seconds, prompt_seconds)
        return answers

    def _record(
        self,
        row: str,
        sample: MattingSample,
        scores: dict[str, float],
        truth: Truth,
        set_image_seconds: float | None = None,
        prompt_seconds: float | None = None,
    ) -> None:
        self.result.rows.append(
            ImageRow(
                row=row,
                sample=sample.id,
                tag=sample.tag,
                size=size_bucket(truth.alpha),
                scores=scores,
                set_image_seconds=set_image_seconds,
                prompt_seconds=prompt_seconds,
            )
        )

    def _keep(
        self,
        sample: MattingSample,
        image: NDArray[np.uint8],
        alpha: NDArray[np.float32],
        prompt: Prompt,
        answers: dict[str, NDArray],
    ) -> None:
        small_image, small_truth = thumbnail(image, alpha)
        scale = (small_image.shape[1] / image.shape[1], small_image.shape[0] / image.shape[0])
        self.result.gallery.append(
            GalleryEntry(
                sample=sample.id,
                image=small_image,
                truth=small_truth,
                prompt=scale_prompt(prompt, scale),
                alphas={
                    row: thumbnail(image, answer.astype(np.float32))[1] for row, answer in answers.items()
                },
                mse={r.row: r.scores["mse"] for r in self.result.rows if r.sample == sample.id},
            )
        )


def _rows_of(name: str, predictor: Predictor) -> list[str]:
    return (
        [name + suffix for suffix in SAM_SUFFIXES] if getattr(predictor, "reports_binary", False) else [name]
    )


def _given(prompt: Prompt) -> dict[str, Any]:
    """The prompt's arguments that are set."""
    return {key: value for key, value in prompt.as_kwargs().items() if value is not None}


def _trivial_answers(
    names: list[str], alpha: NDArray[np.float32], prompt: Prompt
) -> dict[str, NDArray[np.bool_]]:
    """Masks, (H, W) bool, that need no model: nothing, the filled box, and the truth without its softness."""
    answers = {EMPTY_ROW: np.zeros(alpha.shape, dtype=bool), TRUTH_ROW: alpha > 0.5}
    if prompt.box is not None and BOX_ROW in names:
        x1, y1, x2, y2 = (max(0, int(v)) for v in np.floor(prompt.box))
        filled = np.zeros(alpha.shape, dtype=bool)
        filled[y1 : y2 + 1, x1 : x2 + 1] = True
        answers[BOX_ROW] = filled
    return answers


def main(arguments: Sequence[str] | None = None, *, load: LoadPredictor | None = None) -> int:
    """The command line; `load(name, device=...)` makes a predictor (`zim.load_predictor` when not given).

    Returns:
        The exit code: 0, or 1 after a one-line error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        result = _run_from(options, "python -m zim.evaluation.benchmark " + shlex.join(given), load)
        print(text_report(result))
        _write_files(result, options)
        if not result.rows:
            raise DataError(f"dataset: none of its {result.sample_count} samples could be measured")
        _refuse_total_failure(result)
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _refuse_total_failure(result: BenchmarkResult) -> None:
    """A row without a single answer is written out, and an error all the same."""
    answered = {row.row for row in result.rows}
    for name in result.row_names:
        failures = [failure for failure in result.failures if failure.row == name]
        if failures and name not in answered:
            raise DataError(f"models: {name} failed on every sample, first with {failures[0].message}")


def _loaded(load: LoadPredictor, name: str, device: str) -> Predictor:
    """A predictor, or a `ModelError` that names it, whatever a factory of somebody else's raised."""
    with blaming_model(name, "to load"):
        return load(name, device=device)


def _run_from(options: argparse.Namespace, command: str, load: LoadPredictor | None) -> BenchmarkResult:
    use_threads(options.threads)
    rule = PromptRule.parse(options.prompt)
    reader = FolderDataset if options.dataset == "folder" else MicroMat3kDataset
    dataset = reader(options.root, limit=options.limit)
    load = load or default_loader()
    names = [name.strip() for name in options.models.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"--models: expected at least one name, got {options.models!r}")
    return run_benchmark(
        dataset,
        {name: _loaded(load, name, options.device) for name in names},
        rule,
        long_side=options.long_side or None,
        gallery_size=GALLERY_SIZE if options.figure else 0,
        progress=True,
        dataset_name=f"{options.dataset} {Path(options.root).name}",
        command=command,
    )


def _write_files(result: BenchmarkResult, options: argparse.Namespace) -> None:
    if options.json:
        write_json_atomic(options.json, json_report(result))
    if options.markdown:
        write_text_atomic(options.markdown, markdown_report(result))
    if options.figure and result.gallery:
        models = [row for row in result.row_names if row not in result.trivial_names]
        save_figure(result.gallery, models, options.figure)
    for path in (options.json, options.markdown, options.figure):
        if path and Path(path).is_file():
            print(f"wrote {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zim.evaluation.benchmark", description=__doc__)
    parser.add_argument("--dataset", choices=("folder", "micromat3k"), default="folder")
    parser.add_argument("--root", required=True, help="the dataset's folder")
    parser.add_argument(
        "--models", required=True, help="comma-separated names or paths that zim.load_predictor answers"
    )
    parser.add_argument(
        "--prompt", default="box", help="box, point or points:N (micromat3k: the stored prompts)"
    )
    parser.add_argument("--limit", type=int, help="at most this many samples, evenly spaced")
    parser.add_argument(
        "--long-side", type=int, default=DEFAULT_LONG_SIDE, help="shrink to this first; 0 keeps the size"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", help="write everything here, per-image rows included")
    parser.add_argument("--figure", help="write a contact sheet (PNG) here")
    parser.add_argument("--markdown", help="write the table here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
