"""LaMa's loading code with small modules of the same signature, written and read as real TorchScript files."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from adapters.inpaint_anything.engines import load_engine
from adapters.inpaint_anything.engines.lama import BIG_LAMA, LamaEngine, find_lama, load_lama
from adapters.inpaint_anything.stand_ins import PullPush, save_pull_push
from zim.errors import CheckpointError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("lama") / "big-lama.pt"
    return path, save_pull_push(path)


def test_a_file_is_loaded_and_paints(file: tuple[Path, str], disc) -> None:  # type: ignore[no-untyped-def]
    """Sides of 93 and 117 are padded to multiples of 8; the ramp goes on behind the disc."""
    engine = load_lama(file[0], sha256=file[1], device="cpu")
    image, hole = disc.image[:93, :117], disc.alpha[:93, :117] > 0
    painted = engine.inpaint(image, hole)
    assert painted.shape == image.shape and painted.dtype == np.uint8
    np.testing.assert_array_equal(painted[~hole], image[~hole])
    assert np.abs(painted.astype(int) - disc.background[:93, :117]).mean() < 3
    np.testing.assert_array_equal(painted, engine.inpaint(image, hole))


def test_the_scripted_module_answers_as_the_plain_one(file: tuple[Path, str], disc) -> None:  # type: ignore[no-untyped-def]
    scripted = load_lama(file[0], sha256=file[1], device="cpu")
    plain = LamaEngine(PullPush())
    hole = disc.alpha > 0
    np.testing.assert_array_equal(scripted.inpaint(disc.image, hole), plain.inpaint(disc.image, hole))


def test_what_the_module_is_given() -> None:
    seen = []

    def module(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append((image, mask))
        return image

    image = np.full((70, 100, 3), 255, np.uint8)
    hole = np.zeros((70, 100), bool)
    hole[3, 4] = True
    np.testing.assert_array_equal(LamaEngine(module).inpaint(image, hole), image)
    pixels, mask = seen[0]
    assert pixels.shape == (1, 3, 72, 104) and mask.shape == (1, 1, 72, 104)
    assert float(pixels.max()) == 1.0 and float(mask.sum()) == 1.0 and float(mask[0, 0, 3, 4]) == 1.0
    assert pixels.dtype == mask.dtype == torch.float32


def test_other_files_are_refused(file: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = file
    with pytest.raises(CheckpointError, match=f"expected sha256 {BIG_LAMA.sha256}.*got {digest}"):
        load_lama(path, device="cpu")
    with pytest.raises(CheckpointError, match="does not exist; download https://"):
        load_lama(tmp_path / "none.pt", device="cpu")
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match="no TorchScript file"):
        load_lama(broken, sha256=hashlib.sha256(b"no zip").hexdigest(), device="cpu")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda image, mask: image[:, :, :-1], "expected a finite image"),
        (lambda image, mask: image * float("nan"), "expected a finite image"),
        (lambda image, mask: image.view(7), "the model fails"),
        (lambda image, mask: (image, mask), "expected a finite image"),
    ],
)
def test_modules_of_another_kind(answer, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CheckpointError, match=message):
        LamaEngine(answer).inpaint(np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), bool))


def test_where_it_is_looked_for(file: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_lama(None) is None and find_lama(tmp_path / "big-lama") is None
    assert find_lama(file[0]) == find_lama(file[0].parent) == file[0]
    (tmp_path / "zim").mkdir()
    (tmp_path / "zim" / "big-lama.pt").write_bytes(b"x")
    assert find_lama(None) == tmp_path / "zim" / "big-lama.pt"
    assert load_engine("lama", lama=file[0], lama_sha256=file[1].upper(), device="cpu").name == "lama"


def test_no_warning_reaches_the_user(file: tuple[Path, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_lama(file[0], sha256=file[1], device="cpu")
