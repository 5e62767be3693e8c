"""The command line: Inpaint-Anything's flags under their names, and more.

`__main__` gives the functions that load models, so that everything here runs with any predictor.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zim.compositing import Background
from zim.errors import ConfigError, ImageError, PromptError, ZimError
from zim.image_io import read_alpha, read_image
from zim.matte_files import PromptOptions, background_from_text, build_prompts, check_prompts
from zim.protocol import Predictor
from zim.text_detection import TextDetector, check_thresholds, split_phrases

from .engines import InpaintingEngine
from .flags import engine_name, load_named_engine, model_name, notice, parser, settings_of, use_deterministic
from .inpainting import Inpainted, PaintSettings, fill, remove, replace
from .results import Task, is_done, plan_folders, write_record, write_result, write_selection
from .selection import Selection, select, together

FAILED, MISUSED = 1, 2


class Loaders(NamedTuple):
    """predictor and detector: (name, device) -> a predictor and a text detector."""

    predictor: Callable[[str, str], Predictor]
    detector: Callable[[str, str], TextDetector]


class Tools(NamedTuple):
    """What is loaded once for all photos."""

    predictor: Predictor | None
    detector: TextDetector | None
    engine: InpaintingEngine | None
    background: Background | None


def main(arguments: Sequence[str] | None, loaders: Loaders) -> int:
    """Run the command line. Returns the exit code: 0 all done, 1 something failed, 2 misused (after one line each)."""
    options = parser().parse_args(sys.argv[1:] if arguments is None else list(arguments))
    if options.task == "download":
        return _guarded(lambda: _download(options), options, ())
    plan: dict[Path, Path] = {}
    code = _guarded(lambda: plan.update(_checked_plan(options)), options, (ConfigError, PromptError, ImageError))
    if code:
        return code
    return _guarded(lambda: _run(options, plan, loaders), options, (ConfigError,))


def _guarded(work: Callable[[], Any], options: argparse.Namespace, misuse: tuple[type[Exception], ...]) -> int:
    try:
        return int(work() or 0)
    except (ZimError, ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if options.debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISUSED if isinstance(error, misuse) else FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _checked_plan(options: argparse.Namespace) -> dict[Path, Path]:
    """Everything that can be refused before a model is loaded."""
    inputs = [*options.images, *([options.input_img] if options.input_img else [])]
    if len(inputs) != 1 and not options.images:
        raise ConfigError("image: expected IMAGE, a folder, or --input_img IMAGE, got none")
    if options.images and options.input_img:
        raise ConfigError("--input_img: expected it or IMAGE, got both")
    for path in inputs:
        if not path.exists():
            raise ImageError(f"image: expected an existing file or folder, got {path}")
    if options.coords_type == "click":
        options.point_coords = clicked_point(inputs[0])
    plan = plan_folders(inputs, options.output_dir)
    if any(path.is_dir() and path.resolve() == options.output_dir.resolve() for path in inputs):
        raise ConfigError(f"--output_dir: expected another folder than that of the photos, got {options.output_dir}")
    prompts = _prompt_options(options)
    if prompts is not None:
        check_prompts(prompts)
    if options.text_select is not None:
        split_phrases(options.text_select)
        check_thresholds(box_threshold=options.box_threshold, text_threshold=options.text_threshold)
    if prompts is None and not options.text_select and not options.matte:
        raise PromptError("selection: expected --point_coords, --box, --scribble, --mask, --text_select or --matte")
    if options.task == "fill" and not (options.text_prompt or "").strip():
        raise ConfigError("--text_prompt: fill needs words that say what to paint, got none")
    if options.task == "replace" and bool((options.text_prompt or "").strip()) == bool(options.background):
        raise ConfigError("replace: expected either --text_prompt or --background")
    settings_of(options)
    return plan


def _run(options: argparse.Namespace, plan: dict[Path, Path], loaders: Loaders) -> int:
    if options.deterministic:
        use_deterministic()
    settings, record = settings_of(options), _record(options)
    single = len(plan) == 1 and not any(path.is_dir() for path in options.images)
    todo = {p: f for p, f in plan.items() if options.overwrite or single or not is_done(f, record | {"photo": p.name})}
    if len(todo) < len(plan):
        print(f"{len(plan) - len(todo)} of {len(plan)} photos are done already (--overwrite does them again)")
    if not todo:
        return 0
    tools = _load(options, loaders)
    failures = 0
    for photo, folder in tqdm(todo.items(), unit="photo", disable=True if len(todo) == 1 else None):
        try:
            files = _one_photo(photo, folder, options, settings, tools)
            write_record(folder, record | {"photo": photo.name}, files)
        except (ZimError, OSError, RuntimeError, MemoryError) as error:
            if options.debug:
                raise
            failures += 1
            text = " ".join(str(error).split())
            tqdm.write(f"error: {text if str(photo) in text else f'{photo}: {text}'}", file=sys.stderr)
            continue
        for file in files:
            tqdm.write(str(file))
    if failures and len(todo) > 1:
        print(f"error: {failures} of {len(todo)} photos failed", file=sys.stderr)
    return FAILED if failures else 0


def _load(options: argparse.Namespace, loaders: Loaders) -> Tools:
    pointed = _prompt_options(options) is not None or options.text_select
    background = None if options.background is None else background_from_text(options.background)
    return Tools(
        predictor=loaders.predictor(model_name(options), options.device) if pointed else None,
        detector=loaders.detector(options.text_model, options.device) if options.text_select else None,
        engine=None if background is not None else load_named_engine(options),
        background=background,
    )


def _one_photo(
    photo: Path, folder: Path, options: argparse.Namespace, settings: PaintSettings, tools: Tools
) -> list[Path]:
    """Select, paint and write one photo; returns its files."""
    image = read_image(photo)
    selection = _selection(options, image)
    alphas = select(image, selection, predictor=tools.predictor, detector=tools.detector)
    if not selection.candidates and options.results != "each":
        alphas = [together(alphas)]
    files = [write_selection(folder, image, selection)]
    errors: list[ZimError] = []
    for index, alpha in enumerate(alphas):
        try:
            done = _painted(options.task, image, alpha, options, settings, tools)
        except (ImageError, ConfigError):
            raise
        except ZimError as error:  # one of three answers may be empty or cover everything
            errors.append(error)
            if len(errors) == len(alphas):
                raise
            notice(f"mask_{index}: {error}")
            continue
        files += write_result(folder, index, options.task, image, selection, done)
    return files


def _painted(
    task: Task,
    image: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    options: argparse.Namespace,
    settings: PaintSettings,
    tools: Tools,
) -> Inpainted:
    prompt = (options.text_prompt or "").strip()
    if task == "replace":
        return replace(image, alpha, background=tools.background, engine=tools.engine, prompt=prompt, settings=settings)
    if tools.engine is None:
        raise ConfigError(f"{task}: expected an engine, got a background")
    if task == "fill":
        return fill(image, alpha, tools.engine, prompt, settings=settings)
    return remove(image, alpha, tools.engine, settings=settings)


def _prompt_options(options: argparse.Namespace) -> PromptOptions | None:
    coords = options.point_coords or []
    if len(coords) % 2:
        raise PromptError(f"--point_coords: expected pairs X Y, got {len(coords)} numbers")
    count = len(coords) // 2
    labels = options.point_labels or [1] * count
    if len(labels) != count:
        raise PromptError(f"--point_labels: expected {count}, one for each point, got {len(labels)}")
    if not all(np.isfinite(coords)) or any(not np.isfinite(box).all() for box in options.box or []):
        raise PromptError("--point_coords and --box: expected finite numbers")
    if not (count or options.box or options.scribble or options.mask):
        return None
    return PromptOptions(
        boxes=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in options.box or []),
        points=tuple((coords[2 * i], coords[2 * i + 1], labels[i]) for i in range(count)),
        scribble=options.scribble,
        mask=options.mask,
    )


def _selection(options: argparse.Namespace, image: NDArray[np.uint8]) -> Selection:
    asked = _prompt_options(options)
    prompts = () if asked is None else tuple(build_prompts(asked, (image.shape[0], image.shape[1])))
    alone = len(prompts) == 1 and not options.text_select and not options.matte
    as_inpaint_anything = options.results is None and options.input_img is not None
    if options.results == "three" and not alone:
        raise PromptError("--results three: expected points or one box, and no words or matte")
    return Selection(
        prompts=prompts,
        phrases=options.text_select,
        box_threshold=options.box_threshold,
        text_threshold=options.text_threshold,
        matte=read_alpha(options.matte) if options.matte else None,
        candidates=alone and (options.results == "three" or as_inpaint_anything),
        connected=not options.all_parts,
    )


def _record(options: argparse.Namespace) -> dict[str, Any]:
    """What decides the results, as JSON values: everything but where they go and how they are computed."""
    apart = ("images", "input_img", "output_dir", "overwrite", "debug", "device", "memory", "deterministic")
    kept = {name: value for name, value in vars(options).items() if name not in apart}
    engine = None if options.background else engine_name(options)
    record = {**kept, "engine": engine, "model": model_name(options, quiet=True)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in record.items()}


def clicked_point(photo: Path) -> list[float]:
    """One point, clicked with the left button in a window; the right button ends.

    Raises:
        ConfigError: there is no window, as in the headless OpenCV that comes with this package.
    """
    import cv2

    pixels = cv2.cvtColor(read_image(photo), cv2.COLOR_RGB2BGR)
    state: dict[str, Any] = {"point": None, "open": True}

    def on_mouse(event: int, x: int, y: int, *_: Any) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            state["point"] = [float(x), float(y)]
        elif event == cv2.EVENT_RBUTTONDOWN:
            state["open"] = False

    try:
        cv2.namedWindow("image")
        cv2.setMouseCallback("image", on_mouse)
        while state["open"]:
            cv2.imshow("image", pixels)
            cv2.waitKey(20)
        cv2.destroyAllWindows()
    except cv2.error as error:
        raise ConfigError(
            "--coords_type click: no window can be opened here (headless OpenCV or no display); "
            "use --coords_type key_in with --point_coords X Y"
        ) from error
    if state["point"] is None:
        raise PromptError("--coords_type click: expected a click on the object, got none")
    point: list[float] = state["point"]
    return point


def _download(options: argparse.Namespace) -> int:
    from zim.downloads.catalogue import default_folder
    from zim.downloads.http_file import fetch

    from .engines.lama import BIG_LAMA

    print(f"licence of lama: {BIG_LAMA.licence}", file=sys.stderr)
    folder = options.output_dir or default_folder()
    print(fetch(BIG_LAMA.url, folder / BIG_LAMA.name, sha256=BIG_LAMA.sha256, size=BIG_LAMA.size))
    return 0
