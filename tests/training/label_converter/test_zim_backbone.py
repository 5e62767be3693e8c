"""The encoder of zim_tiny with a label beside the image: as trained at first, whatever the label."""

from pathlib import Path

import pytest
import torch

from training.label_converter.backbone import Backbone
from training.label_converter.builders import build_matting
from training.label_converter.config import ZIM, ConverterConfig
from training.label_converter.layers import GuidedProjection
from training.label_converter.zim_backbone import ZimBackbone, zim_widths
from zim.checkpoints import save_checkpoint
from zim.errors import CheckpointError, ConfigError
from zim.modeling.config import ZIM_TEST
from zim.modeling.tiny_encoder import TinyImageEncoder
from zim.modeling.zim import build_zim
from zim.registry import load_model


@pytest.fixture(scope="module")
def backbone() -> ZimBackbone:
    torch.manual_seed(0)
    made = ZimBackbone(side=64, s32=12)
    made.load_pretrained("zim_tiny")
    return made.eval()


def test_it_starts_with_the_features_of_zim_tiny_whatever_the_label(backbone: ZimBackbone) -> None:
    trained = load_model("zim_tiny", device="cpu").image_encoder.backbone
    assert isinstance(trained, TinyImageEncoder)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = trained(image)
        for label in (torch.zeros(2, 1, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).float()):
            s4, s8, s16, s32 = backbone(image, label)
            torch.testing.assert_close(s4, expected.maps.s4, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(s8, expected.maps.s8, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(s16, expected.embedding, atol=1e-5, rtol=1e-5)
            assert s32.shape == (2, 12, 2, 2)
    assert isinstance(backbone, Backbone) and backbone.channels == (24, 48, 256, 12) == zim_widths(12)


def test_the_label_reaches_trunk_and_stem_once_it_is_trained() -> None:
    made = ZimBackbone(side=64, s32=12).eval()
    made.load_pretrained("zim_tiny")
    first, first_of_trunk = made.encoder.stem.down2[0], made.encoder.trunk.stage4[0][0]  # type: ignore[index]
    layers = [layer for layer in (first, first_of_trunk) if isinstance(layer, GuidedProjection)]
    image, label = torch.randn(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    features = made(image, label)
    torch.stack([feature.square().mean() for feature in features]).sum().backward()
    assert len(layers) == 2
    for layer in layers:
        assert layer.label.weight.grad is not None and float(layer.label.weight.grad.abs().sum()) > 0
        with torch.no_grad():
            layer.label.weight.fill_(0.1)
            assert not torch.allclose(made(image, label)[0], features[0], atol=1e-4)
            layer.label.weight.zero_()


def test_crops_of_other_sides_go_through() -> None:
    model = build_matting(ZIM).eval()
    assert sum(p.numel() for p in model.parameters()) < 4_000_000
    for side in (64, 160):
        with torch.inference_mode():
            matte = model.refined(torch.randn(1, 3, side, side), torch.ones(1, 1, side, side))
        assert matte.shape == (1, 1, side, side) and 0 <= float(matte.min()) <= float(matte.max()) <= 1


def test_models_of_another_shape_are_refused(backbone: ZimBackbone, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, build_zim(ZIM_TEST).state_dict(), config=ZIM_TEST.to_dict())
    with pytest.raises(CheckpointError, match="expected a model of zim_tiny's shape"):
        backbone.load_pretrained(other)
    with pytest.raises(CheckpointError, match="missing"):
        backbone.load_pretrained(tmp_path / "missing")
    with pytest.raises(ConfigError, match=r"widths: expected \(24, 48, 256, 8\) for zim"):
        ConverterConfig(backbone="zim", widths=(8, 16, 24, 8))
