"""Any data set with any model, tables as in the paper: `python -m training.evaluate`.

    python -m training.evaluate --dataset micromat3k --root MICROMAT --models zim_tiny,sam_tiny --prompt box \\
        --json out.json --markdown out.md --figure out.png
    python -m training.evaluate --dataset label_folder --root SET_A SET_B --models zim_tiny,sam_tiny --prompt point
    python -m training.evaluate --dataset am2k --root AM2K --split test --exclude DEVELOPMENT_FOLDER \\
        --models zim_tiny,other.package:factory --prompt points:9

With segmentation sets every mask is an object of its own; `--prompt point` is SAM's protocol: one click at the pixel
farthest from the mask's outline, mean IoU over objects and over data sets. An interrupted run goes on when the same
command is given again: what was measured is in OUT.journal.jsonl beside OUT.json.
"""

import argparse
import hashlib
import inspect
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zim.errors import ConfigError, DataError, ZimError
from zim.evaluation.benchmark import DEFAULT_LONG_SIDE, GALLERY_SIZE
from zim.evaluation.figure import save_figure
from zim.evaluation.loader import LoadPredictor, default_loader
from zim.evaluation.machine import use_threads
from zim.evaluation.model_errors import blaming_model
from zim.evaluation.prompt_rules import PromptRule
from zim.evaluation.results import SAM_SUFFIXES, BenchmarkResult
from zim.files import write_json_atomic, write_text_atomic
from zim.protocol import Predictor
from zim.registry import shipped_weights

from .evaluation.curve import SCORE_NAMES, curves, draw, trainings_of
from .evaluation.exclusion import Exclusion
from .evaluation.journal import Journal
from .evaluation.most_confident import MostConfident
from .evaluation.report import json_value, markdown_text, summary
from .evaluation.run import DataSet, Evaluation, Rules, evaluate
from .evaluation.samples import ObjectRule
from .readers.registry import DATASETS, open_dataset


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--dataset",
        nargs="+",
        required=True,
        metavar="READER",
        help=f"one for all roots, or one each: {', '.join(DATASETS)}",
    )
    made.add_argument("--root", nargs="+", required=True, type=Path, metavar="DIR", help="folders of the data sets")
    made.add_argument("--split", help="only this split")
    made.add_argument("--models", required=True, help="comma-separated: what zim.load_predictor answers")
    made.add_argument("--prompt", default="box", help="box, point or points:N (micromat3k: the stored prompts)")
    made.add_argument("--multimask", action="store_true", help="ask for three masks and take the most confident")
    made.add_argument("--limit", type=int, help="at most this many items of each data set, evenly spaced")
    made.add_argument("--objects", type=int, help="at most this many masks of a photograph, evenly spaced")
    made.add_argument("--min-area", type=int, default=1, help="leave smaller masks out, in pixels")
    made.add_argument(
        "--pieces", action="store_true", help="a mask a connected piece of a label (label_folder, ade20k)"
    )
    made.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="FILE|DIR|NAMES",
        help="items that must not count: a list of names, a folder of pictures (recognised by name and by look), "
        "names, or 'development': what this project was developed with",
    )
    made.add_argument("--long-side", type=int, default=DEFAULT_LONG_SIDE, help="shrink to this first; 0 keeps the size")
    made.add_argument("--device", default="auto")
    made.add_argument("--threads", type=int, help="CPU threads")
    made.add_argument("--json", type=Path, help="write everything here, and the journal beside it")
    made.add_argument("--markdown", type=Path, help="write the tables here")
    made.add_argument("--figure", type=Path, help="write a contact sheet (PNG) here")
    made.add_argument("--curve", type=Path, help="write a learning curve (PNG) of the checkpoints among --models here")
    made.add_argument("--curve-score", choices=SCORE_NAMES, default="mse", help="what the curve shows")
    return made


