"""Compare predictors inside an adapter.

`python -m adapters.benchmark matte_anything --predictors zim_tiny,sam_tiny --json OUT.json --figure OUT.png`

Without `--data` an adapter generates its own scenes (`--seed` for others than those of seed 0) and is done in under two
minutes on a CPU.
"""

import argparse
import importlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from zim import load_predictor
from zim.errors import ConfigError, DataError, MissingDependencyError, ZimError
from zim.evaluation.machine import describe_machine, machine_line, now, use_threads
from zim.files import write_json_atomic, write_text_atomic
from zim.protocol import Predictor

from .comparison import Comparison, json_table, markdown_table, text_table
from .comparison_figure import save_comparison_figure

ADAPTERS = ("matte_anything", "hq_sam", "inpaint_anything", "medical_volume", "multiview_3d")
"""Adapters with a comparison: `adapters.NAME.benchmark.compare`."""

MAX_SEED = 9999
"""Largest seed of generated scenes; volumes that models were trained on begin far above it."""

GENERATE_WITH_DATA = ("inpaint_anything",)
"""Adapters whose `--data` are backgrounds only, so that objects are generated all the same."""


class Compare(Protocol):
    """What an adapter's `benchmark` module offers as `compare`."""

    def __call__(
        self,
        predictors: Mapping[str, Predictor],
        *,
        data: Path | None,
        limit: int | None,
        progress: bool,
        seed: int = 0,
    ) -> Comparison:
        """Measure every predictor on the same samples and prompts.

        predictors: row name -> predictor. data: a folder in the adapter's layout; None generates scenes with `seed`.
        limit: at most this many samples; None takes the adapter's own number. progress: show a bar.

        Raises:
            DataError: the folder has no usable samples.
        """
        ...


def comparison_of(name: str) -> Compare:
    """The comparison of an adapter.

    Raises:
        ConfigError: there is no such adapter.
    """
    if name not in ADAPTERS:
        raise ConfigError(f"adapter: expected one of {', '.join(ADAPTERS)}, got {name!r}")
    compare: Compare = importlib.import_module(f".{name}.benchmark", __package__).compare
    return compare


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0, or 1 after a one-line error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        use_threads(options.threads)
        if options.limit is not None and options.limit < 1:
            raise ConfigError(f"--limit: expected at least 1, got {options.limit}")
        if not 0 <= options.seed <= MAX_SEED:
            raise ConfigError(f"--seed: expected a number from 0 to {MAX_SEED}, got {options.seed}")
        if options.data is not None and options.seed and options.adapter not in GENERATE_WITH_DATA:
            raise ConfigError(f"--seed: expected none beside --data, whose samples are given, got {options.seed}")
        if options.data is not None and not options.data.exists():
            raise DataError(f"--data: {options.data} does not exist")
        names = [name.strip() for name in options.predictors.split(",") if name.strip()]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"--predictors: expected distinct names, got {options.predictors!r}")
        compare = comparison_of(options.adapter)
        predictors = {name: load_predictor(name, device=options.device) for name in names}
        comparison = compare(predictors, data=options.data, limit=options.limit, progress=True, seed=options.seed)
        if not comparison.measurements:
            raise DataError(f"{options.adapter}: no answer could be measured: {list(comparison.failures)[:3]}")
        _publish(comparison, options, "python -m adapters.benchmark " + shlex.join(given))
    except (ZimError, ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _publish(comparison: Comparison, options: argparse.Namespace, command: str) -> None:
    print(text_table(comparison))
    origin: dict[str, Any] = {"command": command, "date": now(), "machine": describe_machine()}
    if options.json:
        write_json_atomic(options.json, {**origin, "adapter": options.adapter, **json_table(comparison)})
    if options.markdown:
        where = f"`{command}`, {origin['date'][:10]}, {machine_line(origin['machine'])}"
        write_text_atomic(options.markdown, f"{markdown_table(comparison)}\n{where}\n")
    drawn = bool(options.figure) and _drawn(comparison, options.figure)
    for path in (options.json, options.markdown, options.figure if drawn else None):
        if path:
            print(f"wrote {path}")


def _drawn(comparison: Comparison, path: Path) -> bool:
    try:
        return save_comparison_figure(comparison, path)
    except MissingDependencyError as error:  # the figures are there, only the picture is not
        print(f"warning: {error}", file=sys.stderr)
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m adapters.benchmark", description=__doc__)
    parser.add_argument("adapter", metavar="NAME", help=", ".join(ADAPTERS))
    parser.add_argument(
        "--predictors", default="zim_tiny,sam_tiny", help="comma-separated names or paths that load_predictor answers"
    )
    parser.add_argument("--data", type=Path, help="folder in the adapter's layout; without it, generated scenes")
    parser.add_argument("--limit", type=int, help="at most this many samples")
    parser.add_argument("--seed", type=int, default=0, help="of the generated scenes; of the first, in medical_volume")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--figure", type=Path, help="write pictures and curves (PNG) here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
