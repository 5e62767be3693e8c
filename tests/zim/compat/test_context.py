"""`as_segment_anything`: what programs find within, and that nothing is left of it afterwards."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zim.compat.segment_anything as door
from zim.compat import as_segment_anything
from zim.compat.segment_anything import import_segment_anything
from zim.compat.surface import PACKAGES
from zim.errors import ConfigError
from zim.modeling.zim import Zim
from zim.predictor import ZimPredictor

REPOSITORY = Path(door.__file__).resolve().parents[2]
SUBMODULES = (
    *("build_sam", "predictor", "automatic_mask_generator", "modeling", "modeling.sam", "modeling.common"),
    *("modeling.image_encoder", "modeling.prompt_encoder", "modeling.mask_decoder", "modeling.transformer"),
    *("utils", "utils.amg", "utils.transforms", "utils.onnx"),
)
NAMES = ("SamPredictor", "SamAutomaticMaskGenerator", "sam_model_registry", "build_sam", "build_sam_vit_h")
BOX = np.array([20.0, 10.0, 110.0, 70.0])

WITHOUT_LIBRARIES = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torchvision", "segment_anything", "pycocotools"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from zim.compat import as_segment_anything
with as_segment_anything() as given:
    import segment_anything, mobile_sam
    from segment_anything.utils.amg import coco_encode_rle, mask_to_rle_pytorch
    from segment_anything import SamAutomaticMaskGenerator
    import torch
    assert given is segment_anything
    print(coco_encode_rle(mask_to_rle_pytorch(torch.ones(1, 2, 3, dtype=torch.bool))[0]))
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("segment_anything", "mobile_sam")))
try:
    import segment_anything
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_submodule_can_be_imported_in_both_ways(package: str, tiny_zim: Zim) -> None:
    with as_segment_anything(tiny_zim):
        top = importlib.import_module(package)
        for name in NAMES:
            assert hasattr(top, name)
        for name in SUBMODULES:
            module = importlib.import_module(f"{package}.{name}")
            assert module.__name__ == f"{package}.{name}" and module.__spec__ is not None
        assert importlib.util.find_spec(package) is not None
        assert callable(top.build_sam)  # the function hides its module, as in the library
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{package}.not_there")
        with pytest.raises(ImportError, match="cannot import name 'NotThere'"):
            exec(f"from {package} import NotThere")


def test_names_that_the_library_has_are_all_there(tiny_zim: Zim) -> None:
    """What the library's modules define can be imported, but for the inside of its ViT, which ZIM writes anew."""
    import_segment_anything()
    full_names = ["segment_anything", *(f"segment_anything.{name}" for name in SUBMODULES)]
    theirs = {name: dict(vars(sys.modules[name])) for name in full_names}
    inside = {"Attention", "Block", "PatchEmbed", "add_decomposed_rel_pos", "get_rel_pos"}
    inside |= {"window_partition", "window_unpartition"}
    with as_segment_anything(tiny_zim):
        for full_name, contents in theirs.items():
            own = {name for name, value in contents.items() if _is_from_the_library(name, value)}
            assert {name for name in own if not hasattr(sys.modules[full_name], name)} <= inside, full_name
            assert full_name == "segment_anything.utils" or own


def _is_from_the_library(name: str, value: Any) -> bool:
    return not name.startswith("_") and str(getattr(value, "__module__", "")).startswith("segment_anything.")


def test_modules_and_torch_are_as_before(tiny_zim: Zim, capsys: pytest.CaptureFixture[str]) -> None:
    real = import_segment_anything()
    watched = [(torch.Tensor, "to"), (torch.Tensor, "cuda"), (torch, "load"), (torch.jit, "load"), (torch, "tensor")]
    watched += [(torch.cuda, "synchronize"), (torch.cuda, "set_device"), (torch.nn.Module, "to")]
    before = dict(sys.modules), [(vars(owner).get(name), getattr(owner, name)) for owner, name in watched], sys.path[:]
    with as_segment_anything(tiny_zim) as stand_in:
        assert sys.modules["segment_anything"] is stand_in is not real
        torch.zeros(1, device="cuda")
        sys.modules["segment_anything"].SamPredictor  # noqa: B018
    after = dict(sys.modules), [(vars(owner).get(name), getattr(owner, name)) for owner, name in watched], sys.path[:]
    assert {name for name in after[0] if name.partition(".")[0] in PACKAGES} == {
        name for name in before[0] if name.partition(".")[0] in PACKAGES
    }
    assert all(after[0][name] is module for name, module in before[0].items())
    assert after[1:] == before[1:]
    assert sys.modules["segment_anything"] is real
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.zeros(1).to("cuda")
        with pytest.raises((AssertionError, RuntimeError)):
            torch.zeros(1, device="cuda")
    assert "no CUDA" in capsys.readouterr().err or torch.cuda.is_available()


def test_an_error_within_leaves_nothing_either(tiny_zim: Zim) -> None:
    real, original = import_segment_anything(), torch.load
    with pytest.raises(KeyError, match="of the program"), as_segment_anything(tiny_zim):
        raise KeyError("of the program")
    assert sys.modules["segment_anything"] is real and torch.load is original and "mobile_sam" not in sys.modules


