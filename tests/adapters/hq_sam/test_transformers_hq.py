"""transformers' SAM-HQ is the oracle: same random weights in both, through a `.pth` with the published names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.hq_sam.transformers_predictor import TransformersHqPredictor, load_transformers_hq
from zim import load_predictor
from zim.errors import CheckpointError, ConfigError, ImageNotSetError, PromptError
from zim.hq_predictor import HqPredictor
from zim.protocol import Predictor

SIDE, WIDTH = 128, 32

RENAMED = (  # transformers' names -> those of SAM-HQ's checkpoints, in order
    ("vision_encoder.layers.", "image_encoder.blocks."),
    (".layer_norm1.weight", ".norm1.weight"),
    (".layer_norm1.bias", ".norm1.bias"),
    (".layer_norm2.weight", ".norm2.weight"),
    (".layer_norm2.bias", ".norm2.bias"),
    (".layer_norm3.", ".norm3."),
    (".layer_norm4.", ".norm4."),
    ("layer_norm_final_attn", "norm_final_attn"),
    ("vision_encoder.neck.conv1", "image_encoder.neck.0"),
    ("vision_encoder.neck.norm1", "image_encoder.neck.1"),
    ("vision_encoder.neck.conv2", "image_encoder.neck.2"),
    ("vision_encoder.neck.norm2", "image_encoder.neck.3"),
    ("vision_encoder.patch_embed.projection", "image_encoder.patch_embed.proj"),
    ("vision_encoder.", "image_encoder."),
    ("prompt_encoder.shared_embedding.positional_embedding",
     "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    ("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings."),
    ("prompt_encoder.mask_embed.conv1", "prompt_encoder.mask_downscaling.0"),
    ("prompt_encoder.mask_embed.norm1", "prompt_encoder.mask_downscaling.1"),
    ("prompt_encoder.mask_embed.conv2", "prompt_encoder.mask_downscaling.3"),
    ("prompt_encoder.mask_embed.norm2", "prompt_encoder.mask_downscaling.4"),
    ("prompt_encoder.mask_embed.conv3", "prompt_encoder.mask_downscaling.6"),
    ("mask_decoder.upscale_conv1", "mask_decoder.output_upscaling.0"),
    ("mask_decoder.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    ("mask_decoder.upscale_conv2", "mask_decoder.output_upscaling.3"),
    ("mask_decoder.hq_token", "mask_decoder.hf_token"),
    ("mask_decoder.hq_mask_mlp", "mask_decoder.hf_mlp"),
    ("mask_decoder.compress_vit_conv1", "mask_decoder.compress_vit_feat.0"),
    ("mask_decoder.compress_vit_norm", "mask_decoder.compress_vit_feat.1"),
    ("mask_decoder.compress_vit_conv2", "mask_decoder.compress_vit_feat.3"),
    ("mask_decoder.encoder_conv1", "mask_decoder.embedding_encoder.0"),
    ("mask_decoder.encoder_norm", "mask_decoder.embedding_encoder.1"),
    ("mask_decoder.encoder_conv2", "mask_decoder.embedding_encoder.3"),
    ("mask_decoder.mask_conv1", "mask_decoder.embedding_maskfeature.0"),
    ("mask_decoder.mask_norm", "mask_decoder.embedding_maskfeature.1"),
    ("mask_decoder.mask_conv2", "mask_decoder.embedding_maskfeature.3"),
    (".layers.0.weight", ".layers.1.weight"),  # of the three-layer perceptrons: proj_in, layers.0, proj_out
    (".layers.0.bias", ".layers.1.bias"),
    (".proj_in.", ".layers.0."),
    (".proj_out.", ".layers.2."),
)


def published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' state dict under the names of SAM-HQ's own code."""
    renamed = {}
    for name, value in state.items():
        if name.startswith("shared_image_embedding"):
            continue  # tied to the prompt encoder's
        for theirs, published in RENAMED:
            name = name.replace(theirs, published)
        renamed[name] = value.clone()
    return renamed


