"""The command `zim`: mattes of photos, the list of models, a check-up of the installation.

Exit codes: 0 everything worked, 1 something failed at run time, 2 the command was misused. Errors are one
line on standard error, `zim: error: ...`; `--debug` shows the traceback instead. Heavy libraries are imported
by the command that needs them, so that `zim --help` answers at once.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from zim import cli_auto, cli_bench, cli_download, cli_onnx
from zim.cli_reports import FAILED, MISUSED, announce, complain, reported
from zim.errors import ConfigError, ImageError, PromptError, ZimError

if TYPE_CHECKING:
    from zim.matte_files import OutputOptions, PromptOptions
    from zim.protocol import Predictor
    from zim.text_detection import TextDetector

MAX_NAMED = 5
NUMBERS_OF = {"--box": 4, "--point": 3}

DETECTOR_HELP = (
    "What finds the text: grounding_dino (default) or owlv2, also with :FOLDER or :OWNER/MODEL; "
    "a model folder; recorded:FILE."
)

app = typer.Typer(
    name="zim",
    help="Alpha mattes of what you point at: a drop-in for SAM with soft edges.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Kind(StrEnum):
    """What `zim matte` writes."""

    alpha = "alpha"
    cutout = "cutout"
    mask = "mask"
    trimap = "trimap"
    all = "all"


class MatteCommand(TyperCommand):
    """Lets `--box` and `--point` be repeated with several numbers each, which Typer's lists cannot do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the numbers that follow `--box` and `--point` before Typer sees them."""
        return super().parse_args(ctx, join_numbers(args))


def join_numbers(args: Sequence[str]) -> list[str]:
    """`--box 1 2 3 4` becomes `--box=1,2,3,4`; `--box 1,2,3,4` is fine too; after `--` nothing changes."""
    joined: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*joined, word, *rest]
        count = NUMBERS_OF.get(word)
        if count is None or not rest:
            joined.append(word)
            continue
        count = 1 if "," in rest[0] else count
        numbers: list[str] = []
        while rest and len(numbers) < count and re.fullmatch(r"[-+\d.,eE]+", rest[0]):
            numbers.append(rest.pop(0))
        joined.append(f"{word}={','.join(numbers)}")
    return joined


def _numbers(option: str, text: str) -> list[float]:
    """The numbers of one `--box` or `--point`; anything else is misuse."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != NUMBERS_OF[option] or not all(abs(value) < 1e9 for value in values):
        names = {"--box": "X1 Y1 X2 Y2", "--point": "X Y LABEL"}[option]
        raise PromptError(
            f"{option}: expected {NUMBERS_OF[option]} numbers {names}, got {text.replace(',', ' ')!r}"
        )
    return values


def _out_path(text: str) -> Path:
    """The path of `--out`; an empty one, which `Path` would take for the working directory, is misuse."""
    if text.strip():
        return Path(text)
    complain("--out: expected NAME.png or a folder (. for the working directory), got an empty name")
    raise typer.Exit(MISUSED)


@app.command(cls=MatteCommand)
def matte(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Photos, or folders of photos.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            parser=_out_path,
            metavar="PATH",
            help="NAME.png for one photo and kind, else a folder. Existing files are replaced.",
        ),
    ],
    box: Annotated[
        list[str] | None, typer.Option(metavar="X1 Y1 X2 Y2", help="Pixels; one object each, repeatable.")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X Y LABEL", help="Pixels; label 1 object, 0 background; repeatable."),
    ] = None,
    scribble: Annotated[
        Path | None, typer.Option(help="PNG of the photo's size: 255 object, 0 background, 128 nothing.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Rough mask, a PNG of the photo's size.")] = None,
    text: Annotated[
        str | None, typer.Option(help='In place of all these: "the cat" or "cat. remote."; one object for each find.')
    ] = None,
    detector: Annotated[str | None, typer.Option(metavar="NAME|FOLDER|recorded:FILE", help=DETECTOR_HELP)] = None,
    box_threshold: Annotated[float | None, typer.Option(help="With --text: least score of a find, 0.25.")] = None,
    text_threshold: Annotated[float | None, typer.Option(help="With --text: least score of a word, 0.25.")] = None,
    unite: Annotated[bool, typer.Option("--unite", help="One matte of all objects of a photo.")] = False,
    model: Annotated[str, typer.Option(help="Name (see `zim models`) or checkpoint.")] = "zim_tiny",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    output_kind: Annotated[Kind, typer.Option(help="What to write.")] = Kind.alpha,
    background: Annotated[
        str | None,
        typer.Option(help="With cutout or all: a colour, checkerboard or a picture to put the object on."),
    ] = None,
    multimask: Annotated[bool, typer.Option("--multimask", help="Predict three, keep the best (for clicks).")] = False,
    refine: Annotated[bool, typer.Option("--refine", help="Guided filter over uncertain edges.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write alpha mattes, cut-outs, masks or trimaps of the objects that you point at.

    Several boxes are several objects (files are numbered); a point belongs to the box that contains it. So are
    several finds of a text, the surest first. With several photos the prompts apply to each, and one that fails,
    or in which the text finds nothing, does not stop the others.

    Exit codes: 0 all written, 1 something failed, 2 wrong usage.
    """
    with reported(debug, MISUSED, (ConfigError, PromptError, ImageError)):
        from zim.matte_files import (
            OutputOptions,
            background_from_text,
            check_prompts,
            find_photos,
            plan_outputs,
        )

        thresholds = _thresholds(text, detector, box_threshold, text_threshold)
        prompts = _prompts(box or [], point or [], scribble=scribble, mask=mask, text=text, **thresholds)
        check_prompts(prompts)
        output = OutputOptions(
            path=out,
            kind=output_kind.value,
            background=None if background is None else background_from_text(background),
            multimask=multimask,
            unite=unite,
        )
        photos = find_photos(images)
        plan = plan_outputs(photos, prompts, output, images)
    with reported(debug, FAILED, (Exception,)):  # a factory of somebody else may raise anything
        finder = None if text is None else _detector(detector, device)
        predictor = _loaded(model, device, refine)
    failures = _matte_all(plan, predictor, prompts, output, debug, finder)
    if failures:
        if len(plan) > 1:
            names = ", ".join(map(str, failures[:MAX_NAMED])) + ", ..." * (len(failures) > MAX_NAMED)
            complain(f"{len(failures)} of {len(plan)} photos failed: {names}")
        raise typer.Exit(FAILED)


