"""`load_predictor`: one name in, one predictor out, whatever stands behind it."""

import copy
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from zim.checkpoints import load_sam_pth, read_checkpoint
from zim.devices import resolve_device
from zim.errors import CheckpointError, ConfigError
from zim.predictor import ZimPredictor
from zim.protocol import Predictor
from zim.registry import SAM_SUFFIXES, SPECIALISED, shipped_weights_path, show_licence, zim_model_registry

ANSWERS = (
    f"a model ({', '.join(zim_model_registry)}), sam_tiny, grabcut, grabcut+cf, hq_sam_tiny, hq_zim_tiny, "
    "the path of a .safetensors checkpoint, of SAM-HQ's .pth or of a folder with encoder.onnx and decoder.onnx, "
    "or package.module:factory"
)


def load_predictor(name: str | Path, device: str | torch.device = "auto") -> Predictor:
    """The predictor of that name.

    Args:
        name: a key of `zim_model_registry`; "sam_tiny", the SAM baseline; "hq_sam_tiny" or "hq_zim_tiny", the
            pair with HQ heads; "grabcut" or "grabcut+cf", without weights; the path of a checkpoint, ZIM's, the
            baseline's, an HQ head's or SAM-HQ's (.pth), or of a folder with encoder.onnx and decoder.onnx; or
            "package.module:factory", where `factory()` returns any object with SAM's `set_image` and `predict`.
        device: "auto" takes CUDA, else MPS, else the CPU; what is not a torch model pays no heed to it.

    Raises:
        ConfigError: nothing answers to the name, or what does is no predictor.
        CheckpointError: the checkpoint cannot be read.
        MissingDependencyError: an optional library is needed for it.
    """
    text = str(name)
    if text in zim_model_registry or text in SPECIALISED:
        return ZimPredictor.from_pretrained(text, device=device)
    if text in _BY_NAME:
        return _checked(_BY_NAME[text](resolve_device(device)), text)
    if text and Path(name).exists():
        return _from_checkpoint(Path(name), device)
    if ":" in text:
        return _from_factory(text)
    raise ConfigError(f"predictor: expected {ANSWERS}; got {text!r}")


def another_predictor(predictor: Predictor) -> Predictor:
    """A predictor for one user more: its image is its own, the model's weights are shared where that can be.

    Predictors with a method `another()` say themselves how; others are copied whole.
    """
    make = getattr(predictor, "another", None)
    return _checked(make() if callable(make) else copy.deepcopy(predictor), type(predictor).__name__)


def _sam_tiny(device: torch.device) -> object:
    return _sam_baseline(shipped_weights_path("sam_tiny"), device)


def _sam_baseline(path: Path, device: torch.device) -> object:
    from zim.evaluation.sam_baseline import SamBaselinePredictor, build_sam_tiny

    checkpoint = read_checkpoint(path)
    sam = build_sam_tiny(checkpoint=path)
    show_licence(checkpoint.metadata, checkpoint.sha256)
    return SamBaselinePredictor(sam.to(device))


def _shipped_hq(name: str, device: torch.device) -> object:
    from zim.hq_checkpoints import load_shipped_hq
    from zim.hq_predictor import HqPredictor

    return HqPredictor(load_shipped_hq(name).to(device))


def _grabcut(device: torch.device) -> object:
    from zim.evaluation.peers import GrabCutPredictor

    return GrabCutPredictor()


def _grabcut_closed_form(device: torch.device) -> object:
    from zim.evaluation.peers import GrabCutClosedFormPredictor

    return GrabCutClosedFormPredictor()


_BY_NAME: dict[str, Callable[[torch.device], object]] = {
    "sam_tiny": _sam_tiny,
    "hq_sam_tiny": partial(_shipped_hq, "hq_sam_tiny"),
    "hq_zim_tiny": partial(_shipped_hq, "hq_zim_tiny"),
    "grabcut": _grabcut,
    "grabcut+cf": _grabcut_closed_form,
}


def _from_checkpoint(path: Path, device: str | torch.device) -> Predictor:
    if path.suffix == ".safetensors":
        architecture = read_checkpoint(path).config.get("architecture", "zim")
        if architecture == "sam":
            return _checked(_sam_baseline(path, resolve_device(device)), str(path))
        if architecture in ("hq_sam", "hq_zim"):
            from zim.hq_checkpoints import load_hq
            from zim.hq_predictor import HqPredictor

            return HqPredictor(load_hq(path).to(resolve_device(device)))
        if architecture != "zim":
            raise CheckpointError(f'{path}: expected architecture "zim" or "sam", got {architecture!r}')
    if path.suffix in SAM_SUFFIXES:
        return _sam_hq(path, device)
    return ZimPredictor.from_pretrained(path, device=device)


def _sam_hq(path: Path, device: str | torch.device) -> Predictor:
    from zim.hq_checkpoints import is_sam_hq, sam_hq_from_state
    from zim.hq_predictor import HqPredictor

    state = load_sam_pth(path)
    if is_sam_hq(state):
        return HqPredictor(sam_hq_from_state(state, source=str(path)).to(resolve_device(device)))
    return ZimPredictor.from_pretrained(path, device=device)  # which says what a SAM's .pth is good for


def _from_factory(text: str) -> Predictor:
    module_name, _, attribute = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise  # the module is there and misses something of its own
        raise ConfigError(f"predictor: no module {module_name!r} for {text!r}; expected {ANSWERS}") from error
    except (ValueError, TypeError) as error:  # an empty or relative module name
        raise ConfigError(f"predictor: expected {ANSWERS}; got {text!r}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ConfigError(f"predictor: expected a callable {attribute!r} in {module_name}, got {factory!r}")
    return _checked(factory(), text)


def _checked(predictor: object, name: str) -> Predictor:
    if not isinstance(predictor, Predictor) or isinstance(predictor, type):
        raise ConfigError(
            f"predictor: expected an object with set_image and predict from {name!r}, got {type(predictor).__name__}"
        )
    return predictor
