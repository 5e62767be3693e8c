"""Embeddings on disk and in other processes; many prompts and many images against one at a time."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from zim.checkpoints import save_checkpoint
from zim.embedding_store import model_sha256
from zim.errors import CheckpointError, DataError, ImageError, ImageNotSetError, PromptError
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor
from zim.prompts import Prompt

BOX = np.array([20.0, 10.0, 110.0, 70.0])

OTHER_PROCESS = """
import sys
from pathlib import Path
import numpy as np
import torch
from zim.errors import ZimError
from zim.predictor import ZimPredictor

torch.set_num_threads(int(sys.argv[2]))  # sums in another order have other bits
folder = Path(sys.argv[1])
photo, box = np.load(folder / "photo.npy"), np.array([20.0, 10.0, 110.0, 70.0])
predictor = ZimPredictor.from_pretrained(folder / "model.safetensors", device="cpu")
predictor.load_embedding(folder / "embedding.safetensors", image=photo)
answers = predictor.predict(box=box, return_logits=True)
maps = [feature.numpy() for feature in predictor.features]
np.savez(folder / "answers.npz", *answers, *maps, predictor.original_size, predictor.input_size)
stranger = ZimPredictor.from_pretrained(folder / "other_model.safetensors", device="cpu")
for asked, image in ((predictor, photo[:, ::-1].copy()), (predictor, photo[:-1]), (stranger, photo), (stranger, None)):
    try:
        asked.load_embedding(folder / "embedding.safetensors", image=image)
        print("taken")
    except ZimError as error:
        print(type(error).__name__)