@pytest.fixture(scope="module")
def hf_model() -> Any:
    """A small `SamHQModel` whose weights are large enough to show in the logits."""
    transformers = pytest.importorskip("transformers")
    vision = transformers.SamHQVisionConfig(
        hidden_size=24,
        output_channels=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        window_size=3,
        global_attn_indexes=[1, 2],
        mlp_dim=48,
        mlp_ratio=2.0,
        num_pos_feats=WIDTH // 2,
    )
    prompts = transformers.SamHQPromptEncoderConfig(hidden_size=WIDTH, image_size=SIDE, patch_size=16)
    decoder = transformers.SamHQMaskDecoderConfig(
        hidden_size=WIDTH, mlp_dim=48, num_attention_heads=8, vit_dim=24, layer_norm_eps=1e-5
    )
    config = transformers.SamHQConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.SamHQModel(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name:
                    parameter.normal_(0, 0.4)
            for name, buffer in model.named_buffers():
                if "positional_embedding" in name:
                    buffer.normal_()
    return model


@pytest.fixture(scope="module")
def checkpoint(hf_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a `.pth` under the published names."""
    path = tmp_path_factory.mktemp("hq") / "sam_hq_small.pth"
    torch.save(published_names(hf_model.state_dict()), path)
    return path


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(75, 100, 3) uint8 of random blocks."""
    small = np.random.default_rng(0).integers(0, 256, (10, 13, 3), dtype=np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)[:75, :100].copy()


PROMPTS: dict[str, dict[str, np.ndarray]] = {
    "box": {"box": np.array([10.0, 12.0, 80.0, 60.0])},
    "points": {"point_coords": np.array([[30.0, 30.0], [70.0, 20.0]]), "point_labels": np.array([1, 0])},
    "box and point": {
        "box": np.array([[5.0, 5.0, 60.0, 70.0]]),
        "point_coords": np.array([[30.0, 30.0]]),
        "point_labels": np.array([1]),
    },
    "mask": {
        "mask_input": np.random.default_rng(1).normal(0, 4, (1, SIDE // 4, SIDE // 4)).astype(np.float32),
        "point_coords": np.array([[50.0, 40.0]]),
        "point_labels": np.array([1]),
    },
}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("token_only", [False, True])
def test_logits_equal_transformers(
    hf_model: Any, checkpoint: Path, photo: np.ndarray, prompt: str, token_only: bool
) -> None:
    theirs, ours = TransformersHqPredictor(hf_model), load_predictor(checkpoint, device="cpu")
    assert isinstance(ours, HqPredictor)
    for predictor in (theirs, ours):
        predictor.set_image(photo)
    for three in (False, True):
        asked = {**PROMPTS[prompt], "multimask_output": three, "return_logits": True, "hq_token_only": token_only}
        expected, judged, low = theirs.predict(**asked)
        logits, quality, low_res = ours.predict(**asked)
        best_first = np.argsort(-quality)
        assert np.abs(expected).max() > 0.1  # otherwise nothing would be shown
        np.testing.assert_allclose(quality[best_first], judged, atol=1e-4)
        if len(expected) == len(logits):  # transformers gives the HQ token's mask once, ours thrice
            logits, low_res = logits[best_first], low_res[best_first]
        np.testing.assert_allclose(logits, np.broadcast_to(expected, logits.shape), atol=1e-4)
        np.testing.assert_allclose(low_res, np.broadcast_to(low, low_res.shape), atol=1e-4)


def test_hq_compat_is_the_best_mask_of_transformers(hf_model: Any, checkpoint: Path, photo: np.ndarray) -> None:
    theirs, ours = TransformersHqPredictor(hf_model), load_predictor(checkpoint, device="cpu")
    assert isinstance(ours, HqPredictor)
    for predictor in (theirs, ours):
        predictor.set_image(photo)
    expected, judged, _ = theirs.predict(**PROMPTS["points"], return_logits=True)
    logits, quality, _ = ours.predict(**PROMPTS["points"], return_logits=True, hq_compat=True)
    assert logits.shape == (1, *photo.shape[:2])
    np.testing.assert_allclose(logits[0], expected[0], atol=1e-4)  # transformers sorts them, best first
    np.testing.assert_allclose(quality, judged[:1], atol=1e-4)


def test_the_head_is_what_makes_the_difference(hf_model: Any, checkpoint: Path, photo: np.ndarray) -> None:
    """The oracle is worth something only if the head's part is large beside the tolerance."""
    ours = load_predictor(checkpoint, device="cpu")
    assert isinstance(ours, HqPredictor)
    ours.set_image(photo)
    both = ours.predict(**PROMPTS["box"], multimask_output=False, return_logits=True)[0]
    alone = ours.predict(**PROMPTS["box"], multimask_output=False, return_logits=True, hq_token_only=True)[0]
    assert np.abs(both - alone).max() > 0.1 and np.abs(alone).max() > 0.1


def test_it_is_a_predictor_and_refuses_what_cannot_be(hf_model: Any, photo: np.ndarray) -> None:
    predictor = TransformersHqPredictor(hf_model)
    assert isinstance(predictor, Predictor)
    with pytest.raises(ImageNotSetError, match="set_image"):
        predictor.predict(box=np.array([0, 0, 5, 5]))
    predictor.set_image(photo)
    with pytest.raises(PromptError, match="got none"):
        predictor.predict()
    with pytest.raises(PromptError, match=r"\(4,\) or \(1, 4\)"):
        predictor.predict(box=np.zeros((2, 4)))


def test_bgr_is_rgb_turned_round(hf_model: Any, photo: np.ndarray) -> None:
    predictor = TransformersHqPredictor(hf_model)
    answers = []
    for image, order in ((photo, "RGB"), (photo[..., ::-1], "BGR")):
        predictor.set_image(image, order)
        answers.append(predictor.predict(**PROMPTS["box"], return_logits=True)[0])
    np.testing.assert_array_equal(*answers)


def test_missing_weights_are_told(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match="cannot load"):
        load_transformers_hq(str(tmp_path / "nothing"))


def test_a_checkpoint_with_another_encoder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    light = {name: value for name, value in state.items() if not name.startswith("image_encoder.")}
    torch.save(light, tmp_path / "light.pth")
    with pytest.raises(CheckpointError, match="TinyViT"):
        load_predictor(tmp_path / "light.pth", device="cpu")


def test_a_checkpoint_with_a_missing_weight_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    del state["mask_decoder.hf_mlp.layers.1.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"hf_mlp\.layers\.1\.weight"):
        load_predictor(tmp_path / "short.pth", device="cpu")
