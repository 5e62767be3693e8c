"""Who may import whom, read from the sources: packages of the project, and libraries at module level or lazily."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("zim", "adapters", "training", "demos")
CORE = {"torch", "numpy", "PIL", "cv2", "safetensors", "huggingface_hub", "tqdm", "typer"}

OWN_PACKAGES = {  # package -> packages of the project that it may import
    "zim": {"zim"},
    "adapters": {"adapters", "zim"},
    "training": {"training", "zim"},
    "demos": {"demos", "adapters", "zim"},
}
MODULE_LEVEL = {"zim": CORE, "adapters": CORE, "training": CORE, "demos": None}  # None: any library
LAZY = {  # path prefix -> libraries that may be imported inside functions, besides the core
    "zim/onnx/": {"onnx", "onnxruntime"},
    "zim/evaluation/": {"pymatting", "matplotlib", "onnxruntime"},
    "zim/compat/": {"segment_anything"},
    "training/": {"scipy", "matplotlib"},
    "training/label_converter/": {"transformers"},
    "training/sa1b_matte/": {"ray"},
    "adapters/": None,  # each brings its own, by its extra
    "demos/": None,
}
NEVER = {"torchvision", "timm", "lightning", "pytorch_lightning", "hydra"}
SAM_DOOR = "zim/compat/segment_anything.py"
ADAPTER_BUILDS_NOTHING = ("zim.modeling", "zim.registry", "zim.checkpoints", "zim.evaluation.sam_baseline")


class Import(NamedTuple):
    """One imported module, absolute, and whether it is imported as soon as its file is."""

    line: int
    module: str
    eager: bool
    relative: bool


def _within(node: ast.AST, eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below, with whether they run when the file is imported."""
    for child in ast.iter_child_nodes(node):
        below = eager and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            below = False
        yield child, below
        yield from _within(child, below)


