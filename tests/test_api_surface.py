"""Freezes the public names, parameters and command-line options in `api_surface.json`.

A change here is a change for users. When it is meant, run

    python tests/test_api_surface.py --update

and commit the new file together with the change.
"""

import argparse
import difflib
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import typer
from torch import nn

import zim
import zim.cli
import zim.protocol
from zim.compat import as_segment_anything
from zim.mask_prompts import mask_to_prompt
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.prompts import Prompt
from zim.refinement import guided_filter, predict_alpha_flipped, refine_alpha

RECORD = Path(__file__).with_name("api_surface.json")
UPDATE = "python tests/test_api_surface.py --update"
PARSERS: dict[str, tuple[str, Callable[[Any], argparse.ArgumentParser]]] = {
    "python -m zim.as_sam": ("zim.as_sam", lambda module: module.parser()),
    "python -m training.label_converter.train": (
        "training.label_converter.train",
        lambda module: module.parser("train", None),
    ),
    "python -m training.train_zim": ("training.command", lambda module: module.parser("train_zim", None)),
    "python -m training.evaluate": ("training.evaluate", lambda module: module.parser()),
    "python -m training.ablation": ("training.ablation.__main__", lambda module: module.parser()),
    "python -m training.convert_sa1b": ("training.convert_sa1b", lambda module: module.parser()),
    "python -m training.sa1b_matte.from_labels": (
        "training.sa1b_matte.from_labels",
        lambda module: module.parser(),
    ),
    "python -m training.data.scenes": ("training.data.scene_export", lambda module: module._parser()),
    "python -m zim.evaluation.benchmark": ("zim.evaluation.benchmark", lambda module: module._parser()),
    "python -m zim.evaluation.speed": ("zim.evaluation.speed", lambda module: module._parser()),
    "python -m zim.evaluation.feedback": ("zim.evaluation.feedback", lambda module: module._parser()),
}


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """`name`, `name=default`, `**names`, a lone `*` before those that go by keyword; annotations left out."""
    described: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in described:
            described.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        described.append(f"{stars}{parameter.name}{default}")
    return described


def members_of(cls: type, without: type = object) -> dict[str, Any]:
    """Public members of a class: parameters of methods, "attribute" for the rest; those of `without` left out."""
    names = {name for name in dir(cls) if not name.startswith("_")} - (set(dir(without)) - set(vars(cls)))
    members: dict[str, Any] = {}
    if not getattr(cls, "_is_protocol", False):
        members["__init__"] = parameters_of(vars(cls)["__init__"])
    for name in sorted(names):
        member = inspect.getattr_static(cls, name)
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        members[name] = parameters_of(getattr(cls, name)) if inspect.isfunction(function) else "attribute"
    return members


def options_of_typer(app: typer.Typer) -> dict[str, list[str]]:
    """Arguments and options of each command in order, read from our own signatures: Typer's insides change."""
    described = {}
    for command in app.registered_commands:
        function = command.callback
        assert function is not None
        options = []
        for parameter in inspect.signature(function).parameters.values():
            annotation, info = get_args(parameter.annotation)
            given = [name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("-")]
            named = given or ["--" + parameter.name.replace("_", "-")]
            names = " ".join(named) if isinstance(info, typer.models.OptionInfo) else str(info.metavar)
            kind = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
            default = getattr(parameter.default, "value", parameter.default)  # enum members as their values
            options.append(f"{names} {kind}" + (" required" if default is parameter.empty else f"={default!r}"))
        described[f"zim {command.name or function.__name__}"] = options
    return described


def options_of_argparse(parser: argparse.ArgumentParser) -> list[str]:
    """Options of a parser, in the order of `--help`."""
    described = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        names = " ".join(action.option_strings) or action.dest
        choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
        default = " required" if action.required else f"={action.default!s}"
        described.append(f"{names}{choices}{default}" + (f" nargs={action.nargs}" if action.nargs else ""))
    return described


