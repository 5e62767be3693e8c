from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from zim.embedding_store import model_sha256
from zim.errors import CheckpointError, DataError, ImageNotSetError
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

BOX = np.array([20.0, 10.0, 110.0, 70.0])


def test_an_embedding_comes_back_from_disk(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray, tmp_path: Path
) -> None:
    stored, expected = predictor.features, predictor.predict(box=BOX)[0]
    predictor.save_embedding(tmp_path / "deep" / "photo.safetensors")
    fresh = ZimPredictor(tiny_zim)
    fresh.load_embedding(tmp_path / "deep" / "photo.safetensors", image=photo)
    assert all(torch.equal(read, written) for read, written in zip(fresh.features, stored, strict=True))
    np.testing.assert_allclose(fresh.predict(box=BOX)[0], expected, atol=1e-5)  # the memory layout may differ
    assert (fresh.original_size, fresh.input_size) == ((90, 160), (72, 128))
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["photo.safetensors"]


def test_an_embedding_of_another_image_is_refused(predictor: ZimPredictor, photo: np.ndarray, tmp_path: Path) -> None:
    predictor.save_embedding(tmp_path / "photo.safetensors")
    changed = photo.copy()
    changed[40:60, 40:60] = 0
    with pytest.raises(DataError, match="belongs to another image"):
        predictor.load_embedding(tmp_path / "photo.safetensors", image=changed)
    predictor.load_embedding(tmp_path / "photo.safetensors", image=photo[..., ::-1], image_format="BGR")


def test_an_embedding_of_a_tensor_cannot_be_tied_to_an_image(
    predictor: ZimPredictor, photo: np.ndarray, tmp_path: Path
) -> None:
    resized = torch.from_numpy(predictor.transform.apply_image(photo)).permute(2, 0, 1)[None]
    predictor.set_torch_image(resized, photo.shape[:2])
    predictor.save_embedding(tmp_path / "photo.safetensors")
    predictor.load_embedding(tmp_path / "photo.safetensors")
    with pytest.raises(DataError, match="none recorded .the image came in as a tensor"):
        predictor.load_embedding(tmp_path / "photo.safetensors", image=photo)


def test_an_embedding_of_another_encoder_is_refused(
    predictor: ZimPredictor, photo: np.ndarray, tmp_path: Path, make_zim: Callable[[int], Zim]
) -> None:
    stranger = ZimPredictor(make_zim(1))
    stranger.set_image(photo)
    stranger.save_embedding(tmp_path / "photo.safetensors")
    before = predictor.features
    with pytest.raises(CheckpointError, match="made by another image encoder .* call set_image again"):
        predictor.load_embedding(tmp_path / "photo.safetensors")
    assert predictor.features is before


def test_the_model_hash_is_that_of_the_encoder(tiny_zim: Zim, make_zim: Callable[[int], Zim]) -> None:
    assert model_sha256(make_zim(0)) == model_sha256(tiny_zim) != model_sha256(make_zim(1))
    other_decoder = make_zim(0)
    with torch.no_grad():
        other_decoder.mask_decoder.iou_token.weight += 1
    assert model_sha256(other_decoder) == model_sha256(tiny_zim)
    with torch.no_grad():
        next(other_decoder.image_encoder.parameters()).view(-1)[0] += 1e-3
    assert model_sha256(other_decoder) != model_sha256(tiny_zim)


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", None])
def test_what_is_no_embedding_is_refused(predictor: ZimPredictor, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "photo.safetensors"
    if content is None:
        predictor.save_embedding(path)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or not a file of save_embedding"):
        predictor.load_embedding(path)


def test_another_safetensors_file_and_a_missing_one_are_refused(predictor: ZimPredictor, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="expected a file of save_embedding"):
        predictor.load_embedding(tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="expected an existing file"):
        predictor.load_embedding(tmp_path / "absent.safetensors")


def test_saving_needs_an_image(tiny_zim: Zim, tmp_path: Path) -> None:
    with pytest.raises(ImageNotSetError):
        ZimPredictor(tiny_zim).save_embedding(tmp_path / "photo.safetensors")
    assert not list(tmp_path.iterdir())
