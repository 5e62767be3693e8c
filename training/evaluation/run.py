"""One evaluation: models and prompts over one data set or several, item by item."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from zim.errors import ConfigError
from zim.evaluation.benchmark import BOX_ROW, DEFAULT_LONG_SIDE, EMPTY_ROW, TRUTH_ROW, run_benchmark
from zim.evaluation.machine import describe_machine, now
from zim.evaluation.prompt_rules import PromptRule
from zim.evaluation.results import SAM_SUFFIXES, BenchmarkResult
from zim.evaluation.samples import evenly_spaced
from zim.protocol import Predictor

from ..readers.quarantine import Quarantine, QuarantinedItem
from ..readers.reader import Reader
from ..readers.records import MatteRecord, SegmentRecord
from .exclusion import Exclusion
from .journal import Item, Journal
from .samples import ObjectRule, samples_of


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A reader under a name of its own; no two of one evaluation share a name."""

    name: str
    reader: Reader[Any]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is asked of every model, and about what.

    limit: at most this many items of each reader, evenly spaced. objects: which masks of a segmentation count.
    long_side: photographs and truths are first shrunk to it. pictures: lines of the contact sheet.
    """

    prompt: PromptRule = PromptRule("box")
    limit: int | None = None
    objects: ObjectRule = ObjectRule()
    exclusion: Exclusion = Exclusion()
    long_side: int | None = DEFAULT_LONG_SIDE
    pictures: int = 0


@dataclass(kw_only=True)
class Evaluation:
    """What a run found.

    whole: all objects of all data sets. sets: the same by data set. quarantined: what could not be read.
    excluded: (data set, key, why). items: how many were looked at.
    """

    whole: BenchmarkResult
    sets: dict[str, BenchmarkResult]
    items: int = 0
    quarantined: list[QuarantinedItem] = field(default_factory=list)
    excluded: list[tuple[str, str, str]] = field(default_factory=list)


def evaluate(
    data_sets: Sequence[DataSet],
    predictors: dict[str, Predictor],
    rules: Rules,
    journal: Journal,
    *,
    progress: bool = False,
    command: str = "",
) -> Evaluation:
    """Ask every predictor about every object of every data set; what the journal knows is not asked again.

    The few items of the contact sheet are asked again when pictures of them are wanted: a journal holds numbers.

    Raises:
        ConfigError: no data set, or two of one name.
    """
    names = [data_set.name for data_set in data_sets]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"data_sets: expected different names, at least one, got {names}")
    work = [
        (data_set, index) for data_set in data_sets for index in evenly_spaced(range(len(data_set.reader)), rules.limit)
    ]
    pictured = set(evenly_spaced(range(len(work)), rules.pictures)) if rules.pictures else set()
    run = _Run(predictors, rules, journal, _empty_result(data_sets, predictors, rules, command), names)
    for place, (data_set, index) in enumerate(tqdm(work, desc="evaluate", unit="item", disable=not progress)):
        run.take(data_set, index, picture=place in pictured)
    return run.finished()


def _empty_result(
    data_sets: Sequence[DataSet], predictors: dict[str, Predictor], rules: Rules, command: str
) -> BenchmarkResult:
    sizes = [f"{data_set.reader.name} {data_set.name}" for data_set in data_sets]
    return BenchmarkResult(
        dataset=", ".join(sizes),
        prompt_rule=str(rules.prompt),
        long_side=rules.long_side,
        date=now(),
        command=command,
        machine=describe_machine(),
        sample_count=0,
    )


class _Run:
    """The growing evaluation."""

    def __init__(
        self,
        predictors: dict[str, Predictor],
        rules: Rules,
        journal: Journal,
        empty: BenchmarkResult,
        names: Sequence[str],
    ) -> None:
        self.predictors, self.rules, self.journal = predictors, rules, journal
        self.prefixed = len(names) > 1
        sets = {name: _copy_of(empty, name) for name in names}
        self.evaluation = Evaluation(whole=_copy_of(empty, empty.dataset), sets=sets)
        for result in (self.evaluation.whole, *sets.values()):
            result.row_names, result.trivial_names = row_names(predictors, rules.prompt)

    def take(self, data_set: DataSet, index: int, *, picture: bool) -> None:
        """One record: from the journal, or measured."""
        quarantine = Quarantine()
        item: Item | None = None
        try:
            key = data_set.reader[index].key
        except Exception:  # an entry so broken that it has no record: the quarantine says why
            key = f"{data_set.reader.name}[{index}]"
        else:
            item = self.journal.known(data_set.name, index, key)
        if item is None or (picture and item.outcome == "measured"):
            measured = self._measure(data_set, index, key, quarantine, picture=picture)
            if item is None:
                self.journal.add(measured)
                item = measured
        self._count(item)

    def _measure(self, data_set: DataSet, index: int, key: str, quarantine: Quarantine, *, picture: bool) -> Item:
        item = Item(data_set=data_set.name, index=index, key=key, outcome="measured")
        name = self.rules.exclusion.by_name(key)
        loaded = None if name else quarantine.load(data_set.reader, index)
        if loaded is not None:
            record, pixels = loaded
            name = self.rules.exclusion.by_name(key, [record.image_name]) or self.rules.exclusion.by_look(pixels[0])
        if name:
            item.outcome, item.reason = "excluded", name
        elif loaded is None:
            item.outcome, item.quarantined = "quarantined", quarantine.items
        else:
            self._ask(item, loaded, picture=picture)
        return item

    def _ask(self, item: Item, loaded: tuple[MatteRecord | SegmentRecord, Any], *, picture: bool) -> None:
        prefix = f"{item.data_set}/" if self.prefixed else ""
        samples = list(samples_of(*loaded, self.rules.objects, prefix))
        if not samples:
            return
        found = run_benchmark(
            samples,
            self.predictors,
            self.rules.prompt,
            long_side=self.rules.long_side,
            gallery_size=1 if picture else 0,
        )
        item.rows, item.failures = found.rows, found.failures
        self.evaluation.whole.gallery += found.gallery

    def _count(self, item: Item) -> None:
        evaluation = self.evaluation
        evaluation.items += 1
        evaluation.quarantined += item.quarantined
        if item.outcome == "excluded":
            evaluation.excluded.append((item.data_set, item.key, item.reason))
        samples = {row.sample for row in item.rows} | {failure.sample for failure in item.failures}
        for result in (evaluation.whole, evaluation.sets[item.data_set]):
            result.rows += item.rows
            result.failures += item.failures
            result.sample_count += len(samples)

    def finished(self) -> Evaluation:
        """The evaluation."""
        return self.evaluation


def row_names(predictors: dict[str, Predictor], prompt: PromptRule) -> tuple[list[str], list[str]]:
    """The rows of these models and the trivial ones after them, as the benchmark names them; and the trivial ones.

    Raises:
        ConfigError: two rows have one name.
    """
    trivial = [EMPTY_ROW, *([BOX_ROW] if prompt.kind == "box" else []), TRUTH_ROW]
    rows = [
        name + suffix
        for name, predictor in predictors.items()
        for suffix in (SAM_SUFFIXES if getattr(predictor, "reports_binary", False) else ("",))
    ] + trivial
    if len(set(rows)) < len(rows):
        raise ConfigError(f"models: expected different names that no trivial row has, got {rows}")
    return rows, trivial


def _copy_of(empty: BenchmarkResult, name: str) -> BenchmarkResult:
    return dataclasses.replace(empty, dataset=name, rows=[], failures=[], gallery=[], row_names=[], trivial_names=[])
