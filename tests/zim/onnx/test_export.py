"""Exported folders against the torch model they come from, through the predictor and with onnxruntime alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import zim
import zim.onnx.export as export_module
from zim.compat.segment_anything import import_segment_anything
from zim.conversion import ForeignEncoderConfig
from zim.errors import CheckpointError, ConfigError, PromptError
from zim.modeling.features import ImageFeatures
from zim.modeling.prompt_attention import prompt_attention_bias
from zim.modeling.zim import Zim
from zim.onnx.export import export_folder
from zim.onnx.model import OnnxZim, load_onnx_folder
from zim.onnx.record import ExportRecord, hashes_of, read_record, write_record
from zim.predictor import ZimPredictor

SIDE, GRID, SIGMA = 128, 8, 21.0 * 8 / 64
CLOSE = {"rtol": 0.0, "atol": 1e-4}

pytestmark = pytest.mark.timeout(1200)  # tracing takes half a minute of a free core, and cores are not always free


@pytest.fixture(scope="module")
def folder(tiny_zim: Zim, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one export of the fast tests: tracing takes most of their time."""
    out = tmp_path_factory.mktemp("export") / "tiny"
    export_folder(tiny_zim, out, name="zim_test", licence="Apache-2.0")
    return out


@pytest.fixture(scope="module")
def exported(folder: Path) -> OnnxZim:
    return load_onnx_folder(folder, device="cpu")


