"""`zim auto`: masks and alphas of everything in photos, with the options of SAM's amg script."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zim.cli_reports import FAILED, MISUSED, announce, complain, reported
from zim.errors import ConfigError, ImageError, ZimError

if TYPE_CHECKING:
    from zim.automatic_mask_generator import ZimAutomaticMaskGenerator
    from zim.mask_files import Layout

GENERATOR_SETTINGS = (
    *("points_per_side", "points_per_batch", "pred_iou_thresh", "stability_score_thresh", "stability_score_offset"),
    *("box_nms_thresh", "crop_n_layers", "crop_nms_thresh", "crop_overlap_ratio"),
    *("crop_n_points_downscale_factor", "min_mask_region_area"),
)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(auto)


def auto(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Photos, or folders of photos.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", "--output", metavar="DIR", help="Folder of the results; one in it per photo.")
    ],
    model: Annotated[str, typer.Option(help="Name (see `zim models`) or checkpoint.")] = "zim_tiny",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    convert_to_rle: Annotated[
        bool, typer.Option("--convert-to-rle", help="Write one JSON file per photo, masks in COCO's RLE; no pictures.")
    ] = False,
    points_per_side: Annotated[int, typer.Option(help="Ask at a grid of this many points squared.", min=1)] = 32,
    points_per_batch: Annotated[int, typer.Option(help="Points answered at once.", min=1)] = 64,
    pred_iou_thresh: Annotated[float, typer.Option(help="Drop masks of lower predicted quality.")] = 0.88,
    stability_score_thresh: Annotated[float, typer.Option(help="Drop masks of lower stability.")] = 0.95,
    stability_score_offset: Annotated[float, typer.Option(help="Shift of the threshold to measure stability.")] = 1.0,
    box_nms_thresh: Annotated[float, typer.Option(help="Overlap of boxes from which on masks are duplicates.")] = 0.7,
    crop_n_layers: Annotated[int, typer.Option(help="Ask again in crops; layer n has (2**n)**2.", min=0)] = 0,
    crop_nms_thresh: Annotated[float, typer.Option(help="As --box-nms-thresh, between crops.")] = 0.7,
    crop_overlap_ratio: Annotated[float, typer.Option(help="Overlap of crops: share of the short side.")] = 512 / 1500,
    crop_n_points_downscale_factor: Annotated[
        int, typer.Option(help="In layer n the points per side are divided by this ** n.", min=1)
    ] = 1,
    min_mask_region_area: Annotated[int, typer.Option(help="Clean holes and islands of fewer pixels.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished photos again.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Find the objects of photos without prompts: masks, alphas, COCO JSON, CSV and an overlay.

    Photos that are finished are skipped, so a run that broke off can be started again.

    Exit codes: 0 all written, 1 something failed, 2 wrong usage.
    """
    given = locals()
    settings: dict[str, Any] = {name: given[name] for name in GENERATOR_SETTINGS}

    layout: Layout = "rle" if convert_to_rle else "folder"
    with reported(debug, MISUSED, (ConfigError, ImageError)):
        from zim.mask_files import check_settings, is_finished, plan_photos, record_settings
        from zim.matte_files import find_photos

        plan = plan_photos(find_photos(images), out, layout)
        if not overwrite:
            check_settings(out, model, layout, settings)
    waiting = {photo: target for photo, target in plan.items() if overwrite or not is_finished(target)}
    if len(waiting) < len(plan):
        typer.echo(f"{len(plan) - len(waiting)} of {len(plan)} photos are finished already", err=True)
    if not waiting:
        return
    with reported(debug, FAILED, (Exception,)):  # a factory of somebody else may raise anything
        from zim import loading

        predictor = loading.load_predictor(model, device)
    with reported(debug, MISUSED, (ConfigError,)):
        from zim.automatic_mask_generator import ZimAutomaticMaskGenerator

        generator = ZimAutomaticMaskGenerator(predictor, **settings)
    with reported(debug, FAILED):
        record_settings(out, model, layout, settings)
    if _generate_all(waiting, generator, layout, debug):
        raise typer.Exit(FAILED)


def _generate_all(
    plan: dict[Path, Path], generator: "ZimAutomaticMaskGenerator", layout: "Layout", debug: bool
) -> list[Path]:
    """Do every photo, with a progress bar over its points on a terminal; returns those that failed."""
    from zim.image_io import read_image
    from zim.mask_files import write_folder, write_records

    failures = []
    for photo, target in plan.items():
        try:
            image = read_image(photo)
            with _points_bar(photo.name) as progress:
                candidates = generator.candidates(image, progress=progress)
            if layout == "folder":
                write_folder(target, photo.name, image, candidates)
            else:
                write_records(target, candidates)
            announce(target)
        # RuntimeError is how torch says that memory ran out.
        except (ZimError, OSError, RuntimeError, MemoryError) as error:
            if debug:
                raise
            failures.append(photo)
            complain(error if str(photo) in str(error) else f"{photo}: {error}")
    if failures and len(plan) > 1:
        complain(f"{len(failures)} of {len(plan)} photos failed")
    return failures


@contextmanager
def _points_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over the points of one photo; silent where standard error is no terminal."""
    from tqdm import tqdm

    with tqdm(desc=name, unit="point", leave=False, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
