"""Rendered scenes on disk: exact to 8 bit, resumed, refused when damaged or of doubtful origin."""

from pathlib import Path

import numpy as np
import pytest

from training.data import scene_cache
from training.data.scene_cache import (
    SceneCache,
    first_training_seed,
    main,
    read_scene,
    render_all,
    save_scene,
)
from training.data.scene_photos import PhotoPool
from training.data.scenes import GENERATOR_VERSION, Scene, SceneObject, generate_scene
from zim.errors import DataError
from zim.image_io import save_png


@pytest.fixture(scope="module")
def scene() -> Scene:
    return generate_scene(3, size=64)


def write_photo(folder: Path, value: int) -> PhotoPool:
    save_png(folder / f"{value}.png", np.full((40, 40, 3), value, np.uint8))
    return PhotoPool(folder)


def cache_in(folder: Path, photos: PhotoPool | None = None, count: int = 2) -> SceneCache:
    return SceneCache(folder=folder, size=64, first=3, count=count, photos=photos)


def test_round_trip_is_exact_to_eight_bits(tmp_path: Path, scene: Scene) -> None:
    assert scene.objects
    save_scene(tmp_path / "a.npz", scene)
    found = read_scene(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.image, scene.image)
    for ours, theirs in zip(found.objects, scene.objects, strict=True):
        assert (ours.kind, ours.fine, ours.parent) == (theirs.kind, theirs.fine, theirs.parent)
        assert ours.alpha.dtype == np.float32
        np.testing.assert_allclose(ours.alpha, theirs.alpha, atol=0.5 / 255 + 1e-6)


def test_parents_survive(tmp_path: Path) -> None:
    alpha = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    objects = tuple(SceneObject(alpha=alpha, kind="x", fine=True, parent=parent) for parent in (None, 0, 1))
    save_scene(tmp_path / "a.npz", Scene(image=np.zeros((8, 8, 3), np.uint8), objects=objects))
    assert [item.parent for item in read_scene(tmp_path / "a.npz").objects] == [None, 0, 1]


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.9, 0.999])
def test_truncated_file_is_named(tmp_path: Path, scene: Scene, kept: float) -> None:
    path = tmp_path / "a.npz"
    save_scene(path, scene)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=f"{path} cannot be read .*delete it to have it rendered again"):
        read_scene(path)


def test_flipped_byte_and_foreign_file_are_named(tmp_path: Path, scene: Scene) -> None:
    path = tmp_path / "a.npz"
    save_scene(path, scene)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=str(path)):
        read_scene(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=str(path)):
        read_scene(path)


def test_scene_is_rendered_once_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_in(tmp_path)
    first = cache.scene(0)
    (path,) = tmp_path.rglob("*.npz")
    assert path == tmp_path / f"v{GENERATOR_VERSION}_64" / "00000003.npz"
    monkeypatch.setattr(scene_cache, "generate_scene", lambda *a, **k: pytest.fail("rendered again"))
    again = cache.scene(0)
    np.testing.assert_array_equal(first.image, again.image)
    for ours, theirs in zip(first.objects, again.objects, strict=True):  # the first answer is already the stored one
        np.testing.assert_array_equal(ours.alpha, theirs.alpha)


def test_without_a_folder_the_scene_is_the_generators() -> None:
    cache = SceneCache(folder=None, size=64, first=3, count=1, photos=None)
    np.testing.assert_array_equal(cache.scene(0).image, generate_scene(3, size=64).image)
    with pytest.raises(DataError, match="expected a folder"):
        render_all(cache)


def test_rendering_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cache", str(tmp_path), "--size", "64", "--first", "3", "--count", "1"]) == 0
    (path,) = tmp_path.rglob("*.npz")
    stamp = path.stat().st_mtime_ns
    assert main(["--cache", str(tmp_path), "--size", "64", "--first", "3", "--count", "2"]) == 0
    assert len(list(tmp_path.rglob("*.npz"))) == 2 and path.stat().st_mtime_ns == stamp
    capsys.readouterr()


def test_interrupted_write_leaves_nothing(tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file, **arrays) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(scene_cache.np, "savez", broken)
    with pytest.raises(KeyboardInterrupt):
        save_scene(tmp_path / "a.npz", scene)
    assert list(tmp_path.iterdir()) == []


def test_cache_of_other_photographs_is_refused(tmp_path: Path) -> None:
    """Otherwise weights could inherit textures, and their licence, from a run that nobody remembers."""
    grey, white = write_photo(tmp_path / "grey", 90), write_photo(tmp_path / "white", 255)
    cache_in(tmp_path / "cache", grey).check_origin()
    cache_in(tmp_path / "cache", grey).check_origin()
    for photos in (white, None):
        with pytest.raises(DataError, match="rendered with other photographs"):
            cache_in(tmp_path / "cache", photos).check_origin()


def test_cache_of_unknown_origin_is_not_taken_for_procedural(tmp_path: Path, scene: Scene) -> None:
    save_scene(tmp_path / f"v{GENERATOR_VERSION}_64" / "00000003.npz", scene)
    with pytest.raises(DataError, match="may hold scenes made of photographs"):
        cache_in(tmp_path).check_origin()
    cache_in(tmp_path, write_photo(tmp_path / "grey", 90)).check_origin()  # with photographs nothing is promised


def test_sizes_have_seeds_of_their_own() -> None:
    seeds = [first_training_seed(size) for size in (256, 512, 1024, 128)]
    assert min(seeds) >= 1_000_000 and min(np.diff(sorted(seeds))) >= 1_000_000


@pytest.mark.parametrize("arguments", [["--photos", "nowhere"], ["--size", "8"]])
def test_faults_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["--cache", str(tmp_path), "--count", "1", *arguments]) == 1
    assert "scene_cache: error: " in capsys.readouterr().err.splitlines()[-1]
