"""A scene that is known exactly, and tiny pipelines of diffusers with random weights."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest


class Disc(NamedTuple):
    """A soft disc of one colour before a horizontal ramp: image, alpha, true background, all (96, 128)."""

    image: np.ndarray
    alpha: np.ndarray
    background: np.ndarray
    foreground: np.ndarray


@pytest.fixture
def disc() -> Disc:
    rows, columns = np.mgrid[:96, :128]
    alpha = np.clip((24 - np.hypot(columns - 70, rows - 44)) / 8 + 0.5, 0, 1).astype(np.float32)
    background = np.repeat((40 + columns)[..., None], 3, 2).astype(np.uint8)
    foreground = np.full((96, 128, 3), (220, 30, 60), np.uint8)
    image = (alpha[..., None] * foreground + (1 - alpha[..., None]) * background + 0.5).astype(np.uint8)
    return Disc(image, alpha, background, foreground)


class PaintsOneColour:
    """An engine that follows texts, of any size: paints everything green, and writes down what it was asked."""

    name = "green"
    follows_text = True

    def __init__(self, geometry: Any) -> None:
        self.geometry = geometry
        self.asked: list[tuple[np.ndarray, np.ndarray, str, int]] = []

    def inpaint(self, image: np.ndarray, mask: np.ndarray, *, prompt: str = "", seed: int = 0) -> np.ndarray:
        self.asked.append((image, mask, prompt, seed))
        return np.full(image.shape, (0, 200, 0), np.uint8)


@pytest.fixture
def green() -> PaintsOneColour:
    from adapters.inpaint_anything.engines.protocol import Geometry

    return PaintsOneColour(Geometry())


def _clip_tokenizer(folder: Path) -> Any:
    """A real CLIP tokenizer of single letters, saved and loaded as its files."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)


def _text_encoder(projection: bool, width: int = 32) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=width,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def _autoencoder(latent_channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent_channels,
        sample_size=64,
    ).eval()


def build_sd15(folder: Path) -> None:
    """A tiny StableDiffusionInpaintPipeline with random weights, saved as diffusers saves it."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=8,
        in_channels=9,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
    ).eval()
    StableDiffusionInpaintPipeline(
        vae=_autoencoder(),
        text_encoder=_text_encoder(False),
        tokenizer=_clip_tokenizer(folder.with_name(folder.name + "_words")),
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def build_sdxl(folder: Path) -> None:
    """The same for StableDiffusionXLInpaintPipeline."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=8,
        in_channels=9,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
    ).eval()
    words = folder.with_name(folder.name + "_words")
    StableDiffusionXLInpaintPipeline(
        vae=_autoencoder(),
        text_encoder=_text_encoder(False),
        text_encoder_2=_text_encoder(True),
        tokenizer=_clip_tokenizer(words / "1"),
        tokenizer_2=_clip_tokenizer(words / "2"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def builders() -> dict[str, Any]:
    """name -> function that writes a tiny pipeline into a folder."""
    return {"sd15": build_sd15, "sdxl": build_sdxl}


def build_flux(folder: Path) -> None:
    """The same for FluxFillPipeline."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16 + 16 + 256,  # packed noise, packed picture, packed mask
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()
    autoencoder = _autoencoder()
    autoencoder.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    words = T5EncoderModel(T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)).eval()
    FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        text_encoder=_text_encoder(False),
        tokenizer=_clip_tokenizer(folder.with_name(folder.name + "_words")),
        text_encoder_2=words,
        tokenizer_2=T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=16),
        transformer=transformer,
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FluxFillPipeline on disk."""
    pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("flux") / "flux"
    build_flux(folder)
    return folder
