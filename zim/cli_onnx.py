"""`zim export`: a model as ONNX graphs in the official release's format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zim.cli_reports import FAILED, MISUSED, reported
from zim.errors import ConfigError

if TYPE_CHECKING:
    from zim.modeling.zim import Zim


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(export)


def export(
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="A new or empty folder, or an earlier export to replace."),
    ],
    model: Annotated[str, typer.Option(help="zim_tiny, or a .safetensors checkpoint.")] = "zim_tiny",
    with_mask_input: Annotated[
        bool, typer.Option("--with-mask-input", help="Write decoder_mask.onnx too, which takes an earlier answer.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write encoder.onnx and decoder.onnx in the official release's format, checked against torch.

    The folder appears whole, with zim_export.json, or not at all. `--model DIR` of the other commands takes it.

    Exit codes: 0 written and checked, 1 something failed, 2 wrong usage.
    """
    from zim.onnx.convert import require_exporter
    from zim.onnx.export import export_folder

    with reported(debug, FAILED):
        require_exporter()
        with reported(debug, MISUSED, (ConfigError,)):
            loaded, licence = _with_licence(model)
            record = export_folder(loaded, out, name=model, licence=licence, with_mask_input=with_mask_input)
    for file in (*record.files, "zim_export.json"):
        typer.echo(str(out / file))
    typer.echo(f"largest difference of an alpha from torch: {record.max_alpha_difference:.2g}", err=True)


def _with_licence(name: str) -> "tuple[Zim, str]":
    """A torch model that has weights, on the CPU, and their licence."""
    from zim.checkpoints import read_checkpoint
    from zim.registry import MODEL_CONFIGS, load_model, shipped_weights

    shipped = shipped_weights()
    if name in shipped and name in MODEL_CONFIGS:
        return load_model(name, device="cpu"), shipped[name].license
    if Path(name).is_file():
        licence = read_checkpoint(name).metadata.get("license", "not stated")
        return load_model(name, device="cpu"), licence
    raise ConfigError(f"--model: expected zim_tiny or a .safetensors checkpoint with weights, got {name!r}")