def current_surface() -> dict[str, Any]:
    """Everything that is frozen, as JSON has it."""
    functions = ("cutout", "from_sam", "load_model", "load_predictor", "predict_alpha")
    commands = options_of_typer(zim.cli.app)
    for command, (module, parser) in PARSERS.items():
        commands[command] = options_of_argparse(parser(importlib.import_module(module)))
    beyond = {
        "zim.mask_prompts.mask_to_prompt": mask_to_prompt,
        "zim.refinement.guided_filter": guided_filter,
        "zim.refinement.predict_alpha_flipped": predict_alpha_flipped,
        "zim.refinement.refine_alpha": refine_alpha,
        "zim.compat.as_segment_anything": as_segment_anything,
    }
    return {
        "zim.__all__": sorted(zim.__all__),
        "functions": {f"zim.{name}": parameters_of(getattr(zim, name)) for name in functions}
        | {name: parameters_of(function) for name, function in beyond.items()},
        "zim.zim_model_registry": sorted(zim.zim_model_registry),
        "zim.ZimPredictor": members_of(ZimPredictor),
        "zim.ZimAutomaticMaskGenerator": members_of(zim.ZimAutomaticMaskGenerator),
        "zim.modeling.zim.Zim": members_of(Zim, without=nn.Module),
        "zim.protocol.Predictor": members_of(zim.protocol.Predictor),
        "zim.prompts.Prompt": members_of(Prompt),
        "commands": commands,
    }


def as_text(surface: dict[str, Any]) -> str:
    return json.dumps(surface, indent=2) + "\n"


def difference(recorded: str, current: str) -> str:
    """Empty when equal, else a diff and what to do about it."""
    if recorded == current:
        return ""
    lines = difflib.unified_diff(recorded.splitlines(), current.splitlines(), "recorded", "current", n=2, lineterm="")
    return "\n".join(("the public surface has changed:", *lines, f"if that is meant: {UPDATE}"))


def test_public_surface_is_the_recorded_one() -> None:
    changed = difference(RECORD.read_text(encoding="utf-8"), as_text(current_surface()))
    assert not changed, changed


def test_a_change_is_shown_and_explained() -> None:
    surface = {"f": ["a", "b=1"], "g": []}
    message = difference(as_text(surface), as_text({**surface, "f": ["a", "b=2"]}))
    assert '-    "b=1"' in message and '+    "b=2"' in message and UPDATE in message
    assert difference(as_text(surface), as_text(surface)) == ""


def test_parameters_are_described_as_python_writes_them() -> None:
    def function(self: object, a: int, b: str = "x", *, c: float = 0.5, d: None) -> None: ...

    assert parameters_of(function) == ["a", "b='x'", "*", "c=0.5", "d"]


def test_predictor_covers_sams_with_its_parameters_in_order() -> None:
    """Parameters of our own come after SAM's, and go by keyword."""
    from zim.compat.segment_anything import import_segment_anything

    theirs, ours = members_of(import_segment_anything().SamPredictor), members_of(ZimPredictor)
    assert {"set_image", "predict", "predict_torch", "device", "get_image_embedding", "reset_image"} <= set(theirs)
    for name, parameters in theirs.items():
        if parameters == "attribute":
            assert ours.get(name) == "attribute", name
        elif name == "__init__":
            assert ours[name][0].partition("=")[0] == "model"
        else:
            assert ours[name][: len(parameters)] == parameters, name
            assert ours[name][len(parameters) : len(parameters) + 1] in ([], ["*"]), name


def test_model_covers_what_sams_callers_use() -> None:
    from zim.compat.segment_anything import import_segment_anything

    theirs = members_of(import_segment_anything().modeling.Sam, without=nn.Module)
    ours = members_of(Zim, without=nn.Module)
    assert {"forward", "preprocess", "postprocess_masks", "device", "mask_threshold"} <= set(theirs)
    for name in set(theirs) - {"__init__"}:
        assert ours[name] == theirs[name], name


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        from zim.files import write_text_atomic

        write_text_atomic(RECORD, as_text(current_surface()))
        print(f"wrote {RECORD}")
    else:
        print(difference(RECORD.read_text(encoding="utf-8"), as_text(current_surface())) or "nothing has changed")
