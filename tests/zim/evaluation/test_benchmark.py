"""The benchmark with predictors whose answers, and therefore all averages, are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zim.errors import ConfigError
from zim.evaluation.benchmark import main, run_benchmark
from zim.evaluation.datasets import FolderDataset, MicroMat3kDataset
from zim.evaluation.metrics import matte_errors, unknown_band
from zim.evaluation.results import BenchmarkResult
from zim.protocol import Predictor

HW = (40, 50)
SIZES = {"fine/large": 15.0, "fine/medium": 6.0, "coarse/large": 14.0, "coarse/small": 1.5}


def soft_disc(radius: float, hw: tuple[int, int] = HW) -> np.ndarray:
    y, x = np.mgrid[: hw[0], : hw[1]]
    return np.clip((radius - np.hypot(x - 25, y - 20)) / 3 + 0.5, 0, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four photos whose red channel is their own alpha, so that an oracle can read the truth there."""
    for name, radius in SIZES.items():
        tag, stem = name.split("/")
        for folder in ("image", "alpha"):
            (tmp_path / "set" / tag / folder).mkdir(parents=True, exist_ok=True)
        alpha = np.round(soft_disc(radius) * 255).astype(np.uint8)
        Image.fromarray(np.stack([alpha, 0 * alpha, 0 * alpha], -1)).save(
            tmp_path / f"set/{tag}/image/{stem}.png"
        )
        Image.fromarray(alpha).save(tmp_path / f"set/{tag}/alpha/{stem}.png")
    return tmp_path / "set"


class Oracle:
    """Answers the truth times `factor`; fails on photos of the given indices."""

    def __init__(self, factor: float = 1.0, *, binary: bool = False, fails_on: tuple[int, ...] = ()) -> None:
        self.factor = factor
        self.fails_on = fails_on
        self.images_seen = 0
        self.prompts: list[dict] = []
        if binary:
            self.reports_binary = True

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.truth = image[..., 0] / 255
        self.images_seen += 1

    def predict(
        self,
        point_coords=None,
        point_labels=None,
        box=None,
        mask_input=None,
        multimask_output=True,
        return_logits=False,
    ):
        self.prompts.append({"points": point_coords, "labels": point_labels, "box": box, "mask": mask_input})
        if len(self.prompts) - 1 in self.fails_on:
            raise RuntimeError("out of ideas")
        alpha = np.clip(self.factor * self.truth, 1e-7, 1 - 1e-7)
        logits = np.log(alpha / (1 - alpha)).astype(np.float32)[None]
        return logits, np.ones(1, np.float32), np.zeros((1, 256, 256), np.float32)


def truths(root: Path) -> dict[str, np.ndarray]:
    return {s.id: s.load()[1] for s in FolderDataset(root)}


def test_averages_are_those_of_the_known_error(root: Path) -> None:
    result = run_benchmark(FolderDataset(root), {"oracle": Oracle(), "half": Oracle(0.5)})
    expected = [matte_errors(0.5 * t, t) for t in truths(root).values()]
    assert result.mean("oracle", "mse") == pytest.approx(0, abs=1e-9)
    assert result.mean("half", "sad") == pytest.approx(np.mean([e.sad for e in expected]), rel=1e-4)
    assert result.mean("half", "mse") == pytest.approx(
        np.mean([(t**2).mean() for t in truths(root).values()]) * 250
    )
    assert result.mean("half", "conn") == pytest.approx(np.mean([e.conn for e in expected]), rel=1e-4)
    bands = [matte_errors(0.5 * t, t, unknown_band(t)) for t in truths(root).values()]
    assert result.mean("half", "band_grad") == pytest.approx(np.mean([e.grad for e in bands]), rel=1e-4)
    assert (result.mean("oracle", "iou"), result.mean("oracle", "boundary_iou")) == (1, 1)
    assert result.mean("half", "iou") == 0