"""


def test_another_process_has_the_same_bits_and_refuses_what_does_not_belong(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray, make_zim: Callable[[int], Zim], tmp_path: Path
) -> None:
    for name, model in (("model", tiny_zim), ("other_model", make_zim(1))):
        save_checkpoint(tmp_path / f"{name}.safetensors", model.state_dict(), config=model.config.to_dict())
    np.save(tmp_path / "photo.npy", photo)
    predictor.save_embedding(tmp_path / "embedding.safetensors")
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path), str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["DataError", "DataError", "CheckpointError", "CheckpointError"]
    read = list(np.load(tmp_path / "answers.npz").values())
    maps = [feature.numpy() for feature in predictor.features]
    expected = [*predictor.predict(box=BOX, return_logits=True), *maps, (90, 160), (72, 128)]
    assert len(read) == len(expected)
    for ours, theirs in zip(read, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_embedding_comes_back_from_disk(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray, tmp_path: Path
) -> None:
    stored, expected = predictor.features, predictor.predict(box=BOX)[0]
    predictor.save_embedding(tmp_path / "deep" / "photo.safetensors")
    fresh = ZimPredictor(tiny_zim)
    fresh.load_embedding(tmp_path / "deep" / "photo.safetensors", image=photo)
    assert all(torch.equal(read, written) for read, written in zip(fresh.features, stored, strict=True))
    assert [read.stride() for read in fresh.features] == [written.stride() for written in stored]
    np.testing.assert_array_equal(fresh.predict(box=BOX)[0], expected)
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
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="expected a file of save_embedding"):
        predictor.load_embedding(tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="expected an existing file"):
        predictor.load_embedding(tmp_path / "absent.safetensors")


def test_saving_needs_an_image(tiny_zim: Zim, tmp_path: Path) -> None:
    with pytest.raises(ImageNotSetError):
        ZimPredictor(tiny_zim).save_embedding(tmp_path / "photo.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [("original_size", "5"), ("original_size", "[0, 5]"), ("input_size", "{"), ("channels_last", '["colour"]')],
)
def test_damaged_sizes_are_refused(predictor: ZimPredictor, tmp_path: Path, field: str, value: str) -> None:
    predictor.save_embedding(tmp_path / "photo.safetensors")
    with safe_open(tmp_path / "photo.safetensors", framework="pt") as reader:
        metadata, tensors = dict(reader.metadata()), {name: reader.get_tensor(name) for name in reader.keys()}
    assert json.loads(metadata["original_size"]) == [90, 160]
    before = predictor.features
    save_file(tensors, tmp_path / "photo.safetensors", metadata=metadata | {field: value})
    with pytest.raises(DataError, match="damaged or not a file of save_embedding"):
        predictor.load_embedding(tmp_path / "photo.safetensors")
    assert predictor.features is before


def test_the_model_hash_knows_the_normalisation(tiny_zim: Zim, make_zim: Callable[[int], Zim]) -> None:
    other = make_zim(0)
    other.pixel_mean = torch.zeros_like(other.pixel_mean)
    assert model_sha256(other) != model_sha256(tiny_zim)


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 3, 16])
def test_mixed_prompts_are_single_prompts(predictor: ZimPredictor, multimask_output: bool, chunk_size: int) -> None:
    """Every kind, in an order that mixes them; the answers come back in that order."""
    logits = np.random.default_rng(0).normal(size=(1, 32, 32)).astype(np.float32)
    points = np.array([[30.0, 40.0], [90.0, 20.0]]), np.array([1, 0])
    one = {"point_coords": points[0][:1], "point_labels": points[1][:1]}
    two = {"point_coords": points[0].astype(int), "point_labels": points[1]}
    kinds = [
        {"box": BOX},
        {"mask_input": logits},
        one,
        {"box": (BOX / 2).astype(int)},
        two,
        {"box": BOX[None], **one},
        {"mask_input": logits, "box": BOX},
        {"mask_input": logits[0] + 1},
        {"mask_input": logits.repeat(2, axis=1).repeat(2, axis=2), **two},
        {"point_coords": points[0][1:], "point_labels": points[1][:1]},
    ]
    answers = predictor.predict_many(
        [Prompt(**kind) for kind in kinds], multimask_output, return_logits=True, chunk_size=chunk_size
    )
    for kind, answer in zip(kinds, answers, strict=True):
        alone = predictor.predict(**kind, multimask_output=multimask_output, return_logits=True)
        for part, single in zip(answer, alone, strict=True):
            assert part.shape == single.shape and part.dtype == single.dtype
            np.testing.assert_allclose(part, single, atol=2e-4, rtol=1e-4)


def test_no_prompts_have_no_answers_but_need_an_image(tiny_zim: Zim, predictor: ZimPredictor) -> None:
    assert predictor.predict_many([]) == []
    with pytest.raises(ImageNotSetError):
        ZimPredictor(tiny_zim).predict_many([])


@pytest.mark.parametrize("prompts", [Prompt(box=BOX), {"box": BOX}, None, 3])
def test_what_is_no_sequence_of_prompts_is_refused(predictor: ZimPredictor, prompts: object) -> None:
    with pytest.raises(PromptError, match="prompts: expected a sequence of zim.prompts.Prompt, got "):
        predictor.predict_many(prompts)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_images_of_any_sizes_are_single_images(
    tiny_zim: Zim, photo: np.ndarray, other_photo: np.ndarray, batch_size: int
) -> None:
    images = [photo, other_photo, photo[:1], photo[:40, :40], Image.fromarray(other_photo[:, :33]), photo[..., 0]]
    batch, alone = ZimPredictor(tiny_zim), ZimPredictor(tiny_zim)
    embedded = batch.set_image_batch(images, batch_size=batch_size)
    assert len(embedded) == len(images) and not batch.is_image_set
    for image, features in zip(images, embedded, strict=True):
        alone.set_image(image)
        batch.features = features
        assert (batch.original_size, batch.input_size) == (alone.original_size, alone.input_size)
        assert features.image_sha256 == alone.features.image_sha256
        box = np.array([0, 0, batch.original_size[1] * 0.7, batch.original_size[0]])
        for together, single in zip(
            batch.predict(box=box, return_logits=True), alone.predict(box=box, return_logits=True), strict=True
        ):
            np.testing.assert_allclose(together, single, atol=2e-4, rtol=1e-4)


def test_no_images_have_no_features_and_one_image_is_no_sequence(tiny_zim: Zim, photo: np.ndarray) -> None:
    predictor = ZimPredictor(tiny_zim)
    assert predictor.set_image_batch([]) == []
    assert len(predictor.set_image_batch(np.stack([photo, photo]))) == 2
    for wrong in (photo, Image.fromarray(photo), None):
        with pytest.raises(ImageError, match="images: expected a sequence of images, got "):
            predictor.set_image_batch(wrong)  # type: ignore[arg-type]
