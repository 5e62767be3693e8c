"""A real, tiny, random ViTMatte of transformers: padding, tiles, loading."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.matte_anything import Tiling, VitMatteRefiner, load_vitmatte
from adapters.matte_anything.tiles import tiles_of
from zim.errors import CheckpointError, ConfigError

transformers = pytest.importorskip("transformers")


def tiny_vitmatte(seed: int = 0) -> Any:
    """A ViTMatte of the published architecture and a few thousand weights, lively enough to show its input."""
    backbone = transformers.VitDetConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, pretrain_image_size=64,
        patch_size=16, num_channels=4, window_size=2, window_block_indices=[0], out_features=["stage2"],
        use_relative_position_embeddings=True,
    )  # fmt: skip
    config = transformers.VitMatteConfig(
        backbone_config=backbone, hidden_size=16, convstream_hidden_sizes=[4, 8, 8], fusion_hidden_sizes=[8, 8, 8, 4]
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.VitMatteForImageMatting(config)
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            model.decoder.matting_head.matting_convs[-1].weight.mul_(3)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_vitmatte()


@pytest.fixture(scope="module")
def processor() -> Any:
    return transformers.VitMatteImageProcessorPil()


def scene(hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth photo, and a trimap with known background above and known foreground below."""
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    image = np.stack([128 + 100 * np.sin(columns / 37), 128 + 100 * np.cos(rows / 29), 0 * rows + 90], -1)
    trimap = np.full(hw, 0.5, np.float32)
    trimap[: hw[0] // 10], trimap[-(hw[0] // 10) :] = 0, 1
    return image.astype(np.uint8), trimap


def test_padding_is_cut_off_and_known_pixels_stay(model: Any, processor: Any) -> None:
    """Against the model asked by hand: normalised to [-1, 1], trimap in [0, 1], zeros up to the next 32."""
    image, trimap = scene((70, 90))
    refined = VitMatteRefiner(model, processor)(image, trimap, trimap)
    stack = np.concatenate([image / 127.5 - 1, (np.rint(trimap * 255 + 0.1) / 255)[..., None]], -1)
    padded = np.zeros((96, 96, 4), np.float32)
    padded[:70, :90] = stack
    with torch.inference_mode():
        by_hand = model(torch.from_numpy(padded).permute(2, 0, 1)[None]).alphas[0, 0, :70, :90].numpy()
    unknown = trimap == 0.5
    assert np.abs(refined - by_hand)[unknown].max() < 1e-5 and by_hand[unknown].std() > 0.003
    assert np.array_equal(refined[~unknown], trimap[~unknown])


def test_tiles_meet_without_seams(model: Any, processor: Any) -> None:
    """A step of the result is a step of a tile, or what tiles disagree by, spread over 64 pixels of overlap."""
    image, trimap = scene((200, 330))
    tiling = Tiling(side=128, overlap=64)
    tiled = VitMatteRefiner(model, processor, tiling=tiling)(image, trimap, trimap)
    single = VitMatteRefiner(model, processor)
    answers = np.full((len(tiles_of((200, 330), tiling)), 200, 330), np.nan, np.float32)
    for answer, tile in zip(answers, tiles_of((200, 330), tiling), strict=True):
        answer[tile.window] = single(image[tile.window], trimap[tile.window], trimap[tile.window])
    inside = trimap == 0.5
    disagreement = (np.nanmax(answers, axis=0) - np.nanmin(answers, axis=0))[inside].max()
    assert disagreement > 0.02  # random weights and positions: tiles do differ
    for axis in (0, 1):
        count = inside.shape[axis] - 1
        both = inside.take(range(count), axis) & inside.take(range(1, count + 1), axis)
        with np.errstate(invalid="ignore"):
            own = np.fmax.reduce(np.abs(np.diff(answers, axis=axis + 1)), axis=0)
        excess = np.abs(np.diff(tiled, axis=axis)) - own
        assert excess[both].max() < 1.2 * np.pi / 2 / 64 * disagreement


def test_nothing_unknown_asks_nobody(processor: Any) -> None:
    class Refusing(torch.nn.Module):
        def forward(self, **_: Any) -> None:
            raise RuntimeError("asked")

    certain = np.ones((40, 50), np.float32)
    image = np.zeros((40, 50, 3), np.uint8)
    assert np.array_equal(VitMatteRefiner(Refusing(), processor)(image, certain, certain), certain)


def test_a_folder_of_transformers(model: Any, processor: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "vm")
    processor.save_pretrained(tmp_path / "vm")
    image, trimap = scene((64, 64))
    loaded = load_vitmatte(tmp_path / "vm", device="cpu")(image, trimap, trimap)
    assert np.abs(loaded - VitMatteRefiner(model, processor)(image, trimap, trimap)).max() < 1e-6


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded as a ViTMatte"):
        load_vitmatte(tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="empty name"):
        load_vitmatte(" ")
