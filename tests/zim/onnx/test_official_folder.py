"""A foreign folder of exactly the official signature behind the predictor: what its graphs are given, and when."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zim
from zim.errors import CheckpointError, ConfigError, PromptError
from zim.onnx.model import OnnxZim
from zim.predictor import ZimPredictor

SIDE, GRID = 128, 8
Maker = Callable[..., Path]


@pytest.fixture
def official(make_official: Maker, photo: np.ndarray) -> ZimPredictor:
    """The photo is 160 x 90, so the input frame is 128 x 72."""
    predictor = ZimPredictor.from_pretrained(make_official(), device="cpu")
    predictor.set_image(photo)
    return predictor


def _ask(predictor: ZimPredictor, **prompt: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """All four 8 x 8 maps and qualities of each prompt of the input frame."""
    encoder, decoder = predictor.model.prompt_encoder, predictor.model.mask_decoder
    points = (prompt["coords"], prompt["labels"]) if "coords" in prompt else None
    sparse, dense = encoder(points, prompt.get("boxes"), None)
    logits, quality = decoder.predict_masks(predictor.features, encoder.get_dense_pe(), sparse, dense)
    return logits.numpy(), quality.numpy()


def _gaussian(x: float, y: float) -> np.ndarray:
    """Sigma 21 cells of a 64 grid is 336 of 1024 pixels: 42 of 128. Cells are 16 pixels."""
    rows, columns = np.mgrid[:GRID, :GRID] * 16 + 8.0
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 42.0**2))


def test_points_get_a_pad_point_and_a_soft_mask(official: ZimPredictor) -> None:
    coords, labels = torch.tensor([[[20.0, 30.0], [100.0, 60.0], [64.0, 8.0]]]), torch.tensor([[1, 1, 0]])
    maps, quality = _ask(official, coords=coords, labels=labels)
    np.testing.assert_allclose(maps[0, 0], np.maximum(_gaussian(20, 30), _gaussian(100, 60)), atol=1e-6)
    np.testing.assert_allclose(maps[0, 1], 20 + 30 + 100 + 60 + 64 + 8 - 1, rtol=1e-6)  # pad at (-0.5, -0.5)
    np.testing.assert_allclose(maps[0, 2], 1 + 1 + 0 - 1)
    np.testing.assert_allclose(quality, [[0.1, 0.2, 0.3, 4]])


def test_a_box_is_labels_2_and_3_without_a_pad_point(official: ZimPredictor) -> None:
    maps, quality = _ask(official, boxes=torch.tensor([[17.0, 5.0, 50.0, 70.0]]))
    expected = np.full((GRID, GRID), -50.0)
    expected[0:5, 1:4] = 0  # cells int(5 / 16) .. int(70 / 16), int(17 / 16) .. int(50 / 16)
    np.testing.assert_array_equal(maps[0, 0], expected)
    np.testing.assert_allclose(maps[0, 1], 17 + 5 + 50 + 70)
    np.testing.assert_allclose(maps[0, 2], 2 + 3)
    assert quality[0, 3] == 2


def test_points_beside_a_box_are_not_lost(official: ZimPredictor) -> None:
    coords, labels = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]])
    maps, quality = _ask(official, coords=coords, labels=labels, boxes=torch.tensor([[17.0, 5.0, 50.0, 70.0]]))
    assert set(np.unique(maps[0, 0])) == {-50.0, 0.0}
    np.testing.assert_allclose(maps[0, 1], 20 + 30 + 17 + 5 + 50 + 70)
    np.testing.assert_allclose(maps[0, 2], 1 + 2 + 3)
    assert quality[0, 3] == 3


def test_negative_points_alone_close_nothing(official: ZimPredictor) -> None:
    maps, _ = _ask(official, coords=torch.tensor([[[20.0, 30.0]]]), labels=torch.tensor([[0]]))
    np.testing.assert_array_equal(maps[0, 0], np.ones((GRID, GRID)))


def test_encoder_sees_the_normalised_padded_image(official: ZimPredictor, photo: np.ndarray) -> None:
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    resized = official.transform.apply_image(photo)
    padded = np.zeros((SIDE, SIDE, 3))
    padded[:72] = (resized - mean) / std
    embedding = padded.reshape(GRID, 16, GRID, 16, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(official.get_image_embedding()[0].numpy(), embedding, atol=1e-5)
    maps, _ = _ask(official, boxes=torch.tensor([[17.0, 5.0, 50.0, 70.0]]))
    np.testing.assert_allclose(maps[0, 3], 4 * padded.mean(), atol=1e-5)  # each feature has the mean of the image


def test_predict_answers_in_the_original_frame(official: ZimPredictor) -> None:
    three, quality, low_res = official.predict(box=np.array([20.0, 10, 60, 80]), return_logits=True)
    assert three.shape == (3, 90, 160) and low_res.shape[0] == 3
    np.testing.assert_allclose(three[0], (20 + 10 + 60 + 80) * 128 / 160, rtol=1e-5)  # tokens 1 to 3
    np.testing.assert_allclose(three[1], 5, rtol=1e-5)
    np.testing.assert_allclose(quality, [0.2, 0.3, 2], rtol=1e-6)
    one, quality, _ = official.predict(box=np.array([20.0, 10, 60, 80]), multimask_output=False)
    np.testing.assert_allclose(quality, [0.1])
    assert one.shape == (1, 90, 160)
    assert one[0, 40, 40] == pytest.approx(0.5) and one[0, 85, 155] < 1e-6  # sigmoid of 0 and of -50


@pytest.mark.parametrize(
    ("prompts", "images"), [("batch", 1), ("batch", "batch"), ("batch", "images"), (1, 1), (None, None)]
)
def test_many_prompts_whatever_the_batch_axes_say(
    make_official: Maker, photo: np.ndarray, prompts: int | str | None, images: int | str | None
) -> None:
    predictor = zim.load_predictor(make_official(prompts, images), device="cpu")
    predictor.set_image(photo)
    boxes = torch.tensor([[0.0, 0, 10, 10], [16, 16, 40, 40], [32, 0, 60, 70]])
    logits, quality, _ = predictor.predict_torch(None, None, boxes, return_logits=True)
    np.testing.assert_allclose(logits[:, 0, 45, 80], boxes.sum(1), rtol=1e-5)
    assert quality.shape == (3, 3)


def test_mask_input_is_a_clear_error(official: ZimPredictor) -> None:
    with pytest.raises(PromptError, match="mask_input: this ONNX folder takes none.*--with-mask-input"):
        official.predict(box=np.array([0, 0, 9, 9]), mask_input=np.zeros((1, 32, 32), np.float32))


def test_registry_takes_the_folder_by_any_key_of_sams(make_official: Maker) -> None:
    model = zim.zim_model_registry["vit_b"](checkpoint=make_official())
    assert isinstance(model, OnnxZim) and model.record is None
    assert model.image_encoder.img_size == SIDE
    assert model.config.vit is not None and model.config.vit.embed_dim == 768
    assert zim.zim_model_registry["vit_l"](checkpoint=str(make_official())).config.vit.embed_dim == 1024
    assert model.to("cpu") is model


def test_folder_that_lacks_a_graph_or_holds_others(make_official: Maker, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"or a folder with encoder.onnx and decoder.onnx; .*without encoder"):
        zim.load_model(tmp_path)
    folder = make_official()
    (folder / "decoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes())
    with pytest.raises(CheckpointError, match=r"decoder.onnx: expected inputs feat_D0, .*, got image and"):
        zim.load_model(folder)
    (folder / "decoder.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="expected an ONNX graph"):
        zim.load_model(folder)


def test_dtype_and_device_of_a_folder(make_official: Maker) -> None:
    folder = make_official()
    with pytest.raises(ConfigError, match="dtype: expected None for an ONNX folder"):
        zim.load_model(folder, dtype=torch.float16)
    with pytest.raises(ConfigError, match="device: expected auto, cpu, cuda"):
        zim.load_model(folder, device="tpu")
    with pytest.warns(RuntimeWarning, match="'cuda' was asked for, but onnxruntime computes on CPUExecutionProvider"):
        zim.load_model(folder, device="cuda")


def test_embedding_belongs_to_its_encoder_file(official: ZimPredictor, make_official: Maker, tmp_path: Path) -> None:
    official.save_embedding(tmp_path / "saved.safetensors")
    same = ZimPredictor.from_pretrained(make_official(), device="cpu")
    same.load_embedding(tmp_path / "saved.safetensors")
    assert torch.equal(same.features.feat_s2, official.features.feat_s2)
    other = make_official("batch", "batch")
    path = other / "encoder.onnx"
    path.write_bytes(path.read_bytes() + b"\x32\x00")  # an empty doc_string
    with pytest.raises(CheckpointError, match="made by another image encoder"):
        ZimPredictor.from_pretrained(other, device="cpu").load_embedding(tmp_path / "saved.safetensors")
