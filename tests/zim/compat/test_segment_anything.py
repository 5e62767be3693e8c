"""The door to segment_anything with torchvision absent, broken and working; and the library in use."""

import importlib.util
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import zim.compat.segment_anything as door
from zim.errors import MissingDependencyError

REPOSITORY = Path(door.__file__).resolve().parents[2]

BLOCK_TORCHVISION = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""

USE_THE_DOOR = """
import sys
from zim.compat.segment_anything import SUBMODULES, import_segment_anything
library = import_segment_anything()
assert library is import_segment_anything() is sys.modules["segment_anything"]
assert all(f"segment_anything.{name}" in sys.modules for name in SUBMODULES)
import numpy as np
resized = library.utils.transforms.ResizeLongestSide(8).apply_image(np.full((4, 2, 3), 9, np.uint8))
assert resized.shape == (8, 4, 3) and (resized == 9).all(), resized
print(sorted(name for name in sys.modules if name.startswith("torchvision")))
print(library.automatic_mask_generator.batched_nms.__module__)
"""

WORKING_FUNCTIONAL = """
from PIL import Image
def to_pil_image(image): return Image.fromarray(image)
def resize(image, size): return image.resize(size[::-1], Image.Resampling.BILINEAR)
"""


def run_fresh(code: str, search_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(path) for path in (search_path, REPOSITORY) if path is not None]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def write_package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_imports_without_torchvision_and_leaves_no_stand_ins() -> None:
    result = run_fresh(BLOCK_TORCHVISION + USE_THE_DOOR)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["[]", "zim.nms"]


def test_imports_beside_a_broken_torchvision_and_leaves_no_ruins(tmp_path: Path) -> None:
    broken = write_package(
        tmp_path,
        {
            "torchvision/__init__.py": "from torchvision import extension\n"
            "raise RuntimeError('operator torchvision::nms does not exist')\n",
            "torchvision/extension.py": "",
        },
    )
    result = run_fresh(USE_THE_DOOR, broken)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["[]", "zim.nms"]


def test_a_working_torchvision_is_used_and_stays(tmp_path: Path) -> None:
    working = write_package(
        tmp_path,
        {
            "torchvision/__init__.py": "",
            "torchvision/transforms/__init__.py": "",
            "torchvision/transforms/functional.py": WORKING_FUNCTIONAL,
            "torchvision/ops/__init__.py": "",
            "torchvision/ops/boxes.py": "def batched_nms(): ...\ndef box_area(): ...\n",
        },
    )
    result = run_fresh(USE_THE_DOOR, working)
    assert result.returncode == 0, result.stderr
    modules, origin = result.stdout.splitlines()
    assert "'torchvision.ops.boxes'" in modules
    assert origin == "torchvision.ops.boxes"


def test_a_fault_of_the_library_itself_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, {"faulty_library/__init__.py": "raise ValueError('faulty library')\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(door, "_library", None)
    monkeypatch.setattr(door, "LIBRARY", "faulty_library")
    with pytest.raises(ValueError, match="faulty library"):
        door.import_segment_anything()
    assert not any(name.partition(".")[0] == "faulty_library" for name in sys.modules)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_library", None)
    monkeypatch.delitem(sys.modules, "segment_anything", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "zim-matting\[sam\]"'):
        door.import_segment_anything()
    assert issubclass(MissingDependencyError, ImportError)


def build_small_sam(library: Any) -> nn.Module:
    """The real Sam at 64 px with a one-block encoder, random weights."""
    torch.manual_seed(0)
    modeling = library.modeling
    return modeling.Sam(
        modeling.ImageEncoderViT(
            img_size=64, embed_dim=16, depth=1, num_heads=2, out_chans=32, use_rel_pos=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        ),
        modeling.PromptEncoder(32, (4, 4), (64, 64), 8),
        modeling.MaskDecoder(
            transformer_dim=32,
            transformer=modeling.TwoWayTransformer(depth=1, embedding_dim=32, mlp_dim=16, num_heads=2),
        ),
    ).eval()  # fmt: skip


def test_the_librarys_automatic_generator_runs_on_the_projects_nms() -> None:
    library = door.import_segment_anything()
    generator = library.SamAutomaticMaskGenerator(
        build_small_sam(library),
        points_per_side=4,
        pred_iou_thresh=-100.0,
        stability_score_thresh=-1.0,
        box_nms_thresh=0.5,
        crop_n_layers=1,
        crop_nms_thresh=0.5,
    )
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    records = generator.generate(image)
    assert len(records) >= 1
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (record["bbox"] for record in records)]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
            assert inter <= 0.5 * union
