import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zim
import zim.registry as registry
from zim.checkpoints import save_checkpoint
from zim.compat.segment_anything import import_segment_anything
from zim.errors import CheckpointError, ConfigError
from zim.modeling.config import SAM_TINY, ZIM_TEST, ZIM_TINY, ZIM_VIT_B, ZIM_VIT_H, ZIM_VIT_L
from zim.modeling.image_encoder import ViTConfig
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

HEAVY = (
    "torch numpy cv2 PIL gradio diffusers transformers open3d nibabel ray onnx onnxruntime "
    "segment_anything pymatting matplotlib scipy"
)


@pytest.fixture
def checkpoint(tiny_zim: Zim, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_zim.state_dict(), config=tiny_zim.config.to_dict())
    return path


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry with test-sized models behind its keys."""
    for key in registry.MODEL_CONFIGS:
        monkeypatch.setitem(registry.MODEL_CONFIGS, key, ZIM_TEST)


@pytest.fixture
def weights(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_models: None) -> Path:
    """A weights folder that ships `zim_tiny`; returns its listing."""
    folder = tmp_path / "weights"
    folder.mkdir()
    data = checkpoint.read_bytes()
    (folder / "zim_tiny.safetensors").write_bytes(data)
    entry = {
        "file": "zim_tiny.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "license": "Apache-2.0",
        "parameters": 1,
        "card": "more fields may come",
    }
    (folder / "registry.json").write_text(json.dumps({"zim_tiny": entry}))
    monkeypatch.setattr(registry, "weights_folder", lambda: folder)
    return folder / "registry.json"


def same_weights(model: Zim, other: Zim) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_keys_and_their_configs() -> None:
    assert list(zim.zim_model_registry) == ["zim_tiny", "vit_b", "vit_l", "vit_h", "default"]
    expected = {"zim_tiny": ZIM_TINY, "vit_b": ZIM_VIT_B, "vit_l": ZIM_VIT_L, "vit_h": ZIM_VIT_H}
    assert expected == registry.MODEL_CONFIGS


@pytest.mark.parametrize("key", ["zim_tiny", "default"])
def test_the_shipped_weights_come_by_default(weights: Path, tiny_zim: Zim, key: str) -> None:
    model = zim.zim_model_registry[key]()
    assert same_weights(model, tiny_zim)
    assert not model.training
    assert same_weights(zim.load_model(key, device="cpu"), tiny_zim)


def test_altered_weights_are_refused(weights: Path) -> None:
    file = weights.parent / "zim_tiny.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match="zim_tiny.safetensors is damaged or altered: expected sha256"):
        registry.zim_model_registry["zim_tiny"]()
    file.unlink()
    with pytest.raises(CheckpointError, match="is listed for zim_tiny but missing"):
        registry.zim_model_registry["zim_tiny"]()


def test_weights_that_are_not_shipped_say_so(weights: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected one of \['zim_tiny'\], got 'sam_tiny'"):
        registry.shipped_weights_path("sam_tiny")
    weights.write_text("[1, 2]")
    with pytest.raises(CheckpointError, match="registry.json: expected a JSON list of weights"):
        registry.shipped_weights()
    weights.unlink()
    assert registry.shipped_weights() == {}


def test_what_is_shipped_is_what_is_listed() -> None:
    """The listing in the repository, where there is one: hashes, sizes and parameter counts hold."""
    for name, entry in registry.shipped_weights().items():
        path = registry.shipped_weights_path(name)
        assert path.stat().st_size <= 12_000_000
        assert entry.parameters <= 6_000_000
        assert entry.license


@pytest.mark.parametrize("key", ["vit_b", "vit_l", "vit_h"])
def test_models_without_weights_warn_that_they_are_random(small_models: None, key: str) -> None:
    with pytest.warns(UserWarning, match=f"{key}: no weights are shipped, so they are random"):
        model = registry.zim_model_registry[key]()
    assert not model.training


def test_a_checkpoint_is_loaded_without_a_warning(small_models: None, checkpoint: Path, tiny_zim: Zim) -> None:
    assert same_weights(registry.zim_model_registry["vit_b"](checkpoint=str(checkpoint)), tiny_zim)
    assert same_weights(registry.zim_model_registry["vit_b"](checkpoint), tiny_zim)


def test_a_checkpoint_of_another_model_is_refused(checkpoint: Path) -> None:
    with pytest.raises(
        CheckpointError, match="expected the weights of zim_tiny, got those of a model with another config"
    ):
        registry.zim_model_registry["zim_tiny"](checkpoint=checkpoint)


def test_load_model_rebuilds_any_model_from_its_file(checkpoint: Path, tiny_zim: Zim, photo: np.ndarray) -> None:
    model = zim.load_model(checkpoint, device="cpu")
    assert same_weights(model, tiny_zim)
    assert model.config == ZIM_TEST
    predictor, expected = ZimPredictor.from_pretrained(checkpoint, device="cpu"), ZimPredictor(tiny_zim)
    for each in (predictor, expected):
        each.set_image(photo)
    box = np.array([20.0, 10.0, 110.0, 70.0])
    assert np.array_equal(predictor.predict(box=box)[0], expected.predict(box=box)[0])


def test_load_model_takes_a_dtype(checkpoint: Path) -> None:
    model = zim.load_model(str(checkpoint), device="cpu", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with pytest.raises(ConfigError, match="dtype: expected a floating torch dtype or None, got torch.int8"):
        zim.load_model(str(checkpoint), dtype=torch.int8)


def test_load_model_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected an existing checkpoint or one of zim_tiny, vit_b, .*, got 'vit_x'"):
        zim.load_model("vit_x")
    (tmp_path / "sam_vit_b.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="expected a .safetensors checkpoint, got a .pth; .*zim.from_sam"):
        zim.load_model(tmp_path / "sam_vit_b.pth")
    with pytest.raises(CheckpointError, match="received a folder"):
        zim.load_model(tmp_path)
    with pytest.raises(ConfigError, match="device: expected auto, cpu"):
        zim.load_model("zim_tiny", device="gpu")


def test_load_model_refuses_the_baseline_and_broken_configs(tiny_zim: Zim, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "sam.safetensors", tiny_zim.state_dict(), config=SAM_TINY.to_dict())
    with pytest.raises(
        CheckpointError, match="expected a ZIM model, got architecture 'sam'; zim.load_predictor takes it"
    ):
        zim.load_model(tmp_path / "sam.safetensors")
    save_checkpoint(tmp_path / "odd.safetensors", tiny_zim.state_dict(), config={"img_size": 128, "colour": "red"})
    with pytest.raises(
        CheckpointError, match="odd.safetensors: expected the config of a ZIM model, got one that fails"
    ):
        zim.load_model(tmp_path / "odd.safetensors")


def test_research_only_weights_say_so_once(
    tiny_zim: Zim, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_licences_shown", set())
    path = tmp_path / "research.safetensors"
    save_checkpoint(
        path, tiny_zim.state_dict(), config=ZIM_TEST.to_dict(), metadata={"license": "research-only (data)"}
    )
    with caplog.at_level(logging.WARNING, logger="zim"):
        zim.load_model(path, device="cpu")
        zim.load_model(path, device="cpu")
    assert [record.getMessage() for record in caplog.records] == ["these weights are licensed as: research-only (data)"]


SMALL_VIT = ViTConfig(img_size=128, embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,))


@pytest.fixture
def sam_checkpoint(tmp_path: Path) -> Path:
    """The real Sam with a small ViT and random weights, as a `.pth`."""
    modeling = import_segment_anything().modeling
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sam = modeling.Sam(
            image_encoder=modeling.ImageEncoderViT(
                img_size=128, embed_dim=32, depth=2, num_heads=2, out_chans=256,
                qkv_bias=True, use_rel_pos=True,
                window_size=SMALL_VIT.window_size, global_attn_indexes=(1,), mlp_ratio=4,
                norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
            ),
            prompt_encoder=modeling.PromptEncoder(
                embed_dim=256, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=16
            ),
            mask_decoder=modeling.MaskDecoder(
                num_multimask_outputs=3,
                transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
                transformer_dim=256,
            ),
        )  # fmt: skip
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    return tmp_path / "sam.pth"


@pytest.mark.parametrize(
    "build",
    [lambda path: zim.from_sam(path, key="vit_b"), lambda path: zim.zim_model_registry["vit_b"](path)],
)
def test_from_sam_copies_what_is_shared_and_reports_the_rest(
    sam_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, build: Any
) -> None:
    config = type(ZIM_TEST)(img_size=128, vit=SMALL_VIT, pixel_widths=(8, 8, 4))
    monkeypatch.setitem(registry.MODEL_CONFIGS, "vit_b", config)
    with caplog.at_level(logging.WARNING, logger="zim"):
        model = build(sam_checkpoint)
    assert "initialised from SAM" in caplog.text and "mask_decoder.pixel_decoder" in caplog.text
    stored = torch.load(sam_checkpoint, weights_only=True)
    for key in ("prompt_encoder.no_mask_embed.weight", "mask_decoder.mask_tokens.weight"):
        assert torch.equal(model.state_dict()[key], stored[key])
    backbone = model.state_dict()["image_encoder.backbone.patch_embed.proj.weight"]
    assert torch.equal(backbone, stored["image_encoder.patch_embed.proj.weight"])


def test_from_sam_refuses_another_architecture(sam_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODEL_CONFIGS, "vit_b", ZIM_TEST)
    with pytest.raises(CheckpointError, match="the SAM checkpoint does not fit this ZIM model"):
        zim.from_sam(sam_checkpoint)
    with pytest.raises(ConfigError, match="key: expected one of zim_tiny, vit_b, .* got 'vit_x'"):
        zim.from_sam(sam_checkpoint, key="vit_x")


def test_the_public_names() -> None:
    expected = "ZimAutomaticMaskGenerator ZimPredictor __version__ cutout from_sam load_model load_predictor "
    expected += "predict_alpha zim_model_registry"
    assert sorted(zim.__all__) == sorted(expected.split())
    assert all(callable(getattr(zim, name)) for name in set(zim.__all__) - {"__version__", "zim_model_registry"})
    assert all(map(callable, zim.zim_model_registry.values()))
    assert set(zim.__all__) <= set(dir(zim))
    with pytest.raises(AttributeError, match="module 'zim' has no attribute 'sam_model_registry'"):
        zim.sam_model_registry  # noqa: B018


def test_importing_is_light() -> None:
    """`import zim` loads neither torch nor numpy, nor any optional library."""
    script = f"import sys, zim; print(*{{name.partition('.')[0] for name in sys.modules}} & set({HEAVY.split()!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
