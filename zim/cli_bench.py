"""`zim bench`: time and memory beside those of segment_anything and of other predictors, in one run."""

from pathlib import Path
from typing import Annotated

import typer

from zim.cli_reports import FAILED, MISUSED, reported
from zim.errors import ConfigError, ZimError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(bench)


def bench(
    models: Annotated[str, typer.Option(help="Names or paths; the first is what others are compared to.")] = (
        "sam_tiny,zim_tiny"
    ),
    parts: Annotated[
        str,
        typer.Option(help="Of encoder, decoder, set_image, prompt, prompts64, whole."),
    ] = "set_image,prompt,prompts64",
    encoder: Annotated[str, typer.Option(help="vit_b, vit_l or vit_h: random weights, ours and SAM's the same.")] = (
        "vit_b"
    ),
    points_per_side: Annotated[int, typer.Option(help="Grid of the part `whole`.")] = 32,
    image: Annotated[Path | None, typer.Option(help="A photo, resized to a long side of 1024.")] = None,
    repeats: Annotated[int, typer.Option(help="Turns after the warm-up.")] = 5,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Of the part `encoder`: float32, bfloat16 or float16.")] = "float32",
    growth_images: Annotated[
        int, typer.Option(help="Also ask each model about so many photos, and tell how much memory that left behind.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write every run here.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Write bars (PNG) here.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Time models in turns, so that what else the machine does hits all of them; prints medians and ratios.

    Exit codes: 0 measured, 1 something failed, 2 wrong usage.
    """
    with reported(debug, MISUSED, (ConfigError, ValueError)):
        from zim.devices import resolve_device
        from zim.evaluation.bench.peak_memory import QUARTERS, WARM_UP
        from zim.evaluation.bench.run import BenchConfig
        from zim.evaluation.machine import use_threads

        config = BenchConfig(
            parts=tuple(part.strip() for part in parts.split(",") if part.strip()),
            encoder=encoder,
            points_per_side=points_per_side,
            repeats=repeats,
            dtype=dtype,
        )
        names = [name.strip() for name in models.split(",") if name.strip()]
        least = QUARTERS * (WARM_UP + 1)
        if growth_images and growth_images < least:
            raise ConfigError(f"--growth-images: expected 0 or at least {least}, got {growth_images}")
        needs_predictors = config.needs_predictors or growth_images > 0
        if needs_predictors and (not names or len(set(names)) < len(names)):
            raise ConfigError(f"--models: expected distinct names, got {models!r}")
        use_threads(threads)
        target = resolve_device(device)
    with reported(debug, FAILED, (ZimError, OSError, ImportError, RuntimeError)):
        from zim.evaluation.bench.peak_memory import growth_over_images, photos_of_all_sizes
        from zim.evaluation.bench.report import CaseResult, json_table, save_plot, text_table
        from zim.evaluation.bench.run import run_bench
        from zim.evaluation.machine import describe_machine, machine_line, now
        from zim.evaluation.speed import timing_photo
        from zim.files import write_json_atomic
        from zim.loading import load_predictor

        predictors = {name: load_predictor(name, device=device) for name in names} if needs_predictors else {}
        results: list[CaseResult] = list(run_bench(config, predictors, timing_photo(image), target, progress=True))
        machine = describe_machine()
        typer.echo(machine_line(machine))
        typer.echo(text_table(results))
        growth = {
            name: growth_over_images(predictor, photos_of_all_sizes(growth_images))
            for name, predictor in predictors.items()
            if growth_images
        }
        for name, grown in growth.items():
            typer.echo(f"{name}: memory over {growth_images} photos {grown.share:+.1%}, {grown.late / 2**20:.0f} MiB")
        if json:
            told = {"date": now(), "machine": machine, "cases": json_table(results)}
            write_json_atomic(json, told | {"growth": {name: grown._asdict() for name, grown in growth.items()}})
        if figure:
            save_plot(results, figure)
        for path in (json, figure):
            if path:
                typer.echo(f"wrote {path}", err=True)
