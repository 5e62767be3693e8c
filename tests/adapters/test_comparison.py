"""Tables of comparisons against means computed by hand, and the command around them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters import benchmark
from adapters.answers import answers_of
from adapters.comparison import (
    Comparison,
    Curve,
    Failure,
    Measurement,
    Metric,
    Tile,
    json_table,
    markdown_table,
    text_table,
)
from adapters.comparison_figure import save_comparison_figure
from adapters.hq_sam import benchmark as hq_benchmark
from adapters.inpaint_anything import benchmark as removal_benchmark
from adapters.matte_anything import scenes as matte_scenes
from adapters.oracle import OraclePredictor
from zim import load_predictor
from zim.errors import ConfigError


@pytest.fixture
def comparison() -> Comparison:
    rows = [("zim", "a", 2.0, 0.5), ("sam", "a", 4.0, 0.25), ("zim", "b", 4.0, math.nan), ("sam", "b", 8.0, 0.75)]
    return Comparison(
        title="two against each other",
        metrics=(Metric("mse", "MSE"), Metric("iou", "IoU", 2, True), Metric("none", "never measured")),
        measurements=[Measurement("fine", row, sample, {"mse": mse, "iou": iou}) for row, sample, mse, iou in rows],
        tiles=[[Tile("photo", np.zeros((8, 12, 3), np.uint8))], [Tile("a", np.ones((4, 4))), Tile("b", np.eye(4))]],
        curves=[Curve(title="t", x_title="x", y_title="y", x=(0, 1), series={"zim": (1.0, 2.0)})],
        failures=[Failure("sam", "c", "out of memory")],
    )


def test_tables(comparison: Comparison) -> None:
    lines = text_table(comparison).splitlines()
    assert lines[2:6] == ["fine", "     n  MSE ↓  IoU ↑", "zim  2   3.0*  0.50*", "sam  2    6.0  0.50*"]
    assert "1 failures:\n- sam on c: out of memory" in text_table(comparison)
    assert "| zim | 2 | 3.0 ± 1.0* | 0.50* |" in markdown_table(comparison)
    assert comparison.mean("fine", "zim", "iou") == 0.5 and comparison.mean("fine", "sam", "mse") == 6
    with pytest.raises(ConfigError, match="expected figures of 'none'"):
        comparison.mean("fine", "zim", "none")


def test_json_holds_everything(comparison: Comparison) -> None:
    told = json.loads(json.dumps(json_table(comparison), allow_nan=False))
    assert told["means"]["fine"]["sam"]["mse"] == {"mean": 6.0, "std": 2.0, "count": 2}
    assert told["measurements"][2]["values"] == {"mse": 4.0, "iou": None}


def test_figure(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert save_comparison_figure(comparison, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as drawn:
        assert min(drawn.size) > 200
    empty = Comparison(title="", metrics=(), measurements=[])
    assert not save_comparison_figure(empty, tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def test_command(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def compare(predictors, **settings):  # type: ignore[no-untyped-def]
        asked.append((list(predictors), settings))
        return comparison

    monkeypatch.setattr(benchmark, "comparison_of", lambda name: compare)
    files = [str(tmp_path / name) for name in ("a.json", "a.png", "a.md")]
    command = ["hq_sam", "--predictors", "grabcut", "--limit", "3"]
    assert benchmark.main([*command, "--seed", "7"]) == 0
    assert asked.pop() == (["grabcut"], {"data": None, "limit": 3, "progress": True, "seed": 7})
    command += ["--data", str(tmp_path)]
    assert benchmark.main([*command, "--json", files[0], "--figure", files[1], "--markdown", files[2]]) == 0
    assert asked == [(["grabcut"], {"data": tmp_path, "limit": 3, "progress": True, "seed": 0})]
    told = json.loads(Path(files[0]).read_text())
    assert told["adapter"] == "hq_sam" and told["command"].startswith("python -m adapters.benchmark hq_sam ")
    assert "python -m adapters.benchmark" in Path(files[2]).read_text()
    for wrong, message in (
        (["--predictors", "grabcut,grabcut"], "--predictors: expected distinct names"),
        (["--predictors", "no_such_model"], "no_such_model"),
        (["--limit", "0"], "--limit: expected at least 1"),
        (["--data", str(tmp_path / "absent")], "absent does not exist"),
        (["--seed", "-1"], "--seed: expected a number from 0 to 9999, got -1"),
        (["--seed", "10000"], "got 10000"),
        (["--seed", "1", "--data", str(tmp_path)], "--seed: expected none beside --data"),
    ):
        capsys.readouterr()
        assert benchmark.main(["hq_sam", *wrong]) == 1
        assert message in capsys.readouterr().err


def test_a_seed_gives_other_scenes() -> None:
    """Its own ones, and the same again."""
    photos = {
        seed: [sample.image for sample in matte_scenes.samples_of(None, 1, seed=seed)] for seed in (0, 3)
    } | {"again": [sample.image for sample in matte_scenes.samples_of(None, 1, seed=3)]}
    assert np.array_equal(photos[3], photos["again"]) and not np.array_equal(photos[0], photos[3])
    (_, first), (_, other) = (hq_benchmark._generated(1, seed) for seed in (0, 3))
    assert not np.array_equal(next(first).image, next(other).image)
    compared = [removal_benchmark.compare({"grabcut": load_predictor("grabcut")}, limit=1, seed=s) for s in (0, 3)]
    figures = [comparison.measurements[0].values["surplus"] for comparison in compared]
    assert figures[0] != figures[1] and [comparison.settings["seed"] for comparison in compared] == [0, 3]


def test_unknown_adapters_are_named() -> None:
    assert benchmark.main(["no_such_adapter"]) == 1
    with pytest.raises(ConfigError, match="expected one of matte_anything, .*, got 'x'"):
        benchmark.comparison_of("x")


def test_sam_has_two_rows_of_one_answer() -> None:
    soft = np.linspace(0.05, 0.95, 64, dtype=np.float32).reshape(8, 8)
    oracle = OraclePredictor()
    oracle.expect(soft)
    oracle.set_image(np.zeros((8, 8, 3), np.uint8))
    (only,) = answers_of("zim", oracle, box=np.array([0, 0, 8, 8]))
    assert only.row == "zim" and np.abs(only.alpha - soft).max() < 1e-5

    class Sam(OraclePredictor):
        predict = OraclePredictor.predict

    sam = Sam()
    sam.expect(soft)
    sam.set_image(np.zeros((8, 8, 3), np.uint8))
    sam.reports_binary = True
    binary, sigmoid = answers_of("sam", sam, box=np.array([0, 0, 8, 8]))
    assert (binary.row, sigmoid.row) == ("sam (binary)", "sam (sigmoid)")
    assert np.array_equal(binary.alpha, soft > 0.5)
