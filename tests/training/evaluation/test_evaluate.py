"""The evaluation command with predictors whose answers, and therefore all figures, are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.evaluate import main
from zim.checkpoints import save_checkpoint
from zim.modeling.config import ZIM_TEST


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str, dict[str, Any]]]:
    """`run(predictors, *arguments)`: exit code, output, last line of the errors, and the JSON (empty without one)."""

    def call(predictors: dict[str, Any], *arguments: object) -> tuple[int, str, str, dict[str, Any]]:
        out = tmp_path / "out.json"
        names = ",".join(predictors)
        given = ["--models", names, "--json", str(out), "--threads", "1", *map(str, arguments)]
        code = main(given, load=lambda name, device: predictors[name])
        captured = capsys.readouterr()
        lines = captured.err.splitlines() or [""]
        return code, captured.out, lines[-1], json.loads(out.read_text()) if out.is_file() else {}

    return call


def numbers(report: dict[str, Any]) -> Any:
    """The figures without the times."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in report["images"]]


def test_tables_of_a_matting_set(run: Any, mattes: Path, reader_type: Any, tmp_path: Path) -> None:
    models = {"oracle": reader_type(), "half": reader_type(0.5), "sam": reader_type(0.8, binary=True)}
    files = ["--markdown", tmp_path / "o.md", "--figure", tmp_path / "o.png"]
    code, text, _, report = run(models, "--dataset", "matte_folder", "--root", mattes, *files)
    assert code == 0 and report["sample_count"] == report["item_count"] == 4
    assert report["rows"] == ["oracle", "half", "sam (binary)", "sam (sigmoid)", "empty", "box", "thresholded truth"]
    assert report["aggregates"]["all"]["oracle"]["mse"] == pytest.approx(0, abs=1e-6)
    alphas = [row for row in report["images"] if row["row"] == "empty"]
    halves = [row for row in report["images"] if row["row"] == "half"]
    assert [h["scores"]["mse"] for h in halves] == pytest.approx([e["scores"]["mse"] / 4 for e in alphas], rel=1e-4)
    ratios = report["relative_to_binary_sam"]
    fine = report["aggregates"]["fine"]
    expected = fine["half"]["mse"] / fine["sam (binary)"]["mse"]
    assert ratios["split"] == "fine" and ratios["stretch"] == {"MSE": 0.17, "Grad": 0.33}
    assert ratios["ratios"]["sam"]["half"]["mse"] == pytest.approx(expected)
    for wanted in ("fine, n = 2: SAD", "coarse, n = 2: SAD", "half / sam (binary)", "0 items quarantined"):
        assert wanted in text and wanted in (tmp_path / "o.md").read_text()
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")


def test_one_click_miou_over_objects_and_sets(run: Any, labels: tuple[Path, Path], everything: Any) -> None:
    """Where all is foreground, the IoU of an object is its share of the photograph."""
    from scipy.ndimage import distance_transform_edt

    arguments = ["--dataset", "label_folder", "--root", *labels, "--prompt", "point"]
    code, text, _, report = run({"all": everything}, *arguments)
    shares = [300 / 2000, 270 / 2000, 4 / 2000], [10 / 50, 25 / 50]
    means = report["means"]["mIoU"]["all"]
    assert code == 0 and report["sample_count"] == 5 and report["item_count"] == 3
    assert means["one"] == pytest.approx(np.mean(shares[0])) and means["two"] == pytest.approx(np.mean(shares[1]))
    assert means["all objects"] == pytest.approx(np.mean([*shares[0], *shares[1]]))
    assert means["mean of data sets"] == pytest.approx((means["one"] + means["two"]) / 2)
    assert "mean of data sets" in text and "no SAM among the models" in text
    mask = np.zeros((40, 50))
    mask[20:38, 5:20] = 1
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    x, y = (int(v) for v in everything.clicks[1])
    assert len(everything.clicks) == 5 and depth[y, x] == depth.max()


