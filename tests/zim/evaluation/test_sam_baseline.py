"""The baseline is SAM's own code around the encoder that ZIM has too."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zim.checkpoints import save_checkpoint
from zim.compat.segment_anything import import_segment_anything
from zim.errors import ConfigError
from zim.evaluation.sam_baseline import SamBaselinePredictor, build_sam_tiny
from zim.modeling.config import SAM_TINY, ZIM_TEST, ZIM_TINY, ZIM_VIT_B, ZimConfig
from zim.modeling.zim import build_zim
from zim.protocol import Predictor

library = import_segment_anything()
SAM_TEST: ZimConfig = dataclasses.replace(
    ZIM_TEST, architecture="sam", prompt_attention="none", pixel_decoder="sam"
)
BOX = np.array([20.0, 10.0, 110.0, 70.0])


@pytest.fixture(scope="module")
def sam() -> Any:
    """A small baseline with lively weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_sam_tiny(SAM_TEST)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return made


def test_classes_are_segment_anythings_own(sam: Any) -> None:
    assert type(sam) is library.modeling.Sam
    assert type(sam.mask_decoder) is library.modeling.MaskDecoder
    assert type(sam.mask_decoder.transformer) is library.modeling.TwoWayTransformer
    assert type(sam).forward is library.modeling.Sam.forward
    assert not sam.training


def test_encoder_and_prompt_encoder_are_zims(sam: Any) -> None:
    """Same names and shapes, so that one initialises the other."""
    zim = build_zim(ZIM_TEST)

    def shapes(module: torch.nn.Module) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in module.state_dict().items()}

    assert shapes(sam.image_encoder) == shapes(zim.image_encoder.backbone)
    assert shapes(sam.prompt_encoder) == shapes(zim.prompt_encoder)
    assert shapes(sam.mask_decoder.transformer) == shapes(zim.mask_decoder.transformer)


def test_encoder_answers_with_zims_embedding(sam: Any) -> None:
    zim = build_zim(ZIM_TEST).eval()
    zim.image_encoder.backbone.load_state_dict(sam.image_encoder.state_dict())
    x = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(sam.image_encoder(x), zim.image_encoder(x).embedding)


def test_same_weights_same_logits_as_zim_with_its_novelties_off(sam: Any, photo: np.ndarray) -> None:
    """The pair differs in the two novelties only: switched off, ZIM is the baseline."""
    off = dataclasses.replace(ZIM_TEST, prompt_attention="none", pixel_decoder="sam")
    zim = build_zim(off).eval()
    weights = {
        name.replace("image_encoder.", "image_encoder.backbone.", 1): tensor
        for name, tensor in sam.state_dict().items()
    }
    zim.load_state_dict(weights, strict=True)
    theirs, ours = (library.SamPredictor(model) for model in (sam, zim))
    for predictor in (theirs, ours):
        predictor.set_image(photo)
    for prompt in ({"box": BOX}, {"point_coords": BOX[None, :2], "point_labels": np.array([1])}):
        expected = theirs.predict(**prompt, return_logits=True)
        received = ours.predict(**prompt, return_logits=True)
        assert expected[0].std() > 0.01
        assert all(np.abs(a - b).max() <= 1e-4 for a, b in zip(received, expected, strict=True))


def test_shipped_size() -> None:
    sam = build_sam_tiny()
    assert sam.config == SAM_TINY and sam.image_encoder.img_size == 1024
    count = sum(parameter.numel() for parameter in sam.parameters())
    assert 4_000_000 < count <= 6_000_000
    zim = sum(parameter.numel() for parameter in build_zim(ZIM_TINY).parameters())
    assert abs(count - zim) / zim < 0.1, "the pair should be of one size"


@pytest.mark.parametrize("config", [ZIM_TEST, dataclasses.replace(ZIM_VIT_B, architecture="sam")])
def test_other_configurations_are_refused(config: ZimConfig) -> None:
    with pytest.raises(ConfigError, match="config: expected architecture 'sam' with a tiny encoder, got"):
        build_sam_tiny(config)


def test_checkpoint_rebuilds_the_model_by_itself(sam: Any, tmp_path: Path) -> None:
    path = tmp_path / "sam.safetensors"
    save_checkpoint(path, sam.state_dict(), config=SAM_TEST.to_dict())
    loaded = build_sam_tiny(checkpoint=path)
    assert loaded.config == SAM_TEST
    assert loaded.state_dict().keys() == sam.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), sam.state_dict().values(), strict=True))


def test_predictor_is_segment_anythings(sam: Any, photo: np.ndarray) -> None:
    ours, theirs = SamBaselinePredictor(sam), library.SamPredictor(sam)
    assert isinstance(ours, Predictor) and ours.reports_binary
    for predictor in (ours, theirs):
        predictor.set_image(photo[..., ::-1], "BGR")
    low_res = theirs.predict(box=BOX)[2]
    for arguments in ((None, None, BOX), (BOX[None, :2], np.array([1]), None, low_res[:1], False, True)):
        for received, expected in zip(ours.predict(*arguments), theirs.predict(*arguments), strict=True):
            assert np.array_equal(received, expected)
