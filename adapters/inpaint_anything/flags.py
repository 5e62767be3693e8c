"""The flags of the command line, and what is loaded because of them."""

import argparse
import os
import sys
from pathlib import Path

import torch

from zim.errors import ConfigError
from zim.text_detection import DEFAULT_DETECTOR

from .compositing import REFINE
from .engines import ENGINES, InpaintingEngine, load_engine
from .engines.diffusion import DTYPES, MEMORY, DiffusionSettings
from .engines.lama import BIG_LAMA, find_lama
from .inpainting import PaintSettings
from .masks import THRESHOLD, MaskSettings

DEFAULT_MODEL = "zim_tiny"
_TASKS = {
    "remove": "paint the background over what is pointed at",
    "fill": "paint what --text_prompt says in place of what is pointed at",
    "replace": "keep what is pointed at and paint another background (--text_prompt), or give one (--background)",
}
_said: set[str] = set()


def parser() -> argparse.ArgumentParser:
    """One sub-command for each task, and `download`."""
    top = argparse.ArgumentParser(
        prog="python -m adapters.inpaint_anything",
        description="Remove, fill or replace what is pointed at, with soft mattes. Inpaint-Anything's flags work.",
    )
    tasks = top.add_subparsers(dest="task", required=True, metavar="remove|fill|replace|download")
    for task, words in _TASKS.items():
        sub = tasks.add_parser(task, help=words, description=words)
        _add_inputs(sub)
        _add_selection(sub)
        _add_painting(sub, task)
    download = tasks.add_parser("download", help="fetch big-lama.pt and check it")
    download.add_argument("name", choices=["lama"])
    download.add_argument("-o", "--output_dir", type=Path, help="folder; the user's cache folder when left out")
    download.add_argument("--debug", action="store_true", help="show tracebacks")
    return top


