"""Real GroundingDINO and OWLv2 models of a few thousand random weights, saved as folders the way users have them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zim.image_io import save_png

WORDS = ("cat", "remote", "red", "the", "glass", "dog", "##s", "photo")


def _bert_tokenizer() -> Any:
    """A BERT tokenizer whose special tokens and full stop have BERT's own ids, which GroundingDINO hard-codes."""
    from transformers import BertTokenizerFast

    names = {100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 0: "[PAD]", 1012: ".", 1029: "?"}
    names |= {1100 + index: word for index, word in enumerate(WORDS)}
    vocabulary = {names.get(index, f"[unused{index}]"): index for index in range(1200)}
    return BertTokenizerFast(vocab=vocabulary)


def _clip_tokenizer() -> Any:
    """A CLIP tokenizer of single letters: whatever is in the alphabet has tokens of its own."""
    from transformers import CLIPTokenizerFast

    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    tokens = ["!", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizerFast(vocab=vocabulary, merges=[], pad_token="!", model_max_length=16)


@pytest.fixture(scope="session")
def grounding_dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the layout that transformers 5 writes: processor_config.json."""
    from transformers import (
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
        SwinConfig,
    )

    backbone = SwinConfig(
        window_size=7,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        image_size=64,
        out_features=["stage2", "stage3", "stage4"],
    )
    text = {
        "model_type": "bert",
        "vocab_size": 1200,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
    }
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,  # one would share its box head with itself
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=20,
        max_text_len=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GroundingDinoForObjectDetection(config)
        with torch.no_grad():  # words and queries that differ, boxes that spread
            for name, parameter in model.named_parameters():
                if "embeddings.word" in name or "query" in name:
                    parameter += 0.5 * torch.randn_like(parameter)
                if "bbox_embed" in name:
                    parameter += 0.12 * torch.randn_like(parameter)
            model.model.decoder.layer_norm.weight.mul_(0.15)  # scores that differ: else all are next to 1
    folder = tmp_path_factory.mktemp("grounding_dino")
    image_processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(image_processor, _bert_tokenizer()).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def owlv2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the layout of the hub: preprocessor_config.json, which names the class that needs torchvision."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessorPil

    text = {
        "vocab_size": 60,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=16))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter += 0.1 * torch.randn_like(parameter)
                if "box_head" in name:  # boxes near their patches
                    parameter *= 0.1
    folder = tmp_path_factory.mktemp("owlv2")
    _clip_tokenizer().save_pretrained(folder)
    Owlv2ImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"image_processor_type": "Owlv2ImageProcessor", "processor_class": "Owlv2Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """(120, 50, 3) uint8 of coloured blocks."""
    small = np.random.default_rng(3).integers(0, 256, (12, 5, 3), dtype=np.uint8)
    return small.repeat(10, axis=0).repeat(10, axis=1)


@pytest.fixture
def photo(portrait: np.ndarray, tmp_path: Path) -> Path:
    """The portrait as a file."""
    file = tmp_path / "photo.png"
    save_png(file, portrait)
    return file