def test_splits_hold_their_samples(root: Path) -> None:
    result = run_benchmark(FolderDataset(root), {"half": Oracle(0.5)})
    by_id = truths(root)
    share = {name: float((alpha > 0.3).mean()) for name, alpha in by_id.items()}
    members = {
        "all": set(by_id),
        "fine": {"fine/large", "fine/medium"},
        "coarse": {"coarse/large", "coarse/small"},
        "S": {name for name, s in share.items() if s < 0.01},
        "M": {name for name, s in share.items() if 0.01 <= s < 0.1},
        "L": {name for name, s in share.items() if s >= 0.1},
    }
    assert all(members.values())
    aggregates = result.aggregates()
    assert set(aggregates) == set(members)
    for split, names in members.items():
        numbers = aggregates[split]["half"]
        assert numbers["count"] == len(names)
        assert numbers["mse"] == pytest.approx(np.mean([(by_id[n] ** 2).mean() for n in names]) * 250)


def test_trivial_rows_have_hand_made_numbers(root: Path) -> None:
    result = run_benchmark(FolderDataset(root), {})
    alphas = list(truths(root).values())
    assert result.row_names == ["empty", "box", "thresholded truth"]
    assert result.mean("empty", "mse") == pytest.approx(np.mean([(t**2).mean() for t in alphas]) * 1000)
    filled = []
    for t in alphas:
        rows, columns = np.nonzero(t > 0.3)
        box = np.zeros_like(t)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 1
        filled.append(np.abs(box - t).sum() / 1000)
    assert result.mean("box", "sad") == pytest.approx(np.mean(filled))
    rounding = np.mean([np.abs((t > 0.5) - t).mean() for t in alphas]) * 1000
    assert result.mean("thresholded truth", "mae") == pytest.approx(rounding)
    assert result.mean("thresholded truth", "iou") == 1
    assert "box" not in run_benchmark(FolderDataset(root), {}, "point").row_names


def test_sam_rows_are_binary_and_sigmoid_of_one_forward_pass(root: Path) -> None:
    sam = Oracle(0.8, binary=True)
    result = run_benchmark(FolderDataset(root), {"sam_x": sam})
    assert result.row_names[:2] == ["sam_x (binary)", "sam_x (sigmoid)"]
    assert len(sam.prompts) == len(SIZES)
    alphas = list(truths(root).values())
    binary = np.mean([(((0.8 * t > 0.5) - t) ** 2).mean() for t in alphas]) * 1000
    soft = np.mean([((0.2 * t) ** 2).mean() for t in alphas]) * 1000
    assert result.mean("sam_x (binary)", "mse") == pytest.approx(binary, rel=1e-4)
    assert result.mean("sam_x (sigmoid)", "mse") == pytest.approx(soft, rel=1e-4)


def test_ratios_take_the_better_sam_row_score_by_score(root: Path) -> None:
    predictors: dict[str, Predictor] = {
        "zim": Oracle(0.9),
        "sam_x": Oracle(0.8, binary=True),
        "grabcut": Oracle(0.5),
    }
    result = run_benchmark(FolderDataset(root), predictors)
    ratios = result.ratios()
    assert list(ratios) == ["sam_x (better row)", "grabcut"]
    for score in ("mse", "sad", "grad", "band_mse"):
        better = min(result.mean(f"sam_x ({kind})", score) for kind in ("binary", "sigmoid"))
        ratio = ratios["sam_x (better row)"]["zim"]["all"][score]
        assert ratio == pytest.approx(result.mean("zim", score) / better)
    assert ratios["grabcut"]["zim"]["all"]["mse"] == pytest.approx(0.1**2 / 0.5**2, rel=1e-3)
    assert "empty" not in ratios["grabcut"] and "sam_x (binary)" in ratios["grabcut"]


def test_ratios_compare_only_what_both_answered(root: Path) -> None:
    predictors: dict[str, Predictor] = {
        "zim": Oracle(0.9, fails_on=(0, 1)),
        "grabcut": Oracle(0.5, fails_on=(1, 2)),
    }
    ratio = run_benchmark(FolderDataset(root), predictors).ratios()["grabcut"]["zim"]["all"]["sad"]
    assert ratio == pytest.approx(0.1 / 0.5, rel=1e-3)


def test_failures_are_recorded_and_counted(root: Path) -> None:
    result = run_benchmark(
        FolderDataset(root), {"half": Oracle(0.5, fails_on=(1,)), "sam": Oracle(binary=True)}
    )
    assert [(f.row, f.sample, f.message) for f in result.failures] == [
        ("half", "coarse/small", "RuntimeError: out of ideas")
    ]
    numbers = result.aggregate("half")
    assert (numbers["count"], numbers["failures"]) == (3, 1)
    assert len(result.rows_of("sam (sigmoid)")) == 4