def imports_of(path: str, source: str) -> list[Import]:
    """Every import of the file at `path` (relative to the root), those of `import_module("name")` included."""
    parts = path.removesuffix(".py").split("/")
    package = parts[:-1]
    found: list[Import] = []
    for node, eager in _within(ast.parse(source), True):
        if isinstance(node, ast.Import):
            found += [Import(node.lineno, alias.name, eager, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            ours = stem.split(".")[0] in OWN_PACKAGES
            names = [f"{stem}.{alias.name}" for alias in node.names] if ours else [stem]
            found += [Import(node.lineno, name, eager, node.level > 0) for name in names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            if node.args and isinstance(node.args[0], ast.Constant):
                found.append(Import(node.lineno, str(node.args[0].value), eager, False))
    return found


def _lazily_allowed(path: str) -> set[str] | None:
    """Libraries for inside functions in this file; None: any."""
    allowed = set(CORE)
    for prefix, libraries in LAZY.items():
        if path.startswith(prefix):
            if libraries is None:
                return None
            allowed |= libraries
    return allowed


def _project_violation(path: str, item: Import) -> str | None:
    own, target = path.split("/")[0], item.module.split(".")[0]
    if target not in OWN_PACKAGES[own]:
        return f"{own} must not import {item.module}"
    if target == own:
        if own == "zim" and item.relative:
            return f"inside zim imports are absolute, not relative ({item.module})"
        if own in ("adapters", "training") and not item.relative:
            return f"inside {own} imports are relative, not {item.module}"
        if own == "adapters" and path.count("/") >= 2:
            adapter, other = path.split("/")[1], item.module.split(".")[1]
            if other != adapter and (ROOT / "adapters" / other).is_dir():
                return f"adapter {adapter} must not import adapter {other}"
    if own == "adapters" and item.module.startswith(ADAPTER_BUILDS_NOTHING):
        return f"an adapter receives predictors and builds no model ({item.module})"
    if own == "adapters" and target == "zim" and any(part.startswith("_") for part in item.module.split(".")):
        return f"adapters use public names of zim, not {item.module}"
    return None


def violations(path: str, source: str) -> list[str]:
    """What the file at `path` imports against the rules, one line each."""
    problems = []
    for item in imports_of(path, source):
        target = item.module.split(".")[0]
        problem: str | None = None
        if target in (*PACKAGES, "tests"):
            problem = _project_violation(path, item)
        elif target in NEVER:
            problem = f"{target} is never a dependency"
        elif target == "segment_anything" and path != SAM_DOOR:
            problem = f"segment_anything is imported through {SAM_DOOR} only"
        elif target not in sys.stdlib_module_names:
            eager, lazy = MODULE_LEVEL[path.split("/")[0]], _lazily_allowed(path)
            if item.eager and eager is not None and target not in eager:
                problem = f"{target} must not be imported at module level"
            elif not item.eager and lazy is not None and target not in lazy:
                problem = f"{target} must not be imported here, not even inside a function"
        if problem:
            problems.append(f"{path}:{item.line}: {problem}")
    return problems


SOURCES = sorted(
    file.relative_to(ROOT).as_posix() for package in PACKAGES for file in (ROOT / package).rglob("*.py")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_sources_keep_the_rules(package: str) -> None:
    files = [path for path in SOURCES if path.startswith(f"{package}/")]
    problems = [line for path in files for line in violations(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not problems, "\n" + "\n".join(problems)


def test_the_sources_were_found() -> None:
    assert {"zim/predictor.py", "zim/compat/segment_anything.py", "training/trainer.py"} <= set(SOURCES)


def test_imports_are_read_for_what_they_are() -> None:
    source = """
import os, numpy as np
from . import sibling
from ..data.scenes import Scene
from zim import load_predictor
from zim.files import atomic_write
if TYPE_CHECKING:
    import onnx
try:
    import ray
except ImportError:
    pass
class Lazy:
    import timm
    def load(self):
        from scipy.io import loadmat
        return importlib.import_module("pymatting.util")
"""
    found = [(item.module, item.eager) for item in imports_of("training/deep/task.py", source)]
    assert found == [
        ("os", True),
        ("numpy", True),
        ("training.deep.sibling", True),
        ("training.data.scenes.Scene", True),
        ("zim.load_predictor", True),
        ("zim.files.atomic_write", True),
        ("onnx", False),
        ("ray", True),
        ("timm", True),
        ("scipy.io", False),
        ("pymatting.util", False),
    ]


LAZILY = "def work():\n    "

FORBIDDEN = [
    ("zim/a.py", "import training.losses"),
    ("zim/a.py", LAZILY + "from training import losses"),
    ("zim/a.py", "from adapters.benchmark import main"),
    ("zim/a.py", "if TYPE_CHECKING:\n    from training.trainer import Trainer"),
    ("zim/a.py", "import demos.quickstart"),
    ("training/a.py", "from adapters import benchmark"),
    ("training/a.py", LAZILY + "import tests.conftest"),
    ("adapters/hq_sam/a.py", "from demos.quickstart import main"),
    ("adapters/hq_sam/a.py", "from training.losses import l1"),
    ("demos/a.py", "from training.losses import l1"),
    ("zim/a.py", "import scipy"),
    ("zim/a.py", "from matplotlib import pyplot"),
    ("zim/a.py", LAZILY + "import pymatting"),
    ("zim/evaluation/a.py", "import pymatting"),
    ("zim/evaluation/a.py", LAZILY + "import onnx"),
    ("zim/modeling/a.py", "try:\n    import onnxruntime\nexcept ImportError:\n    pass"),
    ("zim/evaluation/a.py", LAZILY + "from segment_anything import SamPredictor"),
    ("training/a.py", LAZILY + "import segment_anything.modeling"),
    ("training/a.py", "import scipy.io"),
    ("training/a.py", LAZILY + "import skimage"),
    ("zim/compat/a.py", LAZILY + "import torchvision"),
    ("adapters/hq_sam/a.py", LAZILY + "import timm"),
    ("training/a.py", LAZILY + 'importlib.import_module("lightning.pytorch")'),
    ("demos/a.py", "import hydra.utils"),
    ("adapters/hq_sam/a.py", "import transformers"),
    ("adapters/hq_sam/a.py", "from zim.modeling.zim import build_zim"),
    ("adapters/hq_sam/a.py", "from zim.predictor import _Resized"),
    ("training/a.py", "from training.losses import l1"),
    ("adapters/hq_sam/a.py", "from adapters.hq_sam.b import c"),
    ("zim/a.py", "from .files import atomic_write"),
    ("zim/modeling/a.py", "from ..files import atomic_write"),
]

ALLOWED = [
    ("zim/a.py", "import os\nimport cv2\nimport torch.nn.functional as F\nfrom PIL import Image\nimport zim"),
    ("zim/evaluation/a.py", LAZILY + "import pymatting\n    from matplotlib import figure"),
    ("zim/onnx/export.py", LAZILY + "import onnx"),
    (SAM_DOOR, LAZILY + "import segment_anything"),
    ("training/a.py", "from .data import scenes\nfrom zim.files import atomic_write\n" + LAZILY + "import scipy.io"),
    ("adapters/hq_sam/a.py", "from zim import predict_alpha\nfrom . import b\n" + LAZILY + "import transformers"),
    ("adapters/benchmark.py", "from zim import load_predictor\nfrom .hq_sam import scenes"),
    ("demos/a.py", "import gradio\nfrom zim.image_io import save_png\nfrom adapters.hq_sam import scenes"),
]


@pytest.mark.parametrize(("path", "source"), FORBIDDEN)
def test_the_check_finds_what_is_forbidden(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_the_check_lets_through_what_is_allowed(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_adapters_never_import_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package beside is another adapter; a module beside is what two adapters share."""
    (tmp_path / "adapters" / "text_prompts").mkdir(parents=True)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert violations("adapters/hq_sam/a.py", "from ..text_prompts import detect") == [
        "adapters/hq_sam/a.py:1: adapter hq_sam must not import adapter text_prompts"
    ]
    assert violations("adapters/hq_sam/a.py", "from ..polygons import trace") == []