def _add_inputs(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="photos, or folders of photos")
    sub.add_argument("--input_img", type=Path, help="one photo, as in Inpaint-Anything: one result for each of 3 masks")
    sub.add_argument("-o", "--output_dir", type=Path, required=True, help="results go to OUTPUT_DIR/name of the photo/")
    sub.add_argument("--overwrite", action="store_true", help="do photos of folders again that are done")
    sub.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_selection(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--coords_type", choices=["click", "key_in"], default="key_in", help="click needs a display")
    sub.add_argument(
        "--point_coords", type=float, nargs="+", metavar="X Y", help="pixels; several points are one object"
    )
    sub.add_argument("--point_labels", type=int, nargs="+", metavar="LABEL", help="1 object (default), 0 background")
    sub.add_argument("--box", type=float, nargs=4, action="append", metavar=("X1", "Y1", "X2", "Y2"), help="repeatable")
    sub.add_argument("--scribble", type=Path, help="PNG of the photo's size: 255 object, 0 background, 128 nothing")
    sub.add_argument("--mask", type=Path, help="rough mask, a PNG of the photo's size")
    sub.add_argument("--matte", type=Path, help="an alpha at hand, a PNG of the photo's size; needs no model")
    sub.add_argument("--text_select", metavar="WORDS", help='select by words: "dog. ball"')
    sub.add_argument("--text_model", default=DEFAULT_DETECTOR, help="text detector for --text_select")
    sub.add_argument("--all_parts", action="store_true", help="keep parts that no point lies on")
    sub.add_argument("--box_threshold", type=float, default=0.25)
    sub.add_argument("--text_threshold", type=float, default=0.25)
    sub.add_argument(
        "--results",
        choices=["together", "each", "three"],
        help="one result for all objects (default), one for each, or one for each of the model's three masks (default "
        "with --input_img and one object)",
    )
    sub.add_argument("--model", help=f"predictor: a name or checkpoint (default {DEFAULT_MODEL})")
    sub.add_argument(
        "--sam_model_type", choices=["vit_h", "vit_l", "vit_b", "vit_t"], default="vit_h", help="no effect"
    )
    sub.add_argument("--sam_ckpt", type=Path, help=f"a checkpoint for --model; SAM's own gives {DEFAULT_MODEL}")


def _add_painting(sub: argparse.ArgumentParser, task: str) -> None:
    sub.add_argument("--text_prompt", help="what to paint")
    sub.add_argument("--background", help="replace: a colour, checkerboard or a picture") if task == "replace" else None
    sub.add_argument("--engine", help=f"{', '.join(ENGINES)} or a pipeline's folder (remove: lama if there, else cv2)")
    sub.add_argument("--lama_config", help="no effect: big-lama.pt carries its own")
    sub.add_argument("--lama_ckpt", type=Path, help="big-lama.pt or its folder")
    sub.add_argument("--lama_sha256", default=BIG_LAMA.sha256, help="of a LaMa file of your own")
    sub.add_argument("--dilate_kernel_size", type=int, help="square kernel in pixels; left out: from alpha's softness")
    sub.add_argument("--threshold", type=float, default=THRESHOLD, help="the mask is alpha above it")
    sub.add_argument("--feather", type=float, help="pixels of cross-fade around the mask")
    sub.add_argument(
        "--context", type=float, default=0.5, help="surroundings that the engine sees, share of the object"
    )
    sub.add_argument("--shadows", action="store_true", help="remove soft shadows too")
    sub.add_argument("--no_refine", action="store_true", help="replace: leave the matte's uncertain edges as they are")
    sub.add_argument("--steps", type=int)
    sub.add_argument("--guidance", type=float)
    sub.add_argument("--strength", type=float, default=1.0)
    sub.add_argument("--negative_prompt", default="")
    sub.add_argument("--paint_side", type=int, help="long side at which a diffusion model paints")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--deterministic", action="store_true", help="torch's deterministic algorithms")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--dtype", choices=list(DTYPES))
    sub.add_argument("--memory", choices=list(MEMORY), default="none")
    sub.set_defaults(background=None)


def settings_of(options: argparse.Namespace) -> PaintSettings:
    """How much is painted anew.

    Raises:
        ConfigError: an impossible value.
    """
    mask = MaskSettings(
        threshold=options.threshold,
        kernel=options.dilate_kernel_size,
        feather=options.feather,
        shadows=options.shadows,
    )
    diffusion_settings(options)
    refine = 0.0 if options.no_refine or options.matte else REFINE
    return PaintSettings(mask=mask, context=options.context, seed=options.seed, refine=refine)


def diffusion_settings(options: argparse.Namespace) -> DiffusionSettings:
    """How a diffusion model is run."""
    return DiffusionSettings(
        steps=options.steps,
        guidance=options.guidance,
        strength=options.strength,
        negative_prompt=options.negative_prompt,
        side=options.paint_side,
    )


def notice(text: str) -> None:
    """One line on standard error, said once."""
    if text not in _said:
        _said.add(text)
        print(f"notice: {text}", file=sys.stderr)


def model_name(options: argparse.Namespace, quiet: bool = False) -> str:
    """The predictor: --model, or --sam_ckpt where it is a checkpoint of this package, or zim_tiny with a notice."""
    if options.model:
        return str(options.model)
    given = options.sam_ckpt
    if given is None:
        return DEFAULT_MODEL
    if given.is_dir() or (given.is_file() and given.suffix == ".safetensors"):
        return str(given)
    if not quiet:
        reason = "is SAM's own" if given.exists() else "is not there"
        notice(f"--sam_ckpt: {given} {reason}; {DEFAULT_MODEL} selects in its place (--model names another)")
    return DEFAULT_MODEL


def engine_name(options: argparse.Namespace) -> str:
    """The engine: --engine; else sd15 for text; else lama where big-lama.pt is found; else cv2."""
    if options.engine:
        return str(options.engine)
    if options.task != "remove":
        return "sd15"
    return "lama" if find_lama(options.lama_ckpt) else "cv2"


def load_named_engine(options: argparse.Namespace) -> InpaintingEngine:
    """Load the engine; says once when LaMa was asked for and is not there."""
    name = engine_name(options)
    if name == "cv2" and not options.engine:
        asked = f"--lama_ckpt: no big-lama.pt at {options.lama_ckpt}" if options.lama_ckpt else "no big-lama.pt is here"
        notice(f"{asked}; OpenCV paints in its place (`download lama` fetches it)")
    return load_engine(
        name,
        device=options.device,
        lama=options.lama_ckpt,
        lama_sha256=options.lama_sha256,
        settings=diffusion_settings(options),
        dtype=options.dtype,
        memory=options.memory,
    )


def use_deterministic() -> None:
    """Torch's deterministic algorithms, in this process.

    Raises:
        ConfigError: CUBLAS_WORKSPACE_CONFIG is set to a value that is not deterministic.
    """
    wanted = os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if wanted not in (":4096:8", ":16:8"):
        raise ConfigError(f"--deterministic: expected CUBLAS_WORKSPACE_CONFIG to be :4096:8 or :16:8, got {wanted!r}")
    torch.use_deterministic_algorithms(True)
