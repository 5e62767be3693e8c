"""A detector's model, image processor and tokenizer from a folder, through transformers; one of each per process."""

import importlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from zim.devices import resolve_device
from zim.errors import CheckpointError, MissingDependencyError
from zim.text_detection import INSTALL_HINT

from .sources import locate


class Family(NamedTuple):
    """An architecture of transformers: `model_type` in config.json, and the names of its classes.

    `image_processors` are tried in order, for none must need torchvision: the first works on PIL and numpy; where
    transformers is too old to have it (4.57), the plain name is such a one.
    """

    model_type: str
    model: str
    image_processors: tuple[str, ...]


GROUNDING_DINO = Family(
    "grounding-dino",
    "GroundingDinoForObjectDetection",
    ("GroundingDinoImageProcessorPil", "GroundingDinoImageProcessor"),
)
OWLV2 = Family("owlv2", "Owlv2ForObjectDetection", ("Owlv2ImageProcessorPil", "Owlv2ImageProcessor"))


VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
"""Files that hold a tokenizer's words; one of them is needed."""

COMPUTED = ("relative_position_index", "position_ids", "box_bias")
"""Ends of the names of tables that models compute themselves; some versions save them, others do not."""


class Loaded(NamedTuple):
    """What `load` gives: the model on its device in evaluation mode, and what prepares its inputs."""

    model: Any
    image_processor: Any
    tokenizer: Any
    device: torch.device


_cache: dict[tuple[str, str, str], Loaded] = {}
_lock = threading.Lock()


def load(family: Family, source: str, device: str | torch.device = "auto") -> Loaded:
    """The parts of a detector; the same objects for the same folder and device.

    Weights are read from safetensors only, and no code of the folder is run.

    Args:
        family: the architecture that the source has to be of.
        source: a folder with config.json, weights, tokenizer and image processor, as `save_pretrained` writes them,
            or OWNER/MODEL[@REVISION] on the hub.
        device: "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        MissingDependencyError: transformers or scipy is not installed; found out before anything is downloaded.
        CheckpointError: nothing there, another architecture, a broken file, or weights that do not fit.
    """
    import_libraries()
    target, folder = resolve_device(device), locate(source)
    key = (family.model_type, str(folder.resolve()), str(target))
    with _lock:
        if key not in _cache:
            _cache[key] = _load(family, folder, target)
        return _cache[key]


def import_libraries() -> Any:
    """The module transformers, when it and scipy, which its processor for OWLv2 needs, can be imported.

    Raises:
        MissingDependencyError: they cannot.
    """
    for name in ("scipy.ndimage", "transformers"):
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"text prompts need {name.partition('.')[0]}, which cannot be imported ({error}): {INSTALL_HINT}"
            ) from error
    return module


def model_type_of(folder: Path) -> str:
    """The architecture that config.json names.

    Raises:
        CheckpointError: the file is missing or broken.
    """
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/config.json: expected a JSON with model_type ({error!r})") from error


def _load(family: Family, folder: Path, device: torch.device) -> Loaded:
    found = model_type_of(folder)
    if found != family.model_type:
        raise CheckpointError(f"{folder}: expected a model of type {family.model_type}, got {found}")
    if not any((folder / name).is_file() for name in VOCABULARIES):  # transformers would go on with an empty one
        raise CheckpointError(f"{folder}: expected a tokenizer ({', '.join(VOCABULARIES)}), got none")
    transformers = import_libraries()
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            processors = _image_processor_class(transformers, family)
            image_processor = processors.from_pretrained(folder, local_files_only=True)
            model = _model(getattr(transformers, family.model), folder)
    except CheckpointError:
        raise
    except Exception as error:  # broken files: safetensors and tokenizers have exceptions of their own
        reason = " ".join(str(error).split())[:400]
        raise CheckpointError(f"{folder}: cannot be read as {family.model_type} ({reason})") from error
    return Loaded(model.to(device).eval(), image_processor, tokenizer, device)


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar and no report on the screen while weights load: what is wrong with them becomes an error."""
    logging = transformers.utils.logging
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _image_processor_class(transformers: Any, family: Family) -> Any:
    for name in family.image_processors:
        found = getattr(transformers, name, None)
        if found is not None:
            return found
    raise CheckpointError(f"transformers {transformers.__version__} has none of {', '.join(family.image_processors)}")


def _model(model_class: Any, folder: Path) -> Any:
    """The model; weights that the file lacks would stay random, so that they are an error."""
    model, report = model_class.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # to be reported here, with names
    )
    missing = [name for name in report["missing_keys"] if not name.endswith(COMPUTED)]
    wrong = [*missing, *(key[0] for key in report["mismatched_keys"])]
    if wrong:
        listed = ", ".join(sorted(map(str, wrong))[:4])
        count = f"{len(wrong)} of the model's tensors"
        raise CheckpointError(f"{folder}: {count} are missing or of another shape: {listed}")
    return model