def test_contexts_may_be_nested(tiny_zim: Zim, make_zim: Any) -> None:
    real, other = import_segment_anything(), make_zim(3)
    with as_segment_anything(tiny_zim) as outer:
        with as_segment_anything(other) as inner:
            assert sys.modules["segment_anything"] is inner
            assert inner.sam_model_registry["vit_b"]() is other
        assert sys.modules["segment_anything"] is outer
        assert outer.sam_model_registry["vit_b"]() is tiny_zim
    assert sys.modules["segment_anything"] is real


def test_the_door_still_opens_to_the_real_library(tiny_zim: Zim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for the first time while stand-ins are in force, it imports the library itself, which then stays."""
    real = import_segment_anything()
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "segment_anything"}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(door, "_library", None)
    with as_segment_anything(tiny_zim) as stand_in:
        fresh = import_segment_anything()
        assert fresh is not stand_in and fresh is not real
        assert fresh.__file__ == real.__file__
        assert sys.modules["segment_anything"] is stand_in
    assert sys.modules["segment_anything"] is fresh
    assert sys.modules["segment_anything.predictor"].SamPredictor is fresh.SamPredictor
    for name in list(sys.modules):
        if name.partition(".")[0] == "segment_anything":
            del sys.modules[name]


def test_what_the_program_built_keeps_working(tiny_zim: Zim, photo: np.ndarray) -> None:
    with as_segment_anything(tiny_zim) as library:
        predictor = library.SamPredictor(library.build_sam())
    predictor.set_image(photo)
    direct = ZimPredictor(tiny_zim, output="mask")
    direct.set_image(photo)
    assert np.array_equal(predictor.predict(box=BOX)[0], direct.predict(box=BOX)[0])


@pytest.mark.parametrize("key", ["default", "vit_h", "vit_l", "vit_b", "vit_t", "vit_tiny"])
def test_every_key_builds_the_chosen_model(key: str, tiny_zim: Zim) -> None:
    with as_segment_anything(tiny_zim) as library:
        assert library.sam_model_registry[key](checkpoint="any/where.pth") is tiny_zim
        assert library.sam_model_registry[key]() is tiny_zim
        if key != "default":
            assert getattr(library, f"build_sam_{key}")(None) is tiny_zim


def test_a_name_builds_a_model_of_its_own_each_time_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    with as_segment_anything("zim_tiny") as library:
        first = library.sam_model_registry["vit_h"](checkpoint="sam_vit_h_4b8939.pth")
        second = library.sam_model_registry["vit_l"](checkpoint="sam_vit_l_0b3195.pth")
    assert isinstance(first, Zim) and first is not second and first.device.type == "cpu"
    assert first.image_encoder.img_size == 1024 and not first.training
    lines = [line for line in capsys.readouterr().err.splitlines() if "answered by" in line]
    assert lines == ["zim: vit_h with checkpoint sam_vit_h_4b8939.pth is answered by ZIM's zim_tiny"]


def test_a_checkpoint_of_zim_is_taken_when_the_program_names_one(tiny_zim: Zim, tmp_path: Path) -> None:
    from zim.checkpoints import save_checkpoint

    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, tiny_zim.state_dict(), config=tiny_zim.config.to_dict())
    with as_segment_anything("zim_tiny") as library:
        model = library.sam_model_registry["vit_b"](checkpoint=str(path))
    assert model.image_encoder.img_size == 128
    expected = tiny_zim.state_dict()
    assert all(torch.allclose(value, expected[name], atol=1e-2) for name, value in model.state_dict().items())


@pytest.mark.parametrize("model", ["vit_x", "missing/folder/weights.safetensors"])
def test_a_model_that_does_not_exist_is_refused_before_anything_changes(model: str) -> None:
    with pytest.raises(ConfigError, match=r"model: expected an existing checkpoint or one of zim_tiny, .* got '"):
        with as_segment_anything(model):
            pytest.fail("the context was entered")
    assert "mobile_sam" not in sys.modules


def test_something_that_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="model: expected a name, a path or a Zim, got int"):
        with as_segment_anything(3):  # type: ignore[arg-type]
            pytest.fail("the context was entered")


def test_classes_are_those_of_the_models_parts(tiny_zim: Zim) -> None:
    with as_segment_anything(tiny_zim):
        from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
        from segment_anything.utils.transforms import ResizeLongestSide

        sam = tiny_zim
        assert isinstance(sam, Sam) and isinstance(sam.image_encoder, ImageEncoderViT)
        assert isinstance(sam.prompt_encoder, PromptEncoder) and isinstance(sam.mask_decoder, MaskDecoder)
        assert isinstance(sam.mask_decoder.transformer, TwoWayTransformer)
        assert ResizeLongestSide(1024).get_preprocess_shape(100, 200, 1024) == (512, 1024)


def test_sams_onnx_wrapper_points_to_our_own_export(tiny_zim: Zim) -> None:
    with as_segment_anything(tiny_zim):
        from segment_anything.utils.onnx import SamOnnxModel

        with pytest.raises(ConfigError, match="zim export --model NAME -o DIR"):
            SamOnnxModel(tiny_zim, return_single_mask=True)


def test_works_where_neither_library_is_installed() -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "{'size': [2, 3], 'counts': '06'}",
        "[]",
        "No module named 'segment_anything'",
    ]
