"""Scenes composited on a device: slow painters in numpy and OpenCV are the oracles."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.data import device_scenes
from training.data.batches import Batch, BatchConfig, Shares, StepSource
from training.data.device_scenes import DeviceBatchSource, device_source, measure, sheet
from training.data.device_scenes_develop import tint
from training.data.device_scenes_layers import compose, draw_sprites
from training.data.device_scenes_layout import Layout, draw_layout
from training.data.device_scenes_photos import Regions, Windows, cut, draw_labelled, region_planes
from training.data.segments import LabelledPhoto, RegionMix
from training.data.sprites import (
    FORMAT_VERSION,
    SpriteLibrary,
    SpriteShard,
    level_frames,
    load_library,
    read_manifest,
    write_photos,
    write_sprites,
)
from training.data.sprites_photos import build_shard
from training.tasks import Task
from zim.errors import ConfigError, DataError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

FRAME, SIDE = 64, 64
CPU = torch.device("cpu")


def sprite_shard(count: int) -> SpriteShard:
    """Soft ellipses of one colour each, off their frame's middle; every third is a cut-out; their left half a part."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:FRAME, :FRAME]
    alphas = []
    for _ in range(count):
        radii, centre = rng.uniform(14, 24, 2), rng.uniform(28, 36, 2)
        distance = np.hypot((columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1])
        alphas.append(np.clip((1 - distance) * 6 + 0.5, 0, 1))
    alpha = (np.stack(alphas) * 255).astype(np.uint8)
    colours = rng.integers(20, 235, (count, 1, 1, 3), dtype=np.uint8)
    return SpriteShard(
        colour=np.broadcast_to(colours, (count, FRAME, FRAME, 3)).copy(),
        alpha=alpha,
        part=np.where(columns < FRAME // 2, alpha, 0).astype(np.uint8),
        family=(np.arange(count) % 3).astype(np.uint8),
        upright=np.zeros(count, bool),
        bust=np.arange(count) % 5 == 0,
        kind=np.array(["ellipse"] * count),
        nominal=rng.uniform(0.3, 0.9, count).astype(np.float32),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of twelve ellipses and five photographs, three of them with two bright labelled rectangles."""
    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(1)
    images, labelled = [], []
    for number in range(5):
        height, width = int(rng.integers(50, 81)), 80
        image, labels = np.full((height, width, 3), 40, np.uint8), np.zeros((1, height, width), np.uint8)
        for key, (x, y) in enumerate(((8, 10), (46, 20)), start=1):
            image[y : y + 22, x : x + 26], labels[0, y : y + 22, x : x + 26] = 210, key
        images.append(image)
        labelled.append(LabelledPhoto(image=image, labels=labels, mix=RegionMix()) if number >= 2 else None)
    write_sprites(root / "sprites_0000.npz", sprite_shard(12), 95)
    write_photos(root / "photos_0000.npz", build_shard(images, labelled, 80), 95)
    manifest = {"format": FORMAT_VERSION, "complete": True, "license": "Apache-2.0"}
    shards = {"sprite_shards": ["sprites_0000.npz"], "photo_shards": ["photos_0000.npz"]}
    (root / "manifest.json").write_text(json.dumps({**manifest, **shards}), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def library(folder: Path) -> SpriteLibrary:
    return load_library(folder)


def source(library: SpriteLibrary, *, seed: int = 7, **config: object) -> DeviceBatchSource:
    settings = {"images": 6, "prompts": 2, "side": SIDE, **config}
    return DeviceBatchSource(library, BatchConfig(**settings), seed=seed)  # type: ignore[arg-type]


def same(first: Batch, second: Batch) -> bool:
    pairs = [(value, vars(second)[key]) for key, value in vars(first).items()]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def one_sprite(layout: Layout, **changes: np.ndarray) -> Layout:
    """Sprite 1 alone, in the middle of a picture as large as its frame."""
    plain = {"sprite": np.array([1]), "centre": np.full((1, 2), 0.5), "side": np.ones(1), "matrix": np.eye(2)[None]}
    return dataclasses.replace(layout, **{**plain, "level": np.zeros(1, np.int64), **changes})


@pytest.fixture
def layout(library: SpriteLibrary) -> Layout:
    made = draw_layout(np.random.default_rng(0), library, np.array([True]), SIDE)
    assert made.pictures == 1 and len(made.sprite) == 1
    return made


def test_alphas_are_kept_and_reductions_are_averages(library: SpriteLibrary) -> None:
    shard = sprite_shard(12)
    assert (library.atlas[:, 3, :, :FRAME].numpy() == shard.alpha).all()
    assert (library.atlas[:, 4, :, :FRAME].numpy() == shard.part).all()
    x, y, size = level_frames(FRAME)[2]
    wanted = shard.alpha.reshape(12, size, 4, size, 4).mean((2, 4))
    found = library.atlas[:, 3, y : y + size, x : x + size].numpy()
    assert np.abs(found - wanted).max() <= 1
    straight = shard.colour[:, 0, 0].astype(float)
    np.testing.assert_allclose(library.mean.numpy(), straight, atol=4)


def test_damaged_and_unfinished_libraries_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not read manifest.json"):
        read_manifest(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "complete": False}), encoding="utf-8")
    with pytest.raises(DataError, match="is not complete"):
        load_library(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "sprites_0000.npz").write_bytes((folder / "sprites_0000.npz").read_bytes()[:500])
    with pytest.raises(DataError, match="sprites_0000.npz cannot be read"):
        load_library(tmp_path)


def test_sprite_in_place_is_itself(library: SpriteLibrary, layout: Layout) -> None:
    drawn = draw_sprites(library, one_sprite(layout), FRAME)[0]
    wanted = library.atlas[1, :, :, :FRAME].float()
    torch.testing.assert_close(drawn[:3], wanted[:3], rtol=0, atol=0.01)
    torch.testing.assert_close(drawn[3:], wanted[3:] / 255, rtol=0, atol=1e-4)


def test_placement_is_opencvs_affine(library: SpriteLibrary, layout: Layout) -> None:
    turn = 0.7
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([-1.0, 1.0])
    placed = one_sprite(layout, matrix=matrix[None], side=np.array([0.8]), centre=np.array([[0.4, 0.6]]))
    found = draw_sprites(library, placed, 80)[0, 3].numpy()
    scale = 0.8 * 80 / FRAME
    forward = np.zeros((2, 3))
    forward[:, :2] = scale * matrix
    # OpenCV counts pixel centres as whole numbers, the layout from the frame's corner.
    forward[:, 2] = np.array([32.0, 48.0]) - 0.5 - forward[:, :2] @ np.full(2, FRAME / 2 - 0.5)
    wanted = cv2.warpAffine(library.atlas[1, 3, :, :FRAME].float().numpy() / 255, forward, (80, 80))
    assert np.abs(found - wanted).max() < 0.06 and np.abs(found - wanted).mean() < 2e-3


def test_composite_is_the_painters() -> None:
    """Back to front in numpy: colours, shadows, and what remains visible of every layer and part."""
    rng = np.random.default_rng(4)
    picture, order = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    coverage = rng.random((5, 12, 12)).astype(np.float32)
    layers = np.concatenate([rng.random((5, 3, 12, 12)) * 255 * coverage[:, None], coverage[:, None]], axis=1)
    layers = np.concatenate([layers, (coverage * rng.random((5, 12, 12)))[:, None]], axis=1).astype(np.float32)
    light = rng.uniform(0.4, 1, (5, 12, 12)).astype(np.float32)
    background = rng.uniform(0, 255, (2, 3, 12, 12)).astype(np.float32)
    found = compose(*(torch.from_numpy(a) for a in (background, layers, light)), picture, order)
    for number in range(2):
        painted, visible = background[number].copy(), []
        for row in np.flatnonzero(picture == number):
            keep = 1 - layers[row, 3]
            painted = painted * light[row] * keep + layers[row, :3]
            visible = [(whole * keep, part * keep) for whole, part in visible] + [(layers[row, 3], layers[row, 4])]
        np.testing.assert_allclose(found.image[number], painted, atol=1e-3)
        for k, (whole, part) in enumerate(visible):
            np.testing.assert_allclose(found.visible[number, k], whole, atol=1e-5)
            np.testing.assert_allclose(found.visible[number, 3 + k], part, atol=1e-5)
    assert float(found.visible[:, :3].sum(1).max()) <= 1 + 1e-5


def test_layout_follows_its_rules(library: SpriteLibrary) -> None:
    pasted = np.arange(300) % 3 == 0
    made = draw_layout(np.random.default_rng(1), library, pasted, SIDE)
    counts = np.bincount(made.picture, minlength=300)
    assert (counts[pasted] == 1).all() and set(counts[~pasted]) == {1, 2, 3, 4, 5}
    families = library.family[made.sprite]
    assert (families[pasted[made.picture]] == 2).all()
    scenes = ~pasted[made.picture]
    assert 0.03 < (families[scenes] == 2).mean() < 0.15 and 0.6 < (families[scenes] == 0).mean() < 0.9
    assert (np.abs(np.linalg.det(made.matrix)) - 1 < 1e-9).all()
    assert made.side.min() >= 0.08 and made.side.max() <= 1 and not made.sigma[families == 2].any()
    ratio = FRAME / 2.0**made.level / (made.side * SIDE)  # sprite pixels to a pixel drawn
    assert (ratio[made.level > 0] < 1.6).all() and (ratio[made.level < 4] < 1.6).all()


def test_regions_are_drawn_where_they_are_seen(library: SpriteLibrary) -> None:
    """Labels and pixels pass the same window: matte and brightness agree, flipped or not, enlarged or reduced."""
    rng = np.random.default_rng(2)
    for side in (SIDE, 160):
        windows, regions = draw_labelled(rng, library, 12, 1, side)
        regions = Regions(map=regions.map, members=np.ones_like(regions.members))
        regions.members[:, :, 0] = False  # both rectangles
        planes = torch.cat([library.photos[windows.photo].float(), region_planes(library, regions)], dim=1)
        out = cut(planes, windows, library.hw[windows.photo], side)
        for picture, (width, height) in zip(out.numpy(), windows.out_wh, strict=True):
            grey, alpha = picture[:3, :height, :width].mean(0), picture[3, :height, :width]
            assert max(width, height) == side and np.abs((grey - 40) / 170 - alpha).mean() < 0.05


def test_window_is_cut_as_opencv_does(library: SpriteLibrary) -> None:
    photo = torch.from_numpy(np.random.default_rng(3).random((1, 1, 80, 80)).astype(np.float32))
    box = np.array([[10.0, 4.0, 40.0, 20.0]])
    for flip in (False, True):
        windows = Windows(photo=np.array([0]), box=box, out_wh=np.array([[80, 40]]), flip=np.array([flip]))
        found = cut(photo, windows, np.array([[80, 80]]), 80)[0, 0, :40].numpy()
        wanted = cv2.resize(photo[0, 0, 4:24, 10:50].numpy(), (80, 40), interpolation=cv2.INTER_LINEAR)
        wanted = wanted[:, ::-1] if flip else wanted
        np.testing.assert_allclose(found[4:-4, 4:-4], wanted[4:-4, 4:-4], atol=1e-4)


def test_batch_depends_on_seed_and_step_alone(library: SpriteLibrary) -> None:
    assert isinstance(source(library), StepSource)
    torch.manual_seed(1)
    first = source(library)[5]
    torch.manual_seed(2)
    np.random.seed(3)
    assert same(source(library)[5], first)
    assert not same(source(library)[4], first) and not same(source(library, seed=8)[5], first)


def test_processes_share_the_pictures_of_one(library: SpriteLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_scenes, "BLOCK_IMAGES", 4)
    whole = source(library, images=8)[3]
    for rank in range(2):
        assert same(source(library, images=8).for_rank(rank, 2)[3], whole.part(rank, 2))
    assert same(source(library, images=8).for_rank(3, 4)[3], whole.part(3, 4))


def test_batches_are_what_a_training_expects(library: SpriteLibrary) -> None:
    """Shapes and types, whole pixel values, nothing in the padding, a target and prompts in every row."""
    padded = 0
    for step in range(8):
        batch = source(library)[step]
        assert batch.image.shape == (6, 3, SIDE, SIDE) and batch.image.dtype == torch.float32
        for name in ("alpha", "coarse", "weight", "valid"):
            assert getattr(batch, name).shape == (12, SIDE, SIDE) and getattr(batch, name).dtype == torch.uint8
        assert batch.chance is not None and batch.chance.shape == (12,)
        valid = batch.valid[::2]
        pixels = batch.image * torch.tensor(PIXEL_STD).view(3, 1, 1) + torch.tensor(PIXEL_MEAN).view(3, 1, 1)
        inside = pixels.permute(0, 2, 3, 1)[valid == 1]
        assert float((inside - inside.round()).abs().max()) < 1e-3 and -0.01 <= float(inside.min())
        assert float(inside.max()) <= 255.01 and not batch.image.permute(0, 2, 3, 1)[valid == 0].any()
        assert not batch.alpha[batch.valid == 0].any() and set(batch.coarse.unique().tolist()) <= {0, 255}
        assert bool((batch.alpha.amax((1, 2)) > 127).all())
        used = (batch.labels >= 0).any(1)
        assert bool(used.all())
        padded += int((batch.valid == 0).any())
    assert padded > 2


@pytest.mark.parametrize("name", ["zim", "sam"])
def test_either_task_learns_from_them(library: SpriteLibrary, make_task: Callable[[str], Task], name: str) -> None:
    """The loss of every kind of step is finite and reaches the first layers."""
    task = make_task(name)
    for step in range(4):
        loss, _ = task.loss(source(library, images=2)[step], 0.5)
        loss.backward()
        assert bool(torch.isfinite(loss))
    assert sum(float(p.grad.abs().sum()) for p in task.model.parameters() if p.grad is not None) > 0


def test_tint_is_mild_and_keeps_order() -> None:
    ramp = torch.linspace(0, 255, 32).expand(40, 3, 32, 32)
    found = tint(np.random.default_rng(0), ramp)
    assert bool((found.diff(dim=-1) >= 0).all()) and not found[..., 0].any()
    assert float((found - ramp).abs().mean()) < 30


def test_shares_decide_the_source(library: SpriteLibrary) -> None:
    """Only labelled photographs are padded; only human outlines are not trusted."""
    scenes = source(library, shares=Shares(scenes=1.0, segments=0.0, pasted=0.0))
    photos = source(library, shares=Shares(scenes=0.0, segments=1.0, pasted=0.0))
    pasted = source(library, shares=Shares(scenes=0.0, segments=0.0, pasted=1.0))
    for step in range(3):
        assert bool((photos[step].weight == 0).any(2).any(1).all())
        assert bool((pasted[step].weight == 0).any(2).any(1).all()) and bool((pasted[step].valid == 1).all())
        assert bool((scenes[step].valid == 1).all())
        batch = photos[step]
        assert torch.equal(batch.coarse, (batch.alpha > 127).byte() * 255)
    with pytest.raises(DataError, match="no source has a positive share"):
        source(library, shares=Shares(scenes=0.0, segments=0.0, pasted=0.0))
    with pytest.raises(ConfigError, match="side"):
        source(library, side=100)


def test_function_for_the_trainer_and_sheet(folder: Path) -> None:
    options, stage = type("O", (), {"sprites": folder})(), type("S", (), {"images": 3, "prompts": 2, "side": SIDE})()
    made = device_source(options, stage, CPU, seed=7)
    batch = made[0]
    assert sheet(batch).shape == (2 * SIDE, 2 * 4 * SIDE, 3)
    assert same(batch, source(load_library(folder), images=3)[0])


@pytest.mark.gpu
def test_keeps_a_gpu_busy(folder: Path) -> None:
    """More than a tiny model trains on: 1,000 samples a second at 256 px."""
    fast = DeviceBatchSource(load_library(folder, "cuda"), BatchConfig(images=64, prompts=3, side=256), seed=0)
    assert measure(fast, 30) > 1000


@pytest.mark.gpu
def test_gpu_draws_what_the_cpu_draws(folder: Path) -> None:
    """The same layouts: pictures differ by the noise, whose generators are the devices' own, and by rounding."""
    shares = Shares(scenes=0.0, segments=1.0, pasted=0.0)
    batches = [source(load_library(folder, place), shares=shares)[1] for place in ("cpu", "cuda")]
    torch.testing.assert_close(batches[1].image.cpu(), batches[0].image, rtol=0, atol=0.02)