def test_dense_points_are_asked_for(run: Any, mattes: Path, reader_type: Any) -> None:
    oracle = reader_type()
    arguments = ["--dataset", "matte_folder", "--root", mattes, "--prompt", "points:7", "--limit", 2]
    assert run({"m": oracle}, *arguments)[0] == 0
    assert [len(prompt["point_coords"]) for prompt in oracle.prompts] == [7, 7]


def test_an_interrupted_run_goes_on(run: Any, mattes: Path, reader_type: Any, tmp_path: Path) -> None:
    arguments = ["--dataset", "matte_folder", "--root", mattes]
    whole = run({"m": reader_type(0.5)}, *arguments)[3]
    for path in tmp_path.glob("out.*"):
        path.unlink()

    def stop(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    code, _, line, report = run({"m": reader_type(0.5, at=stop)}, *arguments)
    assert code == 130 and "the same command goes on" in line and report == {}
    second = reader_type(0.5)
    code, _, _, report = run({"m": second}, *arguments)
    assert code == 0 and len(second.prompts) == 2
    assert numbers(report) == numbers(whole) and report["aggregates"].keys() == whole["aggregates"].keys()
    third = reader_type(0.5)
    pictures = run({"m": third}, *arguments, "--figure", tmp_path / "o.png")
    assert numbers(pictures[3]) == numbers(whole) and len(third.prompts) == 4, "a picture needs an answer"


def test_a_journal_of_other_settings_is_an_error(run: Any, mattes: Path, reader_type: Any) -> None:
    arguments = ["--dataset", "matte_folder", "--root", mattes]
    assert run({"m": reader_type()}, *arguments)[0] == 0
    for changed in (["--prompt", "point"], ["--limit", 3], ["--exclude", "a"], ["--long-side", 20], ["--multimask"]):
        code, _, line, _ = run({"m": reader_type()}, *arguments, *changed)
        assert code == 1 and "out.journal.jsonl: is the journal of another run" in line, changed
    code, _, line, _ = run({"m": reader_type(), "n": reader_type()}, *arguments)
    assert code == 1 and "models was" in line


def test_corrupt_items_are_counted_not_dropped(run: Any, mattes: Path, reader_type: Any) -> None:
    bad = mattes / "fine/alpha/a.png"
    bad.write_bytes(bad.read_bytes()[:60])
    code, text, _, report = run({"m": reader_type()}, "--dataset", "matte_folder", "--root", mattes)
    assert code == 0 and report["sample_count"] == 3 and report["item_count"] == 4
    assert [item["file"] for item in report["quarantined"]] == [str(bad)]
    assert "1 items quarantined" in text and str(bad) in text
    for path in mattes.rglob("*.png"):
        path.write_bytes(b"no picture")
    (mattes.parent / "out.journal.jsonl").unlink()
    code, _, line, _ = run({"m": reader_type()}, "--dataset", "matte_folder", "--root", mattes)
    assert code == 1 and "nothing was measured: 4 items, 4 quarantined" in line


def test_excluded_items_are_counted(run: Any, mattes: Path, reader_type: Any) -> None:
    arguments = ["--dataset", "matte_folder", "--root", mattes, "--exclude", "a,c,elsewhere"]
    code, text, _, report = run({"m": reader_type()}, *arguments)
    assert code == 0 and report["sample_count"] == 2 and "2 items excluded" in text
    assert [entry["item"] for entry in report["excluded"]] == ["coarse/c", "fine/a"]


def test_failures_are_told_and_tried_again(run: Any, mattes: Path, reader_type: Any) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise RuntimeError("out of memory")

    arguments = ["--dataset", "matte_folder", "--root", mattes]
    code, text, _, report = run({"m": reader_type(at=fail)}, *arguments)
    assert code == 0 and "m on coarse/d: RuntimeError: out of memory" in text and len(report["failures"]) == 1
    again = reader_type()
    assert run({"m": again}, *arguments)[3]["failures"] == [] and len(again.prompts) == 1

    def always(number: int) -> None:
        raise RuntimeError("no")

    code, _, line, _ = run({"n": reader_type(at=always)}, *arguments, "--json", mattes / "n.json")
    assert code == 1 and "n failed on every object, first with RuntimeError: no" in line


def test_learning_curve_of_checkpoints(run: Any, mattes: Path, reader_type: Any, tmp_path: Path) -> None:
    predictors: dict[str, Any] = {}
    for step, factor in ((300, 0.9), (100, 0.5)):
        path = tmp_path / f"{step}.safetensors"
        metadata = {"step": str(step), "model": "zim_tiny"}
        save_checkpoint(path, {"w": torch.zeros(1)}, config=ZIM_TEST.to_dict(), metadata=metadata)
        predictors[str(path)] = reader_type(factor)
    out = tmp_path / "curve.png"
    arguments = ["--dataset", "matte_folder", "--root", mattes, "--curve", out]
    code, text, _, report = run({**predictors, "peer": reader_type(0.7)}, *arguments)
    assert code == 0 and out.read_bytes().startswith(b"\x89PNG")
    assert "no step in the metadata of peer" in text
    assert len(report["settings"]["models"][str(tmp_path / "100.safetensors")]) == 64

    from training.evaluation.curve import curves, trainings_of
    from zim.evaluation.results import BenchmarkResult, ImageRow

    result = BenchmarkResult(
        dataset="", prompt_rule="", long_side=None, date="", command="", machine={}, sample_count=0
    )
    result.rows = [ImageRow(**row) for row in report["images"]]
    steps, values = curves(result, trainings_of(predictors), "mse")["zim_tiny"]
    assert steps == [100, 300] and values[0] == pytest.approx(25 * values[1], rel=1e-3)  # (1 - 0.5)^2 : (1 - 0.9)^2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dataset", "nonsense"], "name: expected one of aim500"),
        (["--dataset", "matte_folder", "rwp636"], "--dataset: expected one reader, or one for each of 1 roots"),
        (["--dataset", "matte_folder", "--pieces"], "--pieces: expected a reader with label maps, got matte_folder"),
        (["--dataset", "matte_folder", "--prompt", "text"], "prompt rule: expected box, point or points:N"),
        (["--dataset", "matte_folder", "--limit", 0], "--limit: expected a number >= 1, got 0"),
        (["--dataset", "matte_folder", "--split", "x"], "split: expected one of all for matte_folder, got 'x'"),
        (["--dataset", "matte_folder", "--models", "m,m"], "--models: expected different names"),
        (["--dataset", "matte_folder", "--models", " , "], "--models: expected different names, at least one"),
        (["--dataset", "matte_folder", "--curve", "c.png"], "--curve: expected checkpoints with a step"),
        (["--dataset", "aim500"], "expected aim500 as original/ + mask/, found none of it"),
    ],
)
def test_faults_are_one_line(run: Any, mattes: Path, reader_type: Any, arguments: list[object], text: str) -> None:
    code, _, line, _ = run({"m": reader_type()}, "--root", mattes, *arguments)
    assert code == 1 and line.startswith("evaluate: error: ") and text in line


def test_a_model_that_cannot_be_loaded_is_named(mattes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def load(name: str, device: str) -> Any:
        raise KeyError("weights\nof theirs")

    given = ["--dataset", "matte_folder", "--root", str(mattes), "--models", "their.module:factory"]
    assert main(given, load=load) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("evaluate: error: model their.module:factory failed to load: KeyError: ")


def test_two_folders_of_one_name_are_told_apart(run: Any, labels: tuple[Path, Path], everything: Any) -> None:
    arguments = ["--dataset", "label_folder", "--root", labels[1], labels[1], "--prompt", "point", "--min-area", 500]
    report = run({"all": everything}, *arguments)[3]
    assert list(report["data_sets"]) == ["two", "two 2"] and report["sample_count"] == 2
