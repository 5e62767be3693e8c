"""The package as installed: what importing it costs, what goes into the wheel, what lies in the repository."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {
    "diffusers",
    "gradio",
    "matplotlib",
    "nibabel",
    "onnx",
    "onnxruntime",
    "open3d",
    "pymatting",
    "ray",
    "scipy",
    "segment_anything",
    "skimage",
    "torchvision",
    "transformers",
}
WEIGHTS = ("zim/weights/", "training/label_converter/weights/")
WEIGHTS_LIMIT = 12_000_000
PICTURE_LIMIT = 1_000_000
GOLDEN_LIMIT = 200_000

PROBE = """
import json, sys
import zim
at_import = sorted({name.partition(".")[0] for name in sys.modules})
for name in zim.__all__:
    getattr(zim, name)
import zim.cli
print(json.dumps([at_import, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_importing_zim_imports_nothing_heavy() -> None:
    """At import not even torch; with every public name looked up still none of the optional libraries."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    at_import, with_names = (set(names) for names in json.loads(run.stdout))
    assert "zim" in at_import and "torch" in with_names
    assert not at_import & (HEAVY | {"torch", "cv2", "numpy"})
    assert not with_names & HEAVY


def test_wheel_has_exactly_the_three_packages() -> None:
    """Globs would let folders such as tests or runs into the wheel."""
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["zim", "adapters", "training"]
    assert all((ROOT / package / "__init__.py").is_file() for package in wheel["packages"])
    assert not {"include", "force-include", "artifacts"} & set(wheel)


def requirement_names(requirements: list[str]) -> set[str]:
    return {text.partition("[")[0].split(">")[0].split("<")[0].split("=")[0].strip().lower() for text in requirements}


def test_nothing_pulls_in_what_is_banned() -> None:
    project = PYPROJECT["project"]
    everything = requirement_names(project["dependencies"]).union(
        *(requirement_names(extra) for extra in project["optional-dependencies"].values())
    )
    assert "torch" in everything
    assert not everything & {"torchvision", "timm", "lightning", "pytorch-lightning", "hydra-core"}
    assert not everything & {"onnxruntime-gpu", "simple-lama-inpainting", "opencv-python"}
    assert not requirement_names(project["dependencies"]) & {name.replace("_", "-") for name in HEAVY}


def test_version_is_said_once_and_the_command_exists() -> None:
    import zim

    assert PYPROJECT["project"]["version"] == zim.__version__
    module, _, function = PYPROJECT["project"]["scripts"]["zim"].partition(":")
    assert module == "zim.cli" and f"def {function}(" in (ROOT / "zim" / "cli.py").read_text(encoding="utf-8")


def tracked_files() -> list[Path]:
    """Files that git knows; the test is skipped where there is no repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def binary_limit(name: str) -> int:
    """The largest size in bytes that a binary file of this name may have."""
    if name.startswith(WEIGHTS) and name.endswith(".safetensors"):
        return WEIGHTS_LIMIT
    if name.startswith("docs/") and name.endswith((".png", ".jpg", ".webp")):
        return PICTURE_LIMIT
    return GOLDEN_LIMIT if name.startswith("tests/") and name.endswith((".npz", ".npy", ".safetensors", ".png")) else 0


def test_repository_holds_no_binaries_but_weights_pictures_and_goldens() -> None:
    offenders = []
    for path in tracked_files():
        with path.open("rb") as stream:
            binary = b"\0" in stream.read(8192)
        name, size = path.relative_to(ROOT).as_posix(), path.stat().st_size
        if binary and size > binary_limit(name):
            offenders.append(f"{name}: {size} bytes, at most {binary_limit(name)} allowed")
    assert not offenders, "\n".join(offenders)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("zim/weights/zim_tiny.safetensors", WEIGHTS_LIMIT),
        ("zim/modeling/zim_tiny.safetensors", 0),
        ("zim/weights/zim_tiny.pth", 0),
        ("docs/images/cat.png", PICTURE_LIMIT),
        ("tests/goldens/encoder.npz", GOLDEN_LIMIT),
        ("tests/model.onnx", 0),
        ("scene.png", 0),
    ],
)
def test_limits_of_binary_files(name: str, limit: int) -> None:
    assert binary_limit(name) == limit
