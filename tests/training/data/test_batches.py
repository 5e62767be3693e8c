"""Batches: the same for a seed and step however they are made, prompts where they should be, SAM's label order."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.data import batches as module
from training.data.batches import Batch, BatchConfig, BatchSource, PartSource, Shares, Sources, batches, part_of
from training.data.scene_cache import SceneCache, save_scene
from training.data.scene_photos import PhotoPool
from training.data.scenes import GENERATOR_VERSION, Scene, SceneObject
from training.data.segments import SegmentPool
from zim.errors import ConfigError, DataError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

SIDE = 64
ONLY_SEGMENTS = Shares(scenes=0, pasted=0)


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Four cached scenes of discs, and landscape photographs with two labelled discs each."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for seed in range(4):
        alphas = [disc(SIDE, SIDE, *rng.uniform(18, 46, 2), rng.uniform(8, 14)) for _ in range(2)]
        objects = tuple(SceneObject(alpha=alpha, kind="solid", fine=False) for alpha in alphas)
        image = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        save_scene(root / f"v{GENERATOR_VERSION}_{SIDE}" / f"{seed:08d}.npz", Scene(image=image, objects=objects))
    folder = root / "davis_train"
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for number in range(3):
        label = (disc(50, 90, 30, 25, 14) > 0.5) + 2 * (disc(50, 90, 66, 24, 12) > 0.5)
        image = rng.integers(1, 255, (50, 90, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "image" / f"{number}.png")
        Image.fromarray(label.astype(np.uint8)).save(folder / "label" / f"{number}.png")
    scenes = SceneCache(folder=root, size=SIDE, first=0, count=4, photos=None)
    return Sources(scenes=scenes, segments=SegmentPool(folder), photos=PhotoPool(folder))


@pytest.fixture
def make_source(sources: Sources) -> Callable[..., BatchSource]:
    def make(seed: int = 7, **config: object) -> BatchSource:
        settings = BatchConfig(**({"images": 2, "prompts": 2, "side": SIDE} | config))  # type: ignore[arg-type]
        return BatchSource(sources, settings, seed=seed)

    return make


def same(first: Batch, second: Batch) -> bool:
    pairs = [(value, vars(second)[key]) for key, value in vars(first).items()]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batch_depends_on_seed_and_step_alone(make_source: Callable[..., BatchSource], workers: int) -> None:
    source = make_source()
    backwards = {step: source[step] for step in (6, 5, 4, 3)}
    found = list(batches(make_source(), first=3, last=7, workers=workers))
    assert len(found) == 4
    assert all(same(batch, backwards[step]) for step, batch in enumerate(found, start=3))
    assert not same(found[0], found[1]) and not same(found[0], make_source(seed=8)[3])


@pytest.mark.parametrize("size", [2, 4])
def test_parts_of_processes_are_the_whole_batch(make_source: Callable[..., BatchSource], size: int) -> None:
    """Each process makes its own images only, and they are those of the whole batch, prompts and padding included."""
    source = make_source(images=4)
    kinds = set()
    for step in range(12):
        whole = source[step]
        for rank in range(size):
            part = part_of(source, rank, size)[step]
            assert len(part.image) == 4 // size and same(part, PartSource(source, rank, size)[step])
        kinds.add(whole.mask_source)
    assert len(kinds) > 2
    with pytest.raises(ConfigError, match="images: expected a multiple of 3 .*, got 4"):
        source.for_rank(0, 3)


def test_every_kind_of_step_comes_up(make_source: Callable[..., BatchSource]) -> None:
    """Pairs are two tokens wide, scribbles 33; those have points of both labels at times."""
    widths, labels = set(), set()
    for step in range(50):
        batch = make_source(images=1, step_kinds=(0.5, 0, 0, 0.5))[step]
        widths.add(batch.labels.shape[1])
        if batch.labels.shape[1] == 33:
            labels.update(batch.labels.unique().tolist())
    assert widths == {2, 33} and labels == {-1, 0, 1}


def test_source_travels_to_data_processes_that_are_not_forked(make_source: Callable[..., BatchSource]) -> None:
    source = make_source()
    assert same(pickle.loads(pickle.dumps(source))[2], source[2])


def test_prompts_lie_where_they_should(make_source: Callable[..., BatchSource]) -> None:
    """Positive points on the object, negative ones off it, boxes around it, all inside the unpadded part."""
    kinds = set()
    for step in range(60):
        batch = make_source()[step]
        for row, labels in enumerate(batch.labels.tolist()):
            alpha, valid = batch.alpha[row].numpy() / 255, batch.valid[row].numpy()
            at = {label: batch.coords[row][batch.labels[row] == label].numpy() for label in (0, 1, 2, 3)}
            kinds.add(tuple(sorted(set(labels))))
            for label, wanted in ((1, alpha > 0.5), (0, alpha < 0.1)):
                for x, y in at[label].astype(int):
                    assert wanted[y, x] and valid[y, x]
            assert len(at[2]) == len(at[3]) <= 1
            if len(at[2]):
                rows, columns = np.nonzero(alpha > 0.3)
                exact = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
                box = np.concatenate([at[2][0], at[3][0]])
                size = np.tile(exact[2:] - exact[:2] + 1, 2)
                assert bool((np.abs(box - exact) <= 0.1 * size + 0.26).all()) and bool((box[2:] > box[:2]).all())
                assert valid[int(box[3]), int(box[2])]
    assert {(2, 3), (-1, 1), (1, 2, 3)} <= kinds


def test_box_jitter_reaches_boxes_with_and_without_points(make_source: Callable[..., BatchSource]) -> None:
    """Largest share of a side by which an edge is off, by kind of prompt."""
    furthest: dict[bool, float] = {}
    for step in range(60):
        batch = make_source(box_jitter=0.8)[step]
        for row, labels in enumerate(batch.labels.tolist()):
            if 2 not in labels:
                continue
            rows, columns = np.nonzero(batch.alpha[row].numpy() / 255 > 0.3)
            exact = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
            box = np.concatenate([batch.coords[row][batch.labels[row] == corner].numpy()[0] for corner in (2, 3)])
            off = np.abs(box - exact) / np.tile(exact[2:] - exact[:2] + 1, 2)
            furthest[1 in labels] = max(furthest.get(1 in labels, 0.0), float(off.max()))
    assert min(furthest[True], furthest[False]) > 0.2


def test_layout_is_sams(make_source: Callable[..., BatchSource]) -> None:
    """Points, then the corners of the box (2, 3) or one padding point; short rows are padded behind with -1."""
    for step in range(40):
        batch = make_source(seed=2)[step]
        assert batch.coords.shape == (4, batch.labels.shape[1], 2) and batch.labels.dtype == torch.int64
        for row, labels in enumerate(batch.labels.tolist()):
            kept = [label for label in labels if label != -1]
            assert labels[: len(kept)] == kept  # padding only behind
            points = [label for label in kept if label in (0, 1)]
            assert kept in (points, [*points, 2, 3])
            assert kept[len(points) :] or labels[len(kept) :]  # without a box at least one padding point
            assert not batch.coords[row][batch.labels[row] == -1].any()


def test_padding_is_zero_after_normalisation(make_source: Callable[..., BatchSource]) -> None:
    seen = 0
    for step in range(10):
        batch = make_source(shares=ONLY_SEGMENTS)[step]
        for image, valid in zip(batch.image, batch.valid[::2], strict=True):
            assert not image[:, valid == 0].any()
            pixels = image * torch.tensor(PIXEL_STD).view(3, 1, 1) + torch.tensor(PIXEL_MEAN).view(3, 1, 1)
            assert float(pixels.min()) >= -0.01 and float(pixels.max()) <= 255.01
            torch.testing.assert_close(pixels[:, valid == 1], pixels[:, valid == 1].round(), rtol=0, atol=1e-3)
            seen += int((valid == 0).any())
        assert not batch.alpha[batch.valid == 0].any()
    assert seen > 3


def test_rows_of_an_image_repeat_its_targets_in_turn(make_source: Callable[..., BatchSource]) -> None:
    batch = make_source(images=1, prompts=5, shares=Shares(segments=0, pasted=0))[0]
    distinct = {row.numpy().tobytes() for row in batch.alpha}
    assert len(distinct) <= 2
    torch.testing.assert_close(batch.alpha[len(distinct) :], batch.alpha[: -len(distinct)], rtol=0, atol=0)


def test_shares_decide_the_source(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"scene": 0, "photo": 0, "pasted": 0}
    for name in calls:
        original = getattr(module, f"{name}_sample")

        def counted(*args, _name=name, _original=original, **kwargs):  # type: ignore[no-untyped-def]
            calls[_name] += 1
            return _original(*args, **kwargs)

        monkeypatch.setattr(module, f"{name}_sample", counted)
    shares = Shares(scenes=0.5, segments=0, pasted=0.5)
    source = BatchSource(sources, BatchConfig(images=10, prompts=1, side=SIDE, shares=shares), seed=0)
    for step in range(6):
        source[step]
    assert calls["photo"] == 0 and calls["scene"] > 15 and calls["pasted"] > 15
    only = BatchSource(Sources(scenes=sources.scenes), BatchConfig(images=4, prompts=1, side=SIDE), seed=0)
    before = calls["pasted"]
    only[0]
    assert (calls["photo"], calls["pasted"]) == (0, before)


def test_without_any_source_it_says_so(sources: Sources) -> None:
    with pytest.raises(DataError, match="no source has a positive share"):
        BatchSource(Sources(scenes=sources.scenes), BatchConfig(shares=ONLY_SEGMENTS), seed=0)


def test_fault_in_a_data_process_names_the_file(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / f"v{GENERATOR_VERSION}_{SIDE}" / "00000000.npz"
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 cut off")
    scenes = SceneCache(folder=tmp_path, size=SIDE, first=0, count=1, photos=None)
    source = BatchSource(Sources(scenes=scenes), BatchConfig(images=1, prompts=1, side=SIDE), seed=0)
    with pytest.raises(DataError) as caught:
        next(batches(source, first=0, last=1, workers=1))
    assert str(path) in str(caught.value).strip().splitlines()[-1]