def main(arguments: Sequence[str] | None = None, *, load: LoadPredictor | None = None) -> int:
    """The command line; `load(name, device=...)` makes a predictor (`zim.load_predictor` when not given).

    Returns:
        The exit code: 0; 1 after a one-line error; 130 when interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    try:
        use_threads(options.threads)
        rules, data_sets = rules_of(options), open_data_sets(options)
        names = [name.strip() for name in options.models.split(",") if name.strip()]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"--models: expected different names, at least one, got {options.models!r}")
        if options.curve and not trainings_of(names):
            raise ConfigError("--curve: expected checkpoints with a step in their metadata among --models, found none")
        settings = settings_of(options, rules, data_sets, names)
        journal = Journal(options.json and options.json.with_suffix(".journal.jsonl"), settings)
        predictors = {name: _loaded(name, options, load or default_loader()) for name in names}
        command = "python -m training.evaluate " + shlex.join(given)
        evaluation = evaluate(data_sets, predictors, rules, journal, progress=True, command=command)
        print(summary(evaluation))
        _write(evaluation, settings, names, options)
        _refuse_nothing(evaluation)
    except KeyboardInterrupt:
        print("evaluate: interrupted; with --json the same command goes on", file=sys.stderr)
        return 130
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"evaluate: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def rules_of(options: argparse.Namespace) -> Rules:
    """What is asked.

    Raises:
        ConfigError: a number below 1, or an impossible `--exclude`.
        ValueError: no such prompt.
    """
    for name in ("limit", "objects", "min_area"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')}: expected a number >= 1, got {value}")
    return Rules(
        prompt=PromptRule.parse(options.prompt),
        limit=options.limit,
        objects=ObjectRule(min_area=options.min_area, most=options.objects),
        exclusion=Exclusion.parse(options.exclude),
        long_side=options.long_side or None,
        pictures=GALLERY_SIZE if options.figure else 0,
    )


def open_data_sets(options: argparse.Namespace) -> list[DataSet]:
    """The readers of all roots, named after their folders (and numbered where two have one name).

    Raises:
        ConfigError: neither one reader nor one a root, no such reader or split, or one without `--pieces`.
        DataError: a layout is not there or has a fault.
    """
    readers = options.dataset * len(options.root) if len(options.dataset) == 1 else options.dataset
    if len(readers) != len(options.root):
        raise ConfigError(
            f"--dataset: expected one reader, or one for each of {len(options.root)} roots, got {readers}"
        )
    found: list[DataSet] = []
    for name, root in zip(readers, options.root, strict=True):
        extra = {"pieces": True} if options.pieces else {}
        if extra and name in DATASETS and "pieces" not in inspect.signature(DATASETS[name].__init__).parameters:
            raise ConfigError(f"--pieces: expected a reader with label maps, got {name}")
        reader = open_dataset(name, root, options.split, **extra)
        own = root.resolve().name
        taken = sum(data_set.name.rpartition(" ")[0] == own or data_set.name == own for data_set in found)
        found.append(DataSet(name=f"{own} {taken + 1}" if taken else own, reader=reader))
    return found


def settings_of(
    options: argparse.Namespace, rules: Rules, data_sets: Sequence[DataSet], names: Sequence[str]
) -> dict[str, Any]:
    """Everything that the numbers depend on; weights by their checksum."""
    return {
        "data_sets": {
            data_set.name: [data_set.reader.name, str(data_set.reader.root.resolve()), len(data_set.reader)]
            for data_set in data_sets
        },
        "split": options.split,
        "models": {name: model_fingerprint(name) for name in names},
        "prompt": str(rules.prompt),
        "multimask": options.multimask,
        "limit": rules.limit,
        "objects": options.objects,
        "min_area": options.min_area,
        "pieces": options.pieces,
        "long_side": rules.long_side,
        "exclude": rules.exclusion.fingerprint,
    }


def model_fingerprint(name: str) -> str:
    """The sha256 of a model's weights where there are some; else empty."""
    shipped = shipped_weights()
    if name in shipped:
        return shipped[name].sha256
    path = Path(name)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _loaded(name: str, options: argparse.Namespace, load: LoadPredictor) -> Predictor:
    with blaming_model(name, "to load"):
        predictor = load(name, device=options.device)
    return MostConfident(predictor) if options.multimask else predictor


def _write(evaluation: Evaluation, settings: dict[str, Any], names: Sequence[str], options: argparse.Namespace) -> None:
    whole = evaluation.whole
    models = [row for row in whole.row_names if row not in whole.trivial_names]
    written: list[Path] = []
    if options.json:
        write_json_atomic(options.json, json_value(evaluation, settings))
        written.append(options.json)
    if options.markdown:
        write_text_atomic(options.markdown, markdown_text(evaluation))
        written.append(options.markdown)
    if options.figure and whole.gallery:
        save_figure(whole.gallery, models, options.figure)
        written.append(options.figure)
    if options.curve:
        _write_curve(whole, names, options)
        written.append(options.curve)
    for path in written:
        print(f"wrote {path}")


def _write_curve(whole: BenchmarkResult, names: Sequence[str], options: argparse.Namespace) -> None:
    """The checkpoints' curve; models without a step are dotted lines beside it."""
    trainings, score = trainings_of(names), options.curve_score
    left = [name for name in names if name not in trainings]
    flat = [
        (row, whole.mean(row, score))
        for name in left
        for row in (name, *(name + suffix for suffix in SAM_SUFFIXES))
        if score in whole.aggregate(row)
    ]
    title = f"{whole.dataset}, prompt {whole.prompt_rule}"
    draw(curves(whole, trainings, score), score, options.curve, title=title, others=flat)
    if left:
        print(f"curve: no step in the metadata of {', '.join(left)}: dotted")


def _refuse_nothing(evaluation: Evaluation) -> None:
    """An evaluation without any number, or a model without any answer, is an error after all was written."""
    whole = evaluation.whole
    if not whole.rows:
        raise DataError(
            f"nothing was measured: {evaluation.items} items, {len(evaluation.quarantined)} quarantined, "
            f"{len(evaluation.excluded)} excluded, {len(whole.failures)} failures"
        )
    answered = {row.row for row in whole.rows}
    for failure in whole.failures:
        if failure.row in whole.row_names and failure.row not in answered:
            raise DataError(f"models: {failure.row} failed on every object, first with {failure.message}")


if __name__ == "__main__":
    sys.exit(main())
