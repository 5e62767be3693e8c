"""What all commands of `zim` say and how they end: errors in one line, exit codes, names of written files."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from zim.errors import ZimError

FAILED, MISUSED = 1, 2
"""Exit codes: something failed at run time; the command was misused."""


@contextmanager
def reported(
    debug: bool, code: int, kinds: tuple[type[BaseException], ...] = (ZimError, OSError)
) -> Iterator[None]:
    """Turn expected errors into one line and an exit code; with `debug`, let the traceback through."""
    try:
        yield
    except kinds as error:
        if debug:
            raise
        complain(error)
        raise typer.Exit(code) from error


def complain(error: BaseException | str) -> None:
    """One line on standard error."""
    typer.echo(f"zim: error: {' '.join(str(error).split())}", err=True)


def announce(file: Path) -> None:
    """Print what was written; a reader that has gone (`| head`) does not stop the work."""
    from tqdm import tqdm

    try:
        tqdm.write(str(file))
        sys.stdout.flush()
    except BrokenPipeError:
        with suppress(OSError):  # a stream without a descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