def test_signature_is_the_official_one(folder: Path) -> None:
    def axes(values: Any) -> dict[str, list[int | str]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    encoder, decoder = (onnx.load(folder / f"{name}.onnx").graph for name in ("encoder", "decoder"))
    assert axes(encoder.input) == {"image": ["images", 3, SIDE, SIDE]}
    features = {"feat_D0": 64, "feat_D1": 32, "feat_D2": 16, "image_embeddings": 8}
    assert list(axes(encoder.output)) == ["image_embeddings", "feat_D0", "feat_D1", "feat_D2"]
    assert {name: sides[-1] for name, sides in axes(encoder.output).items()} == features
    received = axes(decoder.input)
    assert list(received) == [
        "feat_D0", "feat_D1", "feat_D2", "image_embeddings", "attn_mask", "point_coords", "point_labels",
    ]  # fmt: skip
    assert {name: received[name][-1] for name in features} == features
    assert received["attn_mask"] == ["prompts", GRID, GRID]
    assert received["point_coords"] == ["prompts", "points", 2]
    assert received["point_labels"] == ["prompts", "points"]
    assert axes(decoder.output) == {"masks": ["prompts", 4, 64, 64], "iou_predictions": ["prompts", 4]}
    onnx.checker.check_model(str(folder / "decoder.onnx"), full_check=True)


def _decoder_inputs(model: Zim, prompts: int, points: int) -> dict[str, np.ndarray]:
    """Random features and prompts; points of every label, the attention mask still missing."""
    random = torch.Generator().manual_seed(prompts)
    image = torch.randn(1, 3, SIDE, SIDE, generator=random)
    with torch.no_grad():
        features = model.image_encoder(image)
    return {
        "feat_D0": features.feat_s2.numpy(),
        "feat_D1": features.feat_s4.numpy(),
        "feat_D2": features.feat_s8.numpy(),
        "image_embeddings": features.embedding.numpy(),
        "point_coords": (torch.rand(prompts, points, 2, generator=random) * SIDE).numpy(),
        "point_labels": torch.randint(0, 2, (prompts, points), generator=random).float().numpy(),
    }


def _expected(model: Zim, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What torch makes of the same points, with the attention mask of its own."""
    names = ("image_embeddings", "feat_D0", "feat_D1", "feat_D2")
    features = ImageFeatures(*(torch.from_numpy(inputs[name]) for name in names))
    encoder = model.prompt_encoder
    with torch.no_grad():
        sparse, dense = encoder.embed(
            torch.from_numpy(inputs["point_coords"]), torch.from_numpy(inputs["point_labels"]).long(), None
        )
        logits, quality = model.mask_decoder.predict_masks(features, encoder.get_dense_pe(), sparse, dense)
    return logits.numpy(), quality.numpy()


@pytest.mark.parametrize(("prompts", "points"), [(1, 1), (1, 7), (2, 1), (6, 4)])
def test_decoder_alone_takes_both_forms_of_the_attention_mask(
    tiny_zim: Zim, folder: Path, prompts: int, points: int
) -> None:
    session = onnxruntime.InferenceSession(str(folder / "decoder.onnx"), providers=["CPUExecutionProvider"])
    inputs = _decoder_inputs(tiny_zim, prompts, points)
    inputs["point_labels"][:, 0] = 1
    coords, labels = torch.from_numpy(inputs["point_coords"]), torch.from_numpy(inputs["point_labels"]).long()
    log_form = prompt_attention_bias(coords, labels, (GRID, GRID), 16.0, SIGMA)[:, 0].numpy()
    expected = _expected(tiny_zim, inputs)
    for attn_mask in (log_form, np.exp(log_form)):
        found = session.run(None, {**inputs, "attn_mask": attn_mask})
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, **CLOSE)
    closed = np.full_like(log_form, -np.inf)
    closed[:, 0, 0] = 0
    assert np.abs(session.run(None, {**inputs, "attn_mask": closed})[0] - expected[0]).max() > 1e-2


def test_decoder_alone_takes_the_image_once_or_for_each_prompt(tiny_zim: Zim, folder: Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / "decoder.onnx"), providers=["CPUExecutionProvider"])
    inputs = _decoder_inputs(tiny_zim, 3, 2)
    inputs["attn_mask"] = np.zeros((3, GRID, GRID), np.float32)
    once = session.run(None, inputs)
    each = {
        name: value.repeat(3, axis=0) if name.startswith(("feat", "image")) else value
        for name, value in inputs.items()
    }
    for ours, theirs in zip(session.run(None, each), once, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


PROMPTS: list[dict[str, Any]] = [
    {"box": np.array([20, 10, 120, 70])},
    {"point_coords": np.array([[30, 40], [100, 20]]), "point_labels": np.array([1, 0])},
    {"point_coords": np.array([[30, 40]]), "point_labels": np.array([0])},
    {
        "point_coords": np.array([[30, 40], [150, 80]]),
        "point_labels": np.array([1, 0]),
        "box": np.array([9, 9, 80, 80]),
    },
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_reloaded_folder_answers_as_torch_does(
    predictor: ZimPredictor, folder: Path, photo: np.ndarray, prompt: dict[str, Any]
) -> None:
    again = zim.load_predictor(folder, device="cpu")
    again.set_image(photo)
    for multimask_output in (True, False):
        expected = predictor.predict(**prompt, multimask_output=multimask_output)
        for ours, theirs in zip(again.predict(**prompt, multimask_output=multimask_output), expected, strict=True):
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_64_prompts_at_once(predictor: ZimPredictor, exported: OnnxZim, photo: np.ndarray) -> None:
    again = ZimPredictor(exported)
    again.set_image(photo)
    corners = np.sort(np.random.default_rng(0).uniform(0, 72, (64, 2, 2)), axis=1)
    boxes = torch.from_numpy(corners.reshape(64, 4)).float()
    expected = predictor.predict_torch(None, None, boxes)
    for ours, theirs in zip(again.predict_torch(None, None, boxes), expected, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_sams_own_predictor_runs_on_the_folder(exported: OnnxZim, predictor: ZimPredictor, photo: np.ndarray) -> None:
    sam = import_segment_anything().SamPredictor(exported)
    sam.set_image(photo)
    box = np.array([20, 10, 120, 70])
    masks, quality, _ = sam.predict(box=box)
    logits, expected, _ = predictor.predict(box=box, return_logits=True)
    sure = np.abs(logits) > 1e-3
    assert masks.dtype == bool and (masks == (logits > 0))[sure].all()
    np.testing.assert_allclose(quality, expected, **CLOSE)


def test_record_says_what_it_is(folder: Path, tiny_zim: Zim) -> None:
    record = read_record(folder)
    assert record is not None and record.zim_config == tiny_zim.config
    assert (record.name, record.license) == ("zim_test", "Apache-2.0")
    assert set(record.files) == {"encoder.onnx", "decoder.onnx"}
    assert record.max_alpha_difference is not None and 0 < record.max_alpha_difference < 1e-4
    assert record.versions["torch"] == torch.__version__ and record.versions["onnx"] == onnx.__version__


def test_mask_input_needs_the_third_graph(exported: OnnxZim, photo: np.ndarray) -> None:
    again = ZimPredictor(exported)
    again.set_image(photo)
    with pytest.raises(PromptError, match="no decoder_mask.onnx"):
        again.predict(mask_input=np.zeros((1, 32, 32), np.float32))


def test_registry_compares_the_config(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="expected the weights of vit_b, got those of .* another config"):
        zim.zim_model_registry["vit_b"](checkpoint=folder)


# What follows needs no graphs: the exporter's work is replaced by a few bytes.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`quick(difference)`: exports take no time and differ from torch by that much."""

    def prepare(difference: float) -> None:
        def write(model: Zim, out: Path, with_mask_input: bool) -> None:
            (out / "encoder.onnx").write_bytes(b"encoder")
            (out / "decoder.onnx").write_bytes(b"decoder")

        monkeypatch.setattr(export_module, "_write_graphs", write)
        monkeypatch.setattr(export_module, "max_alpha_difference", lambda model, out: difference)

    return prepare


def test_graphs_that_differ_are_not_kept(tiny_zim: Zim, tmp_path: Path, quick: Callable[[float], None]) -> None:
    for difference in (2e-4, float("nan")):
        quick(difference)
        with pytest.raises(CheckpointError, match=r"within 0.0001 of torch's, got a difference of (0.0002|nan)"):
            export_folder(tiny_zim, tmp_path / "out", name="x", licence="y")
        assert list(tmp_path.iterdir()) == []


def test_earlier_export_is_replaced_whole_or_kept(
    tiny_zim: Zim, tmp_path: Path, quick: Callable[[float], None]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    quick(1e-6)
    export_folder(tiny_zim, out, name="first", licence="y")
    (out / "decoder_mask.onnx").write_bytes(b"of an earlier version")
    quick(1.0)
    with pytest.raises(CheckpointError):
        export_folder(tiny_zim, out, name="second", licence="y")
    assert json.loads((out / "zim_export.json").read_text())["name"] == "first"
    quick(1e-6)
    export_folder(tiny_zim, out, name="third", licence="y")
    assert json.loads((out / "zim_export.json").read_text())["name"] == "third"
    assert sorted(file.name for file in out.iterdir()) == ["decoder.onnx", "encoder.onnx", "zim_export.json"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_other_peoples_files_are_left_alone(tiny_zim: Zim, tmp_path: Path, quick: Callable[[float], None]) -> None:
    quick(1e-6)
    (tmp_path / "letter.txt").write_text("dear")
    for target in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(ConfigError, match="expected a new or empty folder or an earlier export"):
            export_folder(tiny_zim, target, name="x", licence="y")
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_models_that_cannot_be_exported(make_zim: Callable[[int], Zim], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected float32 weights, got torch.float16"):
        export_folder(make_zim(3).half(), tmp_path / "out", name="x", licence="y")
    with pytest.raises(ConfigError, match="model: expected a ZIM, got Linear"):
        export_folder(torch.nn.Linear(1, 1), tmp_path / "out", name="x", licence="y")  # type: ignore[arg-type]
    foreign = make_zim(3)
    foreign.config = ForeignEncoderConfig(**vars(foreign.config), reason="it is somebody's own")
    with pytest.raises(ConfigError, match="that its config describes wholly; .* it is somebody's own"):
        export_folder(foreign, tmp_path / "out", name="x", licence="y")
    assert list(tmp_path.iterdir()) == []


def test_altered_file_is_refused(tmp_path: Path, tiny_zim: Zim) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"encoder")
    (tmp_path / "decoder.onnx").write_bytes(b"decoder")
    config = tiny_zim.config.to_dict()
    write_record(
        tmp_path, ExportRecord(name="x", license="y", config=config, versions={}, files=hashes_of(tmp_path))
    )
    assert read_record(tmp_path) is not None
    (tmp_path / "decoder.onnx").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="decoder.onnx: damaged or altered: expected sha256"):
        zim.load_model(tmp_path)
    (tmp_path / "zim_export.json").write_text('{"format": "zim-onnx"')
    with pytest.raises(CheckpointError, match="zim_export.json: expected a record"):
        zim.load_model(tmp_path)


@pytest.mark.slow
def test_third_graph_takes_an_earlier_answer(
    tiny_zim: Zim, predictor: ZimPredictor, photo: np.ndarray, tmp_path: Path
) -> None:
    export_folder(tiny_zim, tmp_path / "out", name="zim_test", licence="y", with_mask_input=True)
    again = ZimPredictor(load_onnx_folder(tmp_path / "out", device="cpu"))
    again.set_image(photo)
    low_res = predictor.predict(box=np.array([20, 10, 120, 70]))[2][:1]
    for prompt in ({}, {"box": np.array([9, 9, 80, 80])}, PROMPTS[1]):
        expected = predictor.predict(**prompt, mask_input=low_res)
        without = predictor.predict(**prompt)[0] if prompt else None
        assert without is None or np.abs(expected[0] - without).max() > 1e-3
        for ours, theirs in zip(again.predict(**prompt, mask_input=low_res), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, **CLOSE)
    wide = low_res.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(
        again.predict(mask_input=wide)[0], predictor.predict(mask_input=low_res)[0], **CLOSE
    )


@pytest.mark.slow
def test_zim_tiny_on_photographs(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    model = zim.load_model("zim_tiny", device="cpu")
    record = export_folder(model, tmp_path / "out", name="zim_tiny", licence="y")
    assert record.max_alpha_difference is not None and record.max_alpha_difference <= 1e-4
    ours, theirs = ZimPredictor(load_onnx_folder(tmp_path / "out", device="cpu")), ZimPredictor(model)
    random = np.random.default_rng(0)
    for image in (data.chelsea(), data.astronaut(), data.coffee()):
        for predictor in (ours, theirs):
            predictor.set_image(image[::2, ::2])
        height, width = theirs.input_size
        coords = torch.from_numpy(random.uniform(0, 1, (16, 3, 2)) * [width, height]).float()
        labels = torch.from_numpy(random.integers(0, 2, (16, 3)))
        expected = theirs.predict_torch(coords, labels)[0]
        torch.testing.assert_close(ours.predict_torch(coords, labels)[0], expected, **CLOSE)
