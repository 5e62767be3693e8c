"""`python -m zim.as_sam SCRIPT ARGS...`: run a program written for SAM on ZIM, unmodified.

The program may be written for `segment_anything`, `segment_anything_hq` or `mobile_sam`; none of them needs to be
installed. Example, with SAM's own script:

    python -m zim.as_sam amg.py --checkpoint sam_vit_h_4b8939.pth --model-type vit_h --input photo.jpg --output masks

Exit codes: the program's own; 2 when there is no such program or model.
"""

import argparse
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zim.compat.context import as_segment_anything
from zim.compat.strict import checked_model
from zim.errors import ConfigError
from zim.registry import DEFAULT_MODEL

MISUSED = 2


def parser() -> argparse.ArgumentParser:
    """The options before SCRIPT; everything after it belongs to the program."""
    made = argparse.ArgumentParser(
        prog="python -m zim.as_sam",
        description="Run a program written for segment_anything, segment_anything_hq or mobile_sam on ZIM.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--model", default=DEFAULT_MODEL, help=f"a model of ZIM or a checkpoint of it (default: {DEFAULT_MODEL})"
    )
    made.add_argument("script", metavar="SCRIPT", help="the program, a .py file")
    made.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="the program's own arguments")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exceptions and `SystemExit` come through as if Python ran it.

    Returns:
        0, or 2 when there is no such program or model.
    """
    options = parser().parse_args(argv)
    if not Path(options.script).is_file():
        return _misused(f"SCRIPT: expected a Python file, found none at {options.script}")
    try:
        checked_model(options.model)
    except ConfigError as error:
        return _misused(str(error))
    with as_segment_anything(options.model):
        run_program(options.script, options.args)
    return 0


def run_program(script: str, args: Sequence[str]) -> None:
    """Run a file as `python SCRIPT ARGS...` does: its folder first in `sys.path`, its arguments in `sys.argv`."""
    with _command_line(script, args):
        runpy.run_path(script, run_name="__main__")


@contextmanager
def _command_line(script: str, args: Sequence[str]) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)
    sys.argv = [script, *args]
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        yield
    finally:
        sys.argv = argv
        sys.path[:] = path


def _misused(text: str) -> int:
    print(f"zim: error: {text}", file=sys.stderr)
    return MISUSED


if __name__ == "__main__":
    sys.exit(main())