def _prompts(box: Sequence[str], point: Sequence[str], **others: Any) -> "PromptOptions":
    """What the user points at; numbers that are none are misuse."""
    from zim.matte_files import PromptOptions

    boxes = [_numbers("--box", text) for text in box]
    points = [_numbers("--point", text) for text in point]
    return PromptOptions(
        boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes),
        points=tuple((x, y, label) for x, y, label in points),
        **others,
    )


def _thresholds(
    text: str | None, detector: str | None, box_threshold: float | None, text_threshold: float | None
) -> dict[str, float]:
    """The thresholds that were given; without a text neither they nor a detector mean anything."""
    thresholds = {"box_threshold": box_threshold, "text_threshold": text_threshold}
    given = {name: value for name, value in thresholds.items() if value is not None}
    if text is None and (given or detector is not None):
        option = "--detector" if detector is not None else f"--{next(iter(given)).replace('_', '-')}"
        raise PromptError(f"{option}: expected --text beside it, got none")
    return given


def _detector(name: str | None, device: str) -> "TextDetector":
    """The text detector of that name; without one the default."""
    from zim import text_detection

    return text_detection.load_text_detector(text_detection.DEFAULT_DETECTOR if name is None else name, device)


def _loaded(model: str, device: str, refine: bool) -> "Predictor":
    """The predictor of that name, its alphas refined if wanted."""
    from zim import loading

    predictor = loading.load_predictor(model, device)
    if not refine:
        return predictor
    from zim.refining_predictor import RefiningPredictor

    return RefiningPredictor(predictor)


def _matte_all(
    plan: dict[Path, list[dict[str, Path]]],
    predictor: "Predictor",
    prompts: "PromptOptions",
    output: "OutputOptions",
    debug: bool,
    detector: "TextDetector | None",
) -> list[Path]:
    """Matte every photo, with a progress bar for several on a terminal; returns those that failed."""
    from tqdm import tqdm

    from zim.matte_files import matte_photo

    failures = []
    for photo, names in tqdm(plan.items(), unit="photo", disable=True if len(plan) == 1 else None):
        try:
            for file in matte_photo(photo, predictor, prompts, output, names, detector):
                announce(file)
        # RuntimeError is how torch says that memory ran out.
        except (ZimError, OSError, RuntimeError, MemoryError) as error:
            if debug:
                raise
            failures.append(photo)
            complain(error if str(photo) in str(error) else f"{photo}: {error}")
    return failures


@app.command()
def models(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """List the models: name, parameters, where the weights are, their licence, the start of their sha256."""
    with reported(debug, FAILED):
        from zim.model_table import format_table, model_rows

        typer.echo(format_table(model_rows()))


@app.command()
def doctor(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Check versions, devices, threads, optional libraries and the shipped weights.

    Exits 1 when something that is needed is missing or broken.
    """
    with reported(debug, FAILED):
        from zim.doctor import format_findings, healthy, inspect_installation

        findings = inspect_installation()
        typer.echo(format_findings(findings))
        if not healthy(findings):
            complain("something that is needed is missing or broken, see above")
            raise typer.Exit(FAILED)


cli_auto.register(app)
cli_onnx.register(app)
cli_download.register(app)
cli_bench.register(app)


def main() -> None:
    """Entry point of the console script."""
    app()
