"""Whole runs from the command line: results, interruption, resumption, folders, and misuse."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from adapters.medical_volume import __main__ as command
from adapters.medical_volume.answer_store import AnswerStore, EmbeddingCache, model_identity
from adapters.medical_volume.jobs import WORK
from zim.errors import ConfigError

AFFINE = np.array([[0, 0, 2.0, -10], [-1.0, 0, 0, 20], [0, 1.0, 0, 5], [0, 0, 0, 1]])
"""Stored axes: i runs to the back, j up, k (2 mm) to the right: slices are sagittal."""


@pytest.fixture
def tube(nifti_file: Callable[..., Path]) -> tuple[Path, np.ndarray]:
    i, j, k = np.mgrid[:40, :44, :20].astype(np.float32)
    truth = (np.hypot(i - 16 - k / 2, j - 20) < 6) & (k >= 3) & (k < 17)
    noise = np.random.default_rng(0).normal(0, 5, truth.shape)
    return nifti_file((100 + 600 * truth + noise).astype(np.int16), AFFINE, "tube.nii.gz"), truth


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, grey_predictor: Any) -> Callable[..., int]:
    monkeypatch.setattr(command, "load_predictor", lambda name, device: grey_predictor)
    return lambda *words: command.main([str(word) for word in words] + ["--quiet"])


BOX = ("--box", 12, 12, 30, 28, "--slice", 10, "--label", "tube")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def test_results_lie_on_the_grid_of_the_input(tube: Any, run: Any, tmp_path: Path) -> None:
    path, truth = tube
    assert run(path, *BOX, "-o", tmp_path / "out") == 0
    names = {item.name for item in (tmp_path / "out").iterdir()}
    assert names == {"labels.nii.gz", "tube_alpha.nii.gz", "montage.png", "report.json"}
    labels, alpha = (nibabel.load(tmp_path / "out" / f"{name}.nii.gz") for name in ("labels", "tube_alpha"))
    assert np.array_equal(labels.affine, AFFINE) and np.array_equal(alpha.affine, AFFINE)
    ids, soft = np.asarray(labels.dataobj), np.asarray(alpha.dataobj)
    assert ids.dtype == np.uint8 and soft.dtype == np.float32
    assert dice(ids == 1, truth) > 0.95 and np.array_equal(ids == 1, soft > 0.5)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (told,) = report["labels"]
    assert report["slices_are"] == "sagittal" and report["slice_axis_of_file"] == "k"
    assert told["voxels"] == int((ids == 1).sum()) and told["volume_ml"] == pytest.approx(told["voxels"] * 0.002)
    assert told["soft_volume_ml"] == pytest.approx(float(soft.sum()) * 0.002)
    sources = {item["slice"]: item["source"] for item in told["slices"]}
    assert sources[10] == "prompt" and {3, 16} <= set(sources) and not {0, 1, 18, 19} & set(sources)
    with Image.open(tmp_path / "out" / "montage.png") as picture:
        assert min(picture.size) > 200


def test_an_interrupted_run_goes_on(tube: Any, run: Any, grey_predictor: Any, tmp_path: Path, capsys: Any) -> None:
    path, _ = tube
    assert run(path, *BOX, "-o", tmp_path / "whole") == 0
    total, grey_predictor.asked = grey_predictor.asked, 0
    grey_predictor.fail_after = 6
    assert run(path, *BOX, "-o", tmp_path / "out") == 130
    assert "goes on from here" in capsys.readouterr().err
    assert [item.name for item in (tmp_path / "out").iterdir()] == [WORK]
    assert not [item for item in (tmp_path / "out").rglob("*") if item.name.startswith(".") and item.is_file()]
    grey_predictor.fail_after, grey_predictor.asked = None, 0
    assert run(path, *BOX, "-o", tmp_path / "out") == 0
    assert grey_predictor.asked == total - 6
    for name in ("labels.nii.gz", "tube_alpha.nii.gz"):
        arrays = [np.asarray(nibabel.load(tmp_path / where / name).dataobj) for where in ("whole", "out")]
        assert np.array_equal(*arrays)
    grey_predictor.asked = 0
    assert run(path, *BOX, "-o", tmp_path / "out") == 0
    assert grey_predictor.asked == 0 and "already done" in capsys.readouterr().out
    assert run(path, *BOX, "--interior-points", 3, "-o", tmp_path / "out") == 0 and grey_predictor.asked == total


def test_several_labels_and_an_earlier_mask(tube: Any, run: Any, tmp_path: Path) -> None:
    path, truth = tube
    words = ["--box3d", 10, 10, 5, 30, 30, 9, "--label", "left", "--box3d", 10, 10, 11, 30, 30, 15, "--label", "right"]
    assert run(path, *words, "-o", tmp_path / "two") == 0
    ids = np.asarray(nibabel.load(tmp_path / "two" / "labels.nii.gz").dataobj)
    for number, part in ((1, slice(5, 10)), (2, slice(11, 16))):
        expected = np.zeros_like(truth)
        expected[:, :, part] = truth[:, :, part]
        assert dice(ids == number, expected) > 0.95
    mask = tmp_path / "two" / "left_alpha.nii.gz"
    assert run(path, "--mask", mask, "--label", "again", "-o", tmp_path / "again") == 0
    again = np.asarray(nibabel.load(tmp_path / "again" / "labels.nii.gz").dataobj)
    assert dice(again == 1, ids == 1) > 0.95


def test_a_folder_with_a_table(tube: Any, run: Any, tmp_path: Path, capsys: Any) -> None:
    path, truth = tube
    folder = tmp_path / "volumes"
    folder.mkdir()
    (folder / "one.nii.gz").write_bytes(path.read_bytes())
    (folder / "two.nii.gz").write_bytes(path.read_bytes()[:3000])
    table = tmp_path / "prompts.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["volume", "label", "kind", "values", "slice", "coordinates"])
        writer.writerow(["two.nii.gz", "tube", "box", "12 12 30 28", "10", ""])
        writer.writerow(["one", "tube", "box", "12 12 30 28", "10", ""])
    assert run(folder, "--prompts", table, "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "error: two.nii.gz:" in said.err and "cut off" in said.err and "one: done" in said.out
    ids = np.asarray(nibabel.load(tmp_path / "out" / "one" / "labels.nii.gz").dataobj)
    assert dice(ids == 1, truth) > 0.95 and not (tmp_path / "out" / "two" / "report.json").exists()
    table.write_text("volume,label,kind,values\nthree,a,box3d,1 2 3 4 5 6\n")
    assert run(folder, "--prompts", table, "-o", tmp_path / "out") == 1
    assert "expected one volume called 'three', found 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected --box, --box3d, --point, --mask or --prompts"),
        (["--box", 1, 2, 3, 4], "expected --slice K"),
        (["--box", 1, 2, 3, 4, "--slice", 99], "slice: expected 0 to 19 along k"),
        (["--box", 50, 50, 60, 60, "--slice", 3], r"inside the file's (40, 44, 20)"),
        (["--point", 1, 2, 3, 7], "label 1 (object) or 0 (background), got 7"),
        (["--point", 1, 2], "point with 3 or 4 numbers"),
        ([*BOX, "--window", "belly"], "window: expected auto"),
        ([*BOX, "--axis", "x"], "axis: expected auto"),
        ([*BOX, "--context", "0.5"], "context: expected 0"),
        ([*BOX, "--time", 2], "time index from 0 to 0"),
        (
            ["--box3d", 90, 90, 90, 99, 99, 99, "--world"],
            "expected world mm between -11.0 -19.5 4.5 and 29.0 20.5 48.5",
        ),
    ],
)
def test_misuse_is_one_line(tube: Any, run: Any, tmp_path: Path, capsys: Any, words: list[Any], message: str) -> None:
    code = run(tube[0], *words, "-o", tmp_path / "out")
    said = capsys.readouterr().err
    assert code == 1 and message in said and said.count("\n") == 1
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_output_that_cannot_be(tube: Any, run: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert run(tube[0], *BOX, "-o", tmp_path / "file") == 1
    assert "expected a folder, got the file" in capsys.readouterr().err
    assert run(tmp_path / "absent.nii", *BOX, "-o", tmp_path / "out") == 1
    assert "found nothing" in capsys.readouterr().err


def test_answers_are_found_again_by_model(tmp_path: Path) -> None:
    one, other = AnswerStore(tmp_path, "a" * 64), AnswerStore(tmp_path, "b" * 64)
    alpha = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    kept = alpha.copy()
    one.put("k" * 64, kept)
    assert np.abs(kept - alpha).max() < 3e-4
    assert np.array_equal(one.get("k" * 64), kept) and other.get("k" * 64) is None and one.get("x" * 64) is None
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    assert one.get("k" * 64) is None and not file.exists()


class SavingPredictor:
    """Remembers a picture as an embedding would."""

    def __init__(self) -> None:
        self.embedded = 0

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.embedded += 1
        self.image = image

    def predict(self) -> None: ...

    def save_embedding(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.image.tobytes())

    def load_embedding(self, path: Path, *, image: np.ndarray) -> None:
        if path.read_bytes() != image.tobytes():
            raise ConfigError("another image")
        self.image = image


def test_embeddings_are_kept_within_a_limit(tmp_path: Path) -> None:
    pictures = [np.full((50, 40, 3), value, np.uint8) for value in range(5)]
    predictor: Any = SavingPredictor()
    cache = EmbeddingCache(tmp_path, "m" * 64)
    for picture in [*pictures, *pictures]:
        cache.show(predictor, picture)
        assert np.array_equal(predictor.image, picture)
    assert predictor.embedded == 5 and (cache.hits, cache.misses) == (5, 5)
    EmbeddingCache(tmp_path, "n" * 64).show(predictor, pictures[0])
    assert predictor.embedded == 6  # another model
    small = EmbeddingCache(tmp_path / "small", "m" * 64, limit_gb=13e-6)
    for picture in pictures:
        small.show(predictor, picture)
    assert len(list((tmp_path / "small").rglob("*.safetensors"))) <= 3
    next((tmp_path / ("m" * 16)).glob("*")).write_bytes(b"damaged")
    before = predictor.embedded
    for picture in pictures:
        cache.show(predictor, picture)
    assert predictor.embedded == before + 1
    with pytest.raises(ConfigError, match="limit_gb"):
        EmbeddingCache(tmp_path, "m", limit_gb=0)


def test_a_model_is_known_by_its_weights() -> None:
    import torch

    class Around:
        def __init__(self, model: torch.nn.Module) -> None:
            self.model = model

        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None: ...
        def predict(self) -> None: ...

    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    same: Any = Around(first)
    assert model_identity(same, "a") == model_identity(same, "a") != model_identity(same, "b")
    assert model_identity(same, "a") != model_identity(Around(second), "a")  # type: ignore[arg-type]
