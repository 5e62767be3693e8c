"""Hiera with a label: transformers' own model is the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.label_converter.builders import build_matting
from training.label_converter.config import HIERA_BASE_PLUS, ConverterConfig
from training.label_converter.hiera_backbone import HieraBackbone
from zim.errors import CheckpointError

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {"embed_dim": 8, "depths": (1, 1, 1, 1), "heads": 1}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Hiera of 64 px as the library saves it."""
    torch.manual_seed(0)
    config = transformers.HieraConfig(image_size=(64, 64), embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])
    folder = tmp_path_factory.mktemp("hiera")
    transformers.HieraModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_published_weights_give_the_library_s_features_whatever_the_label(published: Path) -> None:
    backbone = HieraBackbone(**SMALL, side=64).eval()
    backbone.load_pretrained(published)
    oracle = transformers.HieraModel.from_pretrained(published, add_pooling_layer=False).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = backbone(image, torch.ones(1, 1, 64, 64))
        expected = oracle(image, output_hidden_states=True).reshaped_hidden_states[1:]
    assert [f.shape[1:] for f in features] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    for feature, other in zip(features, expected, strict=True):
        np.testing.assert_allclose(feature, other.permute(0, 3, 1, 2), atol=1e-5)


def test_the_label_counts_once_its_embedding_is_trained(published: Path) -> None:
    backbone = HieraBackbone(**SMALL, side=64).eval()
    torch.nn.init.ones_(backbone.hiera.embeddings.patch_embeddings.projection.label.weight)
    image, label = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(backbone(image, label)[0], backbone(image, label + 1)[0])


def test_positions_are_interpolated_to_another_side(published: Path) -> None:
    backbone = HieraBackbone(**SMALL, side=96)
    backbone.load_pretrained(published)
    positions = backbone.hiera.embeddings.position_embeddings.detach()
    original = transformers.HieraModel.from_pretrained(published).embeddings.position_embeddings.detach()
    assert positions.shape == (1, 24 * 24, 8)
    assert float(positions.mean()) == pytest.approx(float(original.mean()), abs=2e-3)


def test_other_sizes_are_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="of another size"):
        HieraBackbone(embed_dim=16, depths=(1, 1, 1, 1), heads=1, side=64).load_pretrained(published)
    with pytest.raises(CheckpointError, match="expected weights at"):
        HieraBackbone(**SMALL, side=64).load_pretrained(tmp_path / "nothing")


def test_a_whole_converter_stands_on_it() -> None:
    config = ConverterConfig(
        backbone="hiera", side=64, widths=(8, 16, 32, 64), heads=1, detail_widths=(4, 4), decoder_widths=(8, 8, 8, 4, 4)
    )
    model = build_matting(config).train()
    mattes = model(torch.randn(2, 3, 64, 64), torch.zeros(2, 1, 64, 64))
    mattes.fine.mean().backward()
    label = model.get_parameter("backbone.hiera.embeddings.patch_embeddings.projection.label.weight")
    assert mattes.fine.shape == (2, 1, 64, 64) and label.grad is not None and label.grad.abs().sum() > 0


def test_base_plus_has_the_published_numbers() -> None:
    """facebook/hiera-base-plus-224-hf: embed 112, depths 2, 3, 16, 3, heads 2, 4, 8, 16."""
    assert HIERA_BASE_PLUS.widths == (112, 224, 448, 896)
    assert HIERA_BASE_PLUS.depths == (2, 3, 16, 3) and HIERA_BASE_PLUS.heads == 2