def test_answers_of_the_wrong_shape_or_not_finite_are_failures_of_every_row(root: Path) -> None:
    class Broken(Oracle):
        def predict(self, *args, **kwargs):
            logits, scores, low_res = super().predict(*args, **kwargs)
            return (logits[:, :-1] if len(self.prompts) == 1 else logits * np.nan), scores, low_res

    result = run_benchmark(FolderDataset(root), {"broken": Broken(binary=True)})
    assert not result.rows_of("broken (binary)") and not result.rows_of("broken (sigmoid)")
    assert len(result.failures) == 8
    assert "expected the truth's shape (40, 50), got (39, 50)" in result.failures[0].message


def test_unreadable_and_empty_samples_are_failures_of_the_dataset(root: Path) -> None:
    Image.new("L", HW[::-1]).save(root / "fine/alpha/medium.png")
    (root / "fine/alpha/large.png").write_bytes(b"")
    result = run_benchmark(FolderDataset(root), {"oracle": Oracle()})
    assert [(f.row, f.sample) for f in result.failures] == [
        ("dataset", "fine/large"),
        ("dataset", "fine/medium"),
    ]
    assert result.aggregate("oracle")["count"] == 2


def test_command_fails_when_nothing_could_be_measured(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in root.glob("*/alpha/*.png"):
        Image.new("L", HW[::-1]).save(path)
    assert main(["--root", str(root), "--models", "x"], load=lambda name, device: Oracle()) == 1
    captured = capsys.readouterr()
    assert "4 failures:" in captured.out
    assert "none of its 4 samples could be measured" in captured.err


def test_command_fails_when_a_model_answered_nothing_and_still_writes_the_rest(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = {"good": Oracle(), "mute": Oracle(fails_on=(0, 1, 2, 3)), "shaky": Oracle(fails_on=(0,))}
    file = tmp_path / "out.json"
    arguments = ["--root", str(root), "--json", str(file)]
    load = lambda name, device: models[name]  # noqa: E731
    assert main([*arguments, "--models", "good,mute,shaky"], load=load) == 1
    assert "error: models: mute failed on every sample, first with" in capsys.readouterr().err
    assert {"good", "shaky", "empty"} <= {row["row"] for row in json.loads(file.read_text())["images"]}
    models["shaky"] = Oracle(fails_on=(0,))
    assert main([*arguments, "--models", "good,shaky"], load=load) == 0
    assert main([*arguments, "--models", " , "], load=load) == 1
    assert "--models: expected at least one name" in capsys.readouterr().err


def test_long_side_shrinks_photo_and_truth_together(root: Path) -> None:
    result = run_benchmark(FolderDataset(root), {"half": Oracle(0.5)}, long_side=25)
    small = [t.reshape(20, 2, 25, 2).mean((1, 3)) for t in truths(root).values()]
    # the photo is rounded to 8 bits after shrinking, so the oracle is off by at most 1 / 510
    assert result.mean("half", "sad") == pytest.approx(
        np.mean([0.5 * t.sum() for t in small]) / 1000, rel=5e-3
    )


def write_micromat(root: Path) -> None:
    """One photo with two instances, points and boxes stored in original pixels."""
    for folder in ("img", "matte/fine", "prompt/fine", "seg/fine"):
        (root / folder).mkdir(parents=True)
    alpha = np.round(soft_disc(12) * 255).astype(np.uint8)
    Image.fromarray(np.stack([alpha] * 3, -1)).save(root / "img/0001.png")
    for instance in (1, 2):
        Image.fromarray(alpha).save(root / f"matte/fine/0001_{instance}.png")
        Image.fromarray(alpha).save(root / f"seg/fine/0001_{instance}.png")
        prompt = {"point": [[25, 20, 1], [2, 2 * instance, 0]], "bbox": [12, 8, 38, 32]}
        (root / f"prompt/fine/0001_{instance}.json").write_text(json.dumps(prompt))


def test_stored_prompts_are_scaled_with_the_photo_and_a_shared_photo_is_set_once(tmp_path: Path) -> None:
    write_micromat(tmp_path)
    dataset = MicroMat3kDataset(tmp_path)
    oracle = Oracle()
    result = run_benchmark(dataset, {"oracle": oracle}, "point", long_side=25)
    assert oracle.images_seen == 1
    assert [p["points"].tolist() for p in oracle.prompts] == [[[12.5, 10], [1, 1]], [[12.5, 10], [1, 2]]]
    assert oracle.prompts[0]["labels"].tolist() == [1, 0] and oracle.prompts[0]["box"] is None
    assert [r.set_image_seconds is None for r in result.rows_of("oracle")] == [False, True]
    run_benchmark(dataset, {"oracle": oracle}, "box", long_side=None)
    assert oracle.prompts[-1]["box"].tolist() == [12, 8, 38, 32] and oracle.prompts[-1]["points"] is None


@pytest.mark.parametrize("name", ["empty", "box", "thresholded truth"])
def test_reserved_names_and_empty_datasets_are_refused(root: Path, name: str) -> None:
    with pytest.raises(ValueError, match="predictors: expected distinct names"):
        run_benchmark(FolderDataset(root), {name: Oracle()})
    with pytest.raises(ValueError, match="dataset: expected at least one sample"):
        run_benchmark([], {})


def run_command(root: Path, *extra: str, load) -> int:
    return main(["--root", str(root), "--threads", "1", *extra], load=load)


def test_command_writes_table_json_markdown_and_figure(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def load(name: str, device: str) -> Predictor:
        asked.append((name, device))
        return {"zim": Oracle(0.9), "sam_x": Oracle(0.8, binary=True), "grabcut": Oracle(0.5, fails_on=(0,))}[
            name
        ]

    out = {kind: tmp_path / f"out/result.{suffix}" for kind, suffix in (("json", "json"), ("markdown", "md"))}
    out["figure"] = tmp_path / "out/result.png"
    arguments = [text for kind, path in out.items() for text in (f"--{kind}", str(path))]
    assert run_command(root, "--models", "zim, sam_x,grabcut", "--device", "cpu", *arguments, load=load) == 0
    assert asked == [("zim", "cpu"), ("sam_x", "cpu"), ("grabcut", "cpu")]

    report = json.loads(out["json"].read_text())
    assert report["aggregates"]["all"]["zim"]["sad"] == pytest.approx(
        np.mean([0.1 * t.sum() for t in truths(root).values()]) / 1000, rel=1e-3
    )
    assert report["ratios"]["grabcut"]["zim"]["all"]["mse"] == pytest.approx(0.04, rel=1e-3)
    assert report["machine"]["threads"] == 1 and "--models 'zim, sam_x,grabcut'" in report["command"]
    assert len(report["images"]) == 4 * 7 - 1 and len(report["failures"]) == 1

    printed = capsys.readouterr().out
    table = out["markdown"].read_text()
    for text in (printed, table):
        assert "3 (1 failed)" in text and "grabcut on coarse/large: RuntimeError: out of ideas" in text
    row = next(line for line in table.splitlines() if line.startswith("| zim |"))
    assert row.split(" | ")[2] == f"{report['aggregates']['all']['zim']['mse']:.1f}"

    with Image.open(out["figure"]) as figure:
        width, height = figure.size
    assert width / height == pytest.approx(
        2.1 * 6 / (2.4 * 4), rel=0.02
    )  # photo, truth, four rows by four samples


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "nothing"], "error: model nothing failed to load: no such model"),
        (["--models", "x", "--prompt", "circle"], "error: prompt rule: expected box, point or points:N"),
        (["--models", "x", "--limit", "0"], "error: limit: expected a number >= 1"),
        (["--models", "x", "--dataset", "micromat3k"], "expected data_list.txt or mattes"),
    ],
)
def test_command_tells_errors_in_one_line(
    root: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str, device: str) -> Predictor:
        raise ConfigError("no such model")

    assert run_command(root, *arguments, load=load) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_mean_of_something_unknown_is_an_error(root: Path) -> None:
    result: BenchmarkResult = run_benchmark(FolderDataset(root, limit=1), {})
    with pytest.raises(KeyError, match="no 'mse' of row 'zim'"):
        result.mean("zim", "mse")
