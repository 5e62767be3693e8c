"""`zim download`: the weights of others, checked, with their licence said first."""

from pathlib import Path
from typing import Annotated

import typer

from zim.cli_reports import FAILED, MISUSED, reported
from zim.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(download)


def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="zim_vit_b, zim_vit_l, sam_vit_b, sam_vit_l or sam_vit_h.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Folder; the user's cache folder when left out.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Fetch weights that this package does not ship, and check them; run it again to go on after a break.

    The path is printed. zim_* are folders for --model; sam_* are checkpoints of SAM.

    Exit codes: 0 there and checked, 1 something failed, 2 wrong usage.
    """
    from zim.downloads.catalogue import PublishedFile, default_folder, source_of
    from zim.downloads.http_file import fetch
    from zim.downloads.hub_folder import fetch_folder

    with reported(debug, MISUSED, (ConfigError,)):
        source = source_of(name)
    folder = default_folder() if out is None else out
    typer.echo(f"licence of {name}: {source.licence}", err=True)
    with reported(debug, FAILED):
        if isinstance(source, PublishedFile):
            path = fetch(source.url, folder / source.name, sha256=source.sha256, size=source.size)
        else:
            path = fetch_folder(source, folder)
    typer.echo(str(path))
