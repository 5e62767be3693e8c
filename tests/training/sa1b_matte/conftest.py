"""A miniature SA-1B, a converter with random weights, and outputs read without the project's own reader."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from training.convert_sa1b import main
from training.label_converter.builders import build_matting
from training.label_converter.config import TEST
from training.sa1b_matte.from_labels import annotation_of
from zim.checkpoints import save_checkpoint

SIZE_HW = (40, 48)


def photo_and_masks(number: int, labels: int = 3) -> tuple[bytes, list[np.ndarray]]:
    """A JPEG of noise and discs on it."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    discs = rng.uniform((8, 8, 4), (32, 40, 9), (labels, 3))
    return file.getvalue(), [np.hypot(y - cy, x - cx) < radius for cy, cx, radius in discs]


def write_shard_of_sa1b(path: Path, numbers: list[int], change: dict[str, bytes] | None = None) -> Path:
    """A tar file of SA-1B's layout; `change` gives members other contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            jpg, masks = photo_and_masks(number)
            annotations = [annotation_of(number * 100 + place, mask) for place, mask in enumerate(masks)]
            image = {"image_id": number, "width": SIZE_HW[1], "height": SIZE_HW[0], "file_name": f"sa_{number}.jpg"}
            described = json.dumps({"image": image, "annotations": annotations}).encode()
            for name, data in ((f"sa_{number}.jpg", jpg), (f"sa_{number}.json", described)):
                content = (change or {}).get(name, data)
                header = tarfile.TarInfo(f"./{name}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return path


def members_of(shard: Path) -> dict[str, bytes]:
    """Name -> content of a tar file; a name that comes twice is an error."""
    found: dict[str, bytes] = {}
    with tarfile.open(shard) as tar:
        for member in tar.getmembers():
            assert member.name not in found
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    return found


@pytest.fixture(scope="session")
def converter_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the smallest converter."""
    path = tmp_path_factory.mktemp("weights") / "converter.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_checkpoint(path, build_matting(TEST).state_dict(), config=TEST.to_dict())
    return path


@pytest.fixture(scope="session")
def mini_sa1b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tar files and a folder: 12 photographs with 3 labels each."""
    root = tmp_path_factory.mktemp("sa1b")
    write_shard_of_sa1b(root / "sa_000000.tar", [4, 1, 2, 3, 7])
    write_shard_of_sa1b(root / "sa_000001.tar", [11, 12, 13, 14])
    with tarfile.open(write_shard_of_sa1b(root / "packed.tar", [21, 22, 23])) as tar:
        tar.extractall(root / "loose", filter="data")
    (root / "packed.tar").unlink()
    return root


@pytest.fixture(scope="session")
def all_labels() -> set[str]:
    """KEY.ID of every label in `mini_sa1b`."""
    numbers = [1, 2, 3, 4, 7, 11, 12, 13, 14, 21, 22, 23]
    return {f"sa_{number}.{place:04d}" for number in numbers for place in range(3)}


@pytest.fixture(scope="session")
def make_sa1b() -> Callable[..., Path]:
    """`make_sa1b(path, numbers, change=None)`: a tar file."""
    return write_shard_of_sa1b


@pytest.fixture(scope="session")
def read_tar() -> Callable[[Path], dict[str, bytes]]:
    """`read_tar(shard)`: name -> content."""
    return members_of


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """`contents(output)`: every file of an output but the working folder."""

    def read(output: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}

    return read


@pytest.fixture(scope="session")
def labels_in() -> Callable[[Path], list[str]]:
    """`labels_in(output)`: KEY.ID of every matte, with repetitions."""

    def read(output: Path) -> list[str]:
        names = [name for shard in sorted(output.glob("*.tar")) for name in members_of(shard)]
        return [name.removesuffix(".png") for name in names if name.endswith(".png")]

    return read


@pytest.fixture(scope="session")
def command(converter_file: Path) -> Callable[..., list[str]]:
    """`command(root, output, *more)`: arguments of `convert_sa1b` with small shards; every label is kept."""

    def build(root: Path, output: Path, *more: Any) -> list[str]:
        fixed = ["--min-area", "1", "--max-area-share", "1", "--min-agreement", "0", "--images-per-shard", "2"]
        fixed += ["--workers", "1"]
        return [*map(str, ("--input", root, "--output", output, "--model", converter_file)), *fixed, *map(str, more)]

    return build


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, mini_sa1b: Path, command: Callable[..., list[str]]) -> Path:
    """`mini_sa1b`, converted in one process and without incident."""
    output = tmp_path_factory.mktemp("reference") / "shards"
    assert main(command(mini_sa1b, output, "--ray", "none")) == 0
    return output
