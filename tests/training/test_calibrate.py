"""Temperature by the paper's loss: found again where it is known, and folded in without a trace elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.calibrate import SCALES, fit, main, scaled
from zim import load_predictor
from zim.checkpoints import read_checkpoint, save_checkpoint
from zim.modeling.config import ZIM_TEST
from zim.modeling.zim import build_zim


def test_a_known_scale_is_found_again() -> None:
    """Truths are logistic in 2.2 times the logits."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for _ in range(4):
        logits = torch.randn(40, 40, generator=generator) * 3
        pairs.append((logits, torch.sigmoid(2.2 * logits)))
    scale, means = fit(pairs)
    assert abs(scale - 2.2) < 0.06 and len(means) == len(SCALES) and 1.0 in SCALES
    assert min(means) < 0.1 * means[SCALES.index(1.0)]


def write(path: Path) -> Path:
    torch.manual_seed(0)
    model = build_zim(ZIM_TEST)
    save_checkpoint(path, model.state_dict(), config=ZIM_TEST.to_dict(), metadata={"license": "mine"})
    return path


def test_logits_are_scaled_and_feeding_them_back_changes_nothing_else(tmp_path: Path) -> None:
    source, changed = write(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    checkpoint = read_checkpoint(source)
    save_checkpoint(changed, scaled(checkpoint.state_dict, 1.6), config=checkpoint.config)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    answers = []
    for path in (source, changed):
        predictor = load_predictor(path, device="cpu")
        predictor.set_image(image)
        box = np.array([8, 8, 50, 50])
        first, _, low = predictor.predict(box=box, multimask_output=False, return_logits=True)
        second, quality, _ = predictor.predict(box=box, mask_input=low, multimask_output=False, return_logits=True)
        answers.append((first, second, quality))
    for plain, stronger in zip(*(answer[:2] for answer in answers), strict=True):
        np.testing.assert_allclose(stronger, 1.6 * plain, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(answers[0][2], answers[1][2], rtol=1e-4, atol=1e-5)


def test_command_keeps_licence_and_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path / "a.safetensors"), tmp_path / "out.safetensors"
    rows, columns = np.mgrid[:64, :64]
    alpha = np.clip((20 - np.hypot(columns - 30, rows - 32)) / 4 + 0.5, 0, 1)
    for part, array in (("image", np.dstack([255 * alpha] * 3)), ("alpha", 255 * alpha)):
        (tmp_path / "set" / part).mkdir(parents=True)
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / "set" / part / "a.png")
    assert main([str(source), "--root", str(tmp_path / "set"), "--out", str(out), "--device", "cpu"]) == 0
    assert "logits times" in capsys.readouterr().out
    assert read_checkpoint(out).metadata["license"] == "mine"
    assert main([str(source), "--scale", "0.5", "--out", str(out)]) == 0
    assert "logits times 0.50\n" in capsys.readouterr().out
    half, whole = (read_checkpoint(path).state_dict for path in (out, source))
    layer = "mask_decoder.output_hypernetworks_mlps.0.layers.2.bias"
    torch.testing.assert_close(half[layer].float(), whole[layer] / 2, rtol=1e-2, atol=1e-4)
    for arguments, message in (
        ([str(source), "--scale", "0"], "--scale: expected a positive number, got 0.0"),
        ([str(source), "--root", str(tmp_path / "none")], "none"),
        ([str(tmp_path / "no.safetensors"), "--root", str(tmp_path / "set")], "no.safetensors"),
        ([str(source), "--root", str(tmp_path / "set"), "--limit", "0"], "--limit: expected at least 1, got 0"),
        ([str(source), "--scale", "2", "--limit", "3"], "--limit: expected with --root alone, got 3 with --scale"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "x")]) == 1
        error = capsys.readouterr().err
        assert error.startswith("calibrate: error: ") and message in error
    assert not (tmp_path / "x").exists()
