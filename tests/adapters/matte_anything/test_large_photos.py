"""A 12-megapixel photo in tiles: memory, and steps where tiles meet. Each runs in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GIBIBYTE = 2**30

PROGRAM = """
import json, resource, sys
import cv2, numpy as np
from adapters.matte_anything import ClosedFormRefiner, MatteTrimap, VitMatteRefiner
from adapters.matte_anything.tiles import tiles_of, window_around

rows, columns = np.mgrid[:3000, :4000].astype(np.float32)
alpha = np.clip(0.5 + (1100 - np.hypot(rows - 1500, columns - 2000)) / 80, 0, 1)
image = np.empty((3000, 4000, 3), np.uint8)
for channel, (fore, back) in enumerate(((210, 30), (70, 90), (40, 200))):
    shade = 15 * np.sin(columns / (90 + 20 * channel)) + 10 * np.cos(rows / 70)
    image[..., channel] = alpha * (fore + shade) + (1 - alpha) * (back - shade) + 0.5
del rows, columns
trimap = MatteTrimap(band_share=0.03)(alpha)
if sys.argv[1] == "closed form":
    refiner = ClosedFormRefiner()
else:
    import torch
    from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting, VitMatteImageProcessorPil
    torch.manual_seed(0)
    backbone = VitDetConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=2, image_size=512, num_channels=4,
        window_size=14, window_block_indices=[0, 1], out_features=["stage3"], use_relative_position_embeddings=True)
    model = VitMatteForImageMatting(VitMatteConfig(backbone_config=backbone, hidden_size=48,
        convstream_hidden_sizes=[12, 24, 48], fusion_hidden_sizes=[64, 32, 16, 8]))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    refiner = VitMatteRefiner(model, VitMatteImageProcessorPil())
window = window_around(trimap == 0.5, 128 if sys.argv[1] != "closed form" else 3)
hw = window.bottom - window.top, window.right - window.left
tiles = tiles_of(hw, refiner.tiling)
refined = refiner(image, trimap, alpha)[window.window]
unknown = (trimap == 0.5)[window.window]
told = {"tiles": len(tiles), "unknown": float(unknown.mean())}
for axis, name in ((0, "rows"), (1, "columns")):
    starts = {s for t in tiles for s in ((t.top, t.bottom) if axis == 0 else (t.left, t.right))} - {0, hw[axis]}
    count = hw[axis] - 1
    both = unknown.take(range(count), axis) & unknown.take(range(1, hw[axis]), axis)
    steps = np.where(both, np.abs(np.diff(refined, axis=axis)), 0).max(axis=1 - axis)
    borders = sorted(s - 1 for s in starts)
    told[name] = {"at borders": float(steps[borders].max()), "anywhere": float(np.delete(steps, borders).max())}
told["error"] = float(np.abs(refined - alpha[window.window])[unknown].mean())
told["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("refiner", ["closed form", "vitmatte"])
def test_twelve_megapixels(refiner: str) -> None:
    pytest.importorskip("pymatting" if refiner == "closed form" else "transformers")
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, refiner], cwd=root, capture_output=True, text=True, check=True
    )
    print(done.stdout)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["tiles"] > 4 and told["unknown"] > 0.05
    assert told["peak"] < 6 * GIBIBYTE
    for axis in ("rows", "columns"):
        assert 0 < told[axis]["at borders"] <= told[axis]["anywhere"] + 1e-3
    if refiner == "closed form":
        assert told["error"] < 0.02
