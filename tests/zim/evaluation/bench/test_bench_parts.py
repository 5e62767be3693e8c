"""Timing by turns, extra memory, operations and the naive decoder: each against what can be computed by hand."""

import itertools
import json
import mmap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from zim.cli import app
from zim.errors import ConfigError
from zim.evaluation.bench import cases
from zim.evaluation.bench.cases import boxes_of, encoder_case, many_prompts_case, whole_image_case
from zim.evaluation.bench.decoders import decoder_case
from zim.evaluation.bench.interleaved import Case, CaseTimes, Timing, time_case
from zim.evaluation.bench.peak_memory import extra_memory, growth_over_images
from zim.evaluation.bench.report import CaseResult, json_table, save_plot, text_table
from zim.evaluation.bench.roofline import Roofline, count_work
from zim.evaluation.bench.run import BenchConfig
from zim.modeling.config import ZimConfig
from zim.modeling.image_encoder import ViTConfig
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor


def test_contestants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gets slower from run to run: the ratio of neighbours is still right, that of totals as well."""
    order: list[str] = []
    clock = itertools.count(1)

    def timed(call):  # type: ignore[no-untyped-def]
        return None, call() * 1.5 ** next(clock)

    monkeypatch.setattr("zim.evaluation.bench.interleaved.timed", timed)
    calls = {"one": lambda: order.append("one") or 2.0, "other": lambda: order.append("other") or 1.0}
    result = time_case(Case("c", calls), repeats=3)
    assert order == ["one", "other"] * 4
    assert result.ratios == {"one": 1.0, "other": pytest.approx(0.75)}
    assert result.timings["one"].seconds == pytest.approx([2 * 1.5**3, 2 * 1.5**5, 2 * 1.5**7])
    assert result.timings["one"].spread == pytest.approx((1.5**7 - 1.5**3) / 1.5**5)
    with pytest.raises(ValueError, match="repeats: expected"):
        time_case(Case("c", calls), repeats=0)


def test_long_cases_are_not_warmed_up() -> None:
    ran: list[str] = []
    calls = {name: partial(ran.append, name) for name in ("one", "other")}
    assert len(time_case(Case("c", calls, long=True), repeats=2).timings["one"].seconds) == 2
    assert ran == ["one", "other"] * 2


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the resident size is read from /proc")
def test_extra_memory_is_what_is_allocated() -> None:
    def call() -> None:
        held = np.frombuffer(mmap.mmap(-1, 64 * 2**20), np.uint8)  # fresh pages, not what malloc kept
        held[:] = 1
        time.sleep(0.05)
        held.sum()

    # The system may take back other pages of the process meanwhile: the best of three.
    assert 60 * 2**20 <= max(extra_memory(call) or 0 for _ in range(3)) < 100 * 2**20


def test_operations_of_a_product_and_of_a_convolution() -> None:
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    image, kernel = torch.zeros(1, 2, 8, 8), torch.zeros(4, 2, 3, 3)
    assert count_work(lambda: (a @ b, torch.conv2d(image, kernel))).flops == 2 * 3 * 5 * 7 + 2 * 6 * 6 * 4 * 2 * 9
    roofline = Roofline(flops=10**9, peak=4 * 10**9)
    assert roofline.least_seconds == 0.25 and roofline.share(0.5) == 0.5


def test_bytes_of_operations_in_place_and_of_views() -> None:
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    assert count_work(lambda: a @ b).bytes == 4 * (15 + 35 + 21)
    assert count_work(lambda: a.view(5, 3).t()[1:]).bytes == 0
    assert count_work(lambda: a.mul_(2.0)).bytes == 4 * 15  # one tensor, in and out
    assert count_work(lambda: a.clone()).bytes == 2 * 4 * 15


def test_naive_decoder_gives_the_same() -> None:
    vit = ViTConfig(embed_dim=8, depth=1, num_heads=1, global_attn_indexes=(0,))
    config = ZimConfig(vit=vit, pixel_widths=(8, 6, 4), transformer_mlp_dim=8)
    with torch.inference_mode():
        sam, ours, naive = (call() for call in decoder_case(config, 2, torch.device("cpu")).calls.values())
    assert sam.shape == (2, 1, 256, 256) and ours.shape == (2, 1, 512, 512)
    assert (ours - naive).abs().max() <= 1e-4 * ours.abs().max() and ours.std() > 0


def test_both_encoders_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ViTConfig(embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), out_chans=8)
    monkeypatch.setitem(cases.VITS, "vit_b", small)
    theirs, ours = (call() for call in encoder_case("vit_b", torch.device("cpu")).calls.values())
    assert ours.shape == (1, 8, 64, 64) and torch.allclose(ours, theirs, atol=1e-5)


def test_boxes_lie_in_the_image() -> None:
    boxes = boxes_of(np.zeros((30, 50, 3), np.uint8), 64)
    assert boxes.shape == (64, 4) and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (49, 29)).all()
    assert (boxes[:, 2:] - boxes[:, :2] > 2).all()


def test_the_work_is_the_same_for_all(tiny_zim: Zim, photo: np.ndarray) -> None:
    """64 prompts in one call, or one after the other for a predictor without `predict_torch`."""

    class Plain:
        def __init__(self) -> None:
            self.inside, self.asked = ZimPredictor(tiny_zim), 0

        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
            self.inside.set_image(image, image_format)

        def predict(self, *given, **named):  # type: ignore[no-untyped-def]
            self.asked += 1
            return self.inside.predict(*given, **named)

    plain, own = Plain(), ZimPredictor(tiny_zim)
    for predictor in (plain, own):
        predictor.set_image(photo)
    one_by_one, together = many_prompts_case({"plain": plain, "zim": own}, photo).calls.values()
    assert len(one_by_one()) == plain.asked == 64  # type: ignore[arg-type]
    masks, quality, _ = together()  # type: ignore[misc]
    assert masks.shape == (64, 1, *photo.shape[:2])
    assert np.allclose(np.concatenate(one_by_one()), quality[:, 0].numpy(), atol=1e-4)  # type: ignore[arg-type]
    (records,) = (call() for call in whole_image_case({"zim": own}, photo, 2).calls.values())
    assert isinstance(records, list)


def test_growth_is_measured_after_the_warm_up(tiny_zim: Zim, photo: np.ndarray) -> None:
    held = []

    class Leaking(ZimPredictor):
        def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
            super().set_image(image, image_format)
            held.append(np.ones(64 * 2**20, np.uint8))

    growth = growth_over_images(Leaking(tiny_zim), [photo] * 8, warm_up=1)
    assert growth.late - growth.early >= 0.9 * 6 * 64 * 2**20 and growth.share > 0
    with pytest.raises(ValueError, match="expected at least 16, got 15"):
        growth_over_images(ZimPredictor(tiny_zim), [photo] * 15, warm_up=3)


def test_tables_and_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    times = CaseTimes(
        "work", {"sam": Timing((2.0, 4.0, 3.0)), "zim": Timing((1.0, 1.0, 1.0))}, {"sam": 1.0, "zim": 0.4}
    )
    result = CaseResult(times, {"sam": 3 * 2**20, "zim": None}, {"sam": Roofline(6 * 10**9, 4e9, 2 * 10**9)})
    lines = text_table([result]).splitlines()
    assert lines[2].split() == ["sam", "3.000", "67%", "1.00", "3", "6.0", "50%", "2.0"]
    assert lines[3].split() == ["zim", "1.000", "0%", "0.40", "-", "-", "-", "-"]
    told = json.loads(json.dumps(json_table([result])))
    assert told[0]["contestants"]["zim"]["ratio_to_first"] == 0.4
    save_plot([result], tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 2000


def test_command(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(
        app,
        ["bench", "--models", "grabcut", "--parts", "set_image", "--repeats", "1", "--json", str(tmp_path / "b.json")],
    )
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "b.json").read_text())
    assert told["cases"][0]["case"] == "set_image" and told["machine"]["torch"] == torch.__version__
    for wrong, message in (
        (["--parts", "lunch"], "parts: expected of encoder, decoder"),
        (["--repeats", "0"], "repeats: expected at least 1"),
        (["--models", "a,a"], "--models: expected distinct names"),
        (["--encoder", "vit_x"], "encoder: expected of vit_b"),
        (["--threads", "0"], "threads: expected a number >= 1"),
        (["--growth-images", "7"], "--growth-images: expected 0 or at least 44, got 7"),
    ):
        failed = runner.invoke(app, ["bench", *wrong])
        assert failed.exit_code == 2 and message in failed.output
    assert runner.invoke(app, ["bench", "--models", "no_such"]).exit_code == 1


def test_settings_that_cannot_be_meant() -> None:
    with pytest.raises(ConfigError, match="dtype: expected of float32"):
        BenchConfig(dtype="int8")
    with pytest.raises(ConfigError, match="--encoder: expected one of"):
        encoder_case("vit_x", torch.device("cpu"))
