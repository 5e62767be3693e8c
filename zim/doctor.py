"""A check-up of the installation: what is there, in which version, and whether it works."""

import importlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata, util
from typing import Literal, NamedTuple

OLDEST_PYTHON = (3, 11)
REQUIRED = {
    "torch": "torch",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface-hub",
    "tqdm": "tqdm",
    "typer": "typer",
}
"""Import name -> distribution of what the package cannot do without."""

OPTIONAL = {
    "sam": ("segment_anything",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "matting": ("pymatting", "transformers"),
    "text": ("scipy", "transformers"),
    "inpaint": ("diffusers",),
    "medical": ("nibabel", "scipy", "SimpleITK"),
    "multiview": ("open3d",),
    "demo": ("gradio", "skimage"),
    "train": ("scipy",),
    "scale": ("ray",),
}
"""Extra -> import names that it installs."""

Status = Literal["ok", "absent", "broken"]


class Finding(NamedTuple):
    """One line of the report; only what is needed can make the installation unhealthy."""

    topic: str
    status: Status
    detail: str
    needed: bool = False


def healthy(findings: Iterable[Finding]) -> bool:
    """Nothing that is needed is absent or broken."""
    return all(finding.status == "ok" for finding in findings if finding.needed)


def inspect_installation() -> list[Finding]:
    """Look at everything, and go on after what is broken."""
    findings = [_python(), _package()]
    findings += [_required(module, distribution) for module, distribution in REQUIRED.items()]
    findings += [_optional(extra, modules) for extra, modules in OPTIONAL.items()]
    if finding_of("torch", findings).status == "ok":
        findings += [*_devices(), _threads(), *_weights()]
    return findings


def finding_of(topic: str, findings: Iterable[Finding]) -> Finding:
    """The first finding of that topic.

    Raises:
        KeyError: there is none.
    """
    for finding in findings:
        if finding.topic == topic:
            return finding
    raise KeyError(topic)


def format_findings(findings: list[Finding]) -> str:
    """One aligned line each: status, topic, detail."""
    width = max(len(finding.topic) for finding in findings)
    return "\n".join(f"{status:<7} {topic:<{width}}  {detail}" for topic, status, detail, _ in findings)


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    new_enough = sys.version_info[:2] >= OLDEST_PYTHON
    return Finding("python", "ok" if new_enough else "broken", detail, needed=True)


def _package() -> Finding:
    import zim

    try:
        detail = metadata.version("zim-matting")
    except metadata.PackageNotFoundError:
        detail = f"{zim.__version__}, not installed (run from a folder)"
    return Finding("zim-matting", "ok", detail)


def _required(module: str, distribution: str) -> Finding:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return Finding(module, "absent", f"pip install {distribution} ({error})", needed=True)
    # A broken binary may raise anything while it is imported, and the report should still come.
    except Exception as error:
        return Finding(module, "broken", f"{type(error).__name__}: {_one_line(error)}", needed=True)
    return Finding(module, "ok", _version(module), needed=True)


def _optional(extra: str, modules: tuple[str, ...]) -> Finding:
    """Presence only: importing some of these takes a minute."""
    present = [module for module in modules if util.find_spec(module) is not None]
    missing = [module for module in modules if module not in present]
    detail = ", ".join(f"{module} {_version(module)}" for module in present)
    if missing:
        without = f"without {', '.join(missing)}: pip install 'zim-matting[{extra}]'"
        detail = f"{detail}; {without}" if detail else without
    return Finding(f"extra {extra}", "absent" if missing else "ok", detail)


def _version(module: str) -> str:
    """Version of the distribution that an import name belongs to."""
    for distribution in _distributions().get(module, ()):
        return metadata.version(distribution)
    return "(version unknown)"


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Import name -> distributions; reads every installed file list once."""
    return metadata.packages_distributions()


def _devices() -> list[Finding]:
    import torch

    from zim.devices import resolve_device

    found = [Finding("device", "ok", f"auto is {resolve_device('auto')}", needed=True)]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        found.append(Finding(f"cuda:{index}", "ok", f"{properties.name}, {memory}"))
    return found


def _threads() -> Finding:
    import torch

    return Finding("threads", "ok", f"torch uses {torch.get_num_threads()} of {os.cpu_count()} logical cores")


def _weights() -> list[Finding]:
    """Shipped weights, each with its checksum computed."""
    from zim.errors import CheckpointError
    from zim.registry import SHIPPED_MODELS, shipped_weights, shipped_weights_path

    try:
        listed = shipped_weights()
    except CheckpointError as error:
        return [Finding("weights", "broken", _one_line(error), needed=True)]
    found = []
    for name in dict.fromkeys([*SHIPPED_MODELS, *listed]):
        needed = name in SHIPPED_MODELS
        if name not in listed:
            found.append(Finding(f"weights {name}", "absent", "not in this installation", needed))
            continue
        try:
            path = shipped_weights_path(name)
        except (CheckpointError, OSError) as error:
            found.append(Finding(f"weights {name}", "broken", _one_line(error), needed))
            continue
        size = path.stat().st_size / 2**20
        detail = f"{size:.1f} MiB, sha256 {listed[name].sha256[:12]} matches, licence {listed[name].license}"
        found.append(Finding(f"weights {name}", "ok", detail, needed))
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
