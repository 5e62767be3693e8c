"""The road from segmentation labels to a measured model, by the commands that users type, on miniature data."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data.scene_export import main as export_scenes
from training.evaluate import main as evaluate
from training.label_converter.train import main as train_converter
from training.sa1b_matte.from_labels import main as pack_labels
from zim.checkpoints import read_checkpoint
from zim.registry import shipped_weights_path

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]


def run(*arguments: str) -> None:
    """`python ARGUMENTS` in a process of its own, as a user would; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes with exact mattes: `fine/image` and `fine/alpha`."""
    folder = tmp_path_factory.mktemp("scenes")
    assert export_scenes(["--export", str(folder), "--count", "4", "--seed", "900", "--size", "128"]) == 0
    return folder


@pytest.fixture(scope="module")
def labels(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photographs with what human annotators would have drawn: blocks of 8 pixels, half or more inside."""
    folder = tmp_path_factory.mktemp("labels") / "mine"
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for path in sorted((scenes / "fine" / "alpha").glob("*.png")):
        alpha = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        blocks = cv2.resize(alpha, (alpha.shape[1] // 8, alpha.shape[0] // 8), interpolation=cv2.INTER_AREA)
        label = cv2.resize((blocks >= 128).astype(np.uint8), alpha.shape[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(folder / "label" / path.name), label)
        image = next((scenes / "fine" / "image").glob(path.stem + ".*"))
        cv2.imwrite(str(folder / "image" / f"{path.stem}.jpg"), cv2.imread(str(image)))
    return folder


@pytest.fixture(scope="module")
def shards(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converter of a few steps, the labels as SA-1B tar files, and Ray's conversion of them."""
    work = tmp_path_factory.mktemp("work")
    folders = ["--out", str(work / "converter"), "--cache", str(work / "cache")]
    assert train_converter(["--preset", "smoke", *folders, "--threads", "1"]) == 0
    assert pack_labels(["--input", str(labels), "--output", str(work / "sa1b" / "sa_000000.tar")]) == 0
    command = ["--input", str(work / "sa1b"), "--output", str(work / "mattes")]
    command += ["--model", str(work / "converter" / "model.safetensors"), "--min-agreement", "0", "--min-area", "1"]
    places = ["--max-area-share", "1", "--ray", "local", "--workers", "1", "--device", "cpu"]
    run("-m", "training.convert_sa1b", *command, *places)
    return work / "mattes"


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ZIM after the smoke preset on the converted labels, in two processes over gloo."""
    out = tmp_path_factory.mktemp("run") / "zim"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["-m", "training.train_zim", "--preset", "smoke", "--parallel", "ddp", "--init", "zim_tiny"]
    data = ["--shards", str(shards / "*.tar"), "--shares", "shards=1", "--data-license", "research-only (a test)"]
    run(*launch, *options, *data, "--threads", "1", "--out", str(out))
    return out


def test_every_label_becomes_a_soft_matte(labels: Path, shards: Path) -> None:
    """As many as there are labelled objects; binary labels have become grey at their outlines."""
    wanted = sum(1 for path in (labels / "label").iterdir() if cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).any())
    mattes = []
    for shard in shards.glob("*.tar"):
        with tarfile.open(shard) as tar:
            files = [tar.extractfile(member) for member in tar.getmembers() if member.name.endswith(".png")]
            mattes += [np.asarray(Image.open(io.BytesIO(file.read()))) for file in files if file is not None]
    assert len(mattes) == wanted > 0
    assert all(matte.dtype == np.uint8 and matte.ndim == 2 for matte in mattes)
    assert all(((matte > 0) & (matte < 255)).mean() > 0.01 for matte in mattes)


def test_two_processes_train_on_the_shards(trained: Path) -> None:
    checkpoint, start = read_checkpoint(trained / "model.safetensors"), shipped_weights_path("zim_tiny")
    assert checkpoint.metadata["license"] == "research-only (a test)" and checkpoint.metadata["step"] == "6"
    before = read_checkpoint(start).state_dict
    moved = [name for name, value in checkpoint.state_dict.items() if not value.equal(before[name])]
    assert any(name.startswith("mask_decoder.") for name in moved)
    assert any(name.startswith("image_encoder.") for name in moved)
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6 and all(np.isfinite(row["loss"]) for row in rows)


def test_trained_model_is_measured(scenes: Path, trained: Path, tmp_path: Path) -> None:
    """The row of the empty answer is known: 1000 x the mean of alpha squared, over the objects."""
    out = tmp_path / "figures.json"
    model = str(trained / "model.safetensors")
    command = ["--dataset", "matte_folder", "--root", str(scenes / "fine"), "--models", model, "--json", str(out)]
    assert evaluate([*command, "--long-side", "0", "--threads", "1"]) == 0
    rows = json.loads(out.read_text())["aggregates"]["all"]
    alphas = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) / 255 for path in (scenes / "fine" / "alpha").glob("*.png")]
    assert rows["empty"]["mse"] == pytest.approx(1000 * np.mean([(alpha**2).mean() for alpha in alphas]), rel=1e-6)
    assert np.isfinite(rows[model]["mse"]) and rows[model]["mse"] > 0
