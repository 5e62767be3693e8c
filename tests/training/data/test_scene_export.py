"""The export's folders, resume and errors."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.scene_export import MIN_AREA, choose_object, export_scenes, main
from training.data.scenes import generate_scene
from zim.errors import DataError


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_layout_manifest_and_alpha_of_the_chosen_object(tmp_path: Path) -> None:
    samples = export_scenes(tmp_path, count=4, seed=20, size=64, progress=False)
    fine = [sample for sample in samples if sample.tag == "fine"]
    assert [sample.name for sample in fine] == ["00000020", "00000021", "00000022", "00000023"]
    expected = [f"{s.tag}/{kind}/{s.name}.png" for s in samples for kind in ("image", "alpha")]
    assert files(tmp_path) == sorted(expected)
    for sample in samples:
        scene = generate_scene(sample.seed, size=64)
        chosen = choose_object(scene, sample.seed, fine=sample.tag == "fine")
        assert chosen is not None and chosen.kind == sample.kind and chosen.alpha.mean() >= MIN_AREA
        alpha = cv2.imread(str(tmp_path / sample.tag / "alpha" / f"{sample.name}.png"), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(tmp_path / sample.tag / "image" / f"{sample.name}.png"), cv2.IMREAD_COLOR_RGB)
        assert alpha.dtype == np.uint8 and alpha.ndim == 2
        np.testing.assert_allclose(alpha / 255, chosen.alpha, atol=0.5 / 255 + 1e-5)
        np.testing.assert_array_equal(image, scene.image)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["arguments"]["seed"] == 20 and manifest["size"] == 64
    assert [item["name"] for item in manifest["samples"] if item["tag"] == "fine"] == [s.name for s in fine]


def test_resume_skips_complete_pairs_and_mends_missing_ones(tmp_path: Path) -> None:
    export_scenes(tmp_path, count=3, seed=0, size=64, progress=False)
    kept, lost = (tmp_path / "fine" / "alpha" / f"0000000{k}.png" for k in (0, 1))
    original, marker = lost.read_bytes(), b"not touched again"
    kept.write_bytes(marker)
    lost.unlink()
    with (tmp_path / "manifest.jsonl").open("a") as journal:
        journal.write('[{"name": "0000')  # what a crash leaves
    samples = export_scenes(tmp_path, count=4, seed=0, size=64, progress=False)
    assert kept.read_bytes() == marker and lost.read_bytes() == original
    assert sum(sample.tag == "fine" for sample in samples) == 4
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    again = export_scenes(tmp_path, count=4, seed=0, size=64, progress=False)
    assert again == samples


def test_other_arguments_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    export_scenes(tmp_path, count=1, seed=0, size=64, progress=False)
    with pytest.raises(DataError, match=r"another export \(size 64, now 96\)"):
        export_scenes(tmp_path, count=1, seed=0, size=96, progress=False)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    assert main(["--export", str(target), "--count", "2", "--seed", "5", "--size", "64"]) == 0
    assert "2 fine" in capsys.readouterr().out
    assert (target / "fine" / "alpha" / "00000006.png").is_file()
    assert main(["--export", str(target), "--photos", str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert "error: photos: expected" in error and "Traceback" not in error
    with pytest.raises(SystemExit) as stop:
        main(["--export", str(target), "--count", "0"])
    assert stop.value.code == 2 and "--count: expected at least 1, got 0" in capsys.readouterr().err


def test_damaged_journal_is_named_and_kept(tmp_path: Path) -> None:
    journal = tmp_path / "manifest.jsonl"
    journal.write_text('{"generator_ver')
    with pytest.raises(DataError, match="manifest.jsonl is damaged"):
        export_scenes(tmp_path, count=1, seed=1, size=64)
    assert journal.read_text() == '{"generator_ver'
