"""Heads on disk: on the base that they were trained on and no other; the shipped ones. (SAM-HQ's `.pth` files are
tested against transformers in tests/adapters/hq_sam.)"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from zim import load_predictor
from zim.checkpoints import read_checkpoint, save_checkpoint
from zim.errors import CheckpointError
from zim.evaluation.sam_baseline import SamBaselinePredictor, build_sam_tiny
from zim.hq_checkpoints import HQ_SHIPPED, is_sam_hq, load_base, load_hq
from zim.hq_predictor import HqPredictor
from zim.modeling.config import ZIM_TEST, ZimConfig
from zim.modeling.hq_head import HqHeadConfig, build_hq_head
from zim.modeling.zim import build_zim
from zim.predictor import ZimPredictor
from zim.registry import shipped_weights, shipped_weights_path

SAM_TEST = dataclasses.replace(ZIM_TEST, architecture="sam", prompt_attention="none", pixel_decoder="sam")
BOX = np.array([20.0, 10.0, 110.0, 70.0])


def write_base(path: Path, config: ZimConfig, seed: int = 0) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_sam_tiny(config) if config.architecture == "sam" else build_zim(config)
    save_checkpoint(path, model.state_dict(), config=config.to_dict())
    return path


def write_head(path: Path, base: Path, *, sha256: str | None = None) -> Path:
    checkpoint = read_checkpoint(base)
    config = HqHeadConfig.for_base(load_base(base)[0].config)
    head = build_hq_head(config)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    described = {
        "architecture": config.architecture,
        "head": config.to_dict(),
        "base": "a base",
        "base_sha256": sha256 or checkpoint.sha256,
    }
    state = {f"mask_decoder.{name}": value for name, value in head.state_dict().items()}
    save_checkpoint(path, state, config=described)
    return path


@pytest.mark.parametrize("config", [ZIM_TEST, SAM_TEST], ids=["zim", "sam"])
def test_a_head_comes_back_on_its_base(tmp_path: Path, photo: np.ndarray, config: ZimConfig) -> None:
    base = write_base(tmp_path / "base.safetensors", config)
    head = write_head(tmp_path / "head.safetensors", base)
    model = load_hq(head, base)
    stored = read_checkpoint(head).state_dict
    for name, value in model.head.state_dict().items():
        assert torch.equal(value, stored[f"mask_decoder.{name}"])
    predictor = HqPredictor(model)
    predictor.set_image(photo)
    alone = predictor.predict(box=BOX, multimask_output=False, return_logits=True, hq_token_only=True)[0]
    assert np.abs(alone).max() > 0


def test_sams_base_answers_as_segment_anything(tmp_path: Path, photo: np.ndarray) -> None:
    """The SAM under the head is the baseline itself, whose own code is the oracle."""
    path = write_base(tmp_path / "sam.safetensors", SAM_TEST)
    theirs, ours = SamBaselinePredictor(build_sam_tiny(checkpoint=path)), ZimPredictor(load_base(path)[0])
    for predictor in (theirs, ours):
        predictor.set_image(photo)
    for prompt in ({"box": BOX}, {"point_coords": BOX[None, :2], "point_labels": np.array([1])}):
        expected = theirs.predict(**prompt, return_logits=True)
        received = ours.predict(**prompt, return_logits=True)
        for one, other in zip(received, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_another_base_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.safetensors", ZIM_TEST)
    other = write_base(tmp_path / "other.safetensors", ZIM_TEST, seed=1)
    head = write_head(tmp_path / "head.safetensors", base)
    with pytest.raises(CheckpointError, match="has been trained since"):
        load_hq(head, other)
    with pytest.raises(CheckpointError, match='expected a base model, architecture "zim" or "sam", got'):
        load_hq(head, head)
    with pytest.raises(CheckpointError, match="a base"):
        load_hq(head)  # names a base that is not shipped
    with pytest.raises(CheckpointError, match="expected the config of an HQ head"):
        load_hq(base, base)


def test_weights_without_a_head_are_told_apart() -> None:
    assert is_sam_hq({"mask_decoder.hf_token.weight": torch.zeros(1)})
    assert not is_sam_hq({"mask_decoder.iou_token.weight": torch.zeros(1)})


@pytest.mark.parametrize("name", HQ_SHIPPED)
def test_shipped_heads(name: str, photo: np.ndarray) -> None:
    """Small, in half precision, on the shipped base, and with something to say."""
    if name not in shipped_weights():
        pytest.skip(f"{name} is not in this installation")
    listed, path = shipped_weights()[name], shipped_weights_path(name)
    assert listed.parameters < 1_000_000 and path.stat().st_size < 1_000_000
    predictor = load_predictor(name, device="cpu")
    assert isinstance(predictor, HqPredictor)
    assert sum(p.numel() for p in predictor.model.head.parameters()) == listed.parameters
    assert predictor.reports_binary == name.startswith("hq_sam")
    base = read_checkpoint(shipped_weights_path(HQ_SHIPPED[name]))
    own = predictor.model.state_dict()
    same = [own[key] for key in base.state_dict if key.startswith("prompt_encoder") and key in own]
    assert same and all(torch.equal(own[k], v) for k, v in base.state_dict.items() if k.startswith("prompt_encoder"))
    predictor.set_image(photo)
    ask = {"box": BOX, "multimask_output": False, "return_logits": True}
    both, alone = predictor.predict(**ask)[0], predictor.predict(**ask, hq_token_only=True)[0]
    assert np.isfinite(both).all() and np.abs(alone).max() > 1 and np.abs(both - alone).max() > 1
    assert load_predictor(path, device="cpu").predict.__self__.reports_binary == predictor.reports_binary  # by path too


def test_sams_calibration_stays_sams(tmp_path: Path) -> None:
    """The mask generator asks the configuration what a predicted quality is worth: SAM's are worth what they say."""
    for config, expected in ((SAM_TEST, 1.0), (ZIM_TEST, ZIM_TEST.quality_scale_in_use)):
        base, _ = load_base(write_base(tmp_path / f"{expected}.safetensors", config))
        assert base.config.quality_scale_in_use == expected
