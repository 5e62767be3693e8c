"""Batches for training: the batch of a step depends on the seed and the step alone, so resuming is exact."""

import signal
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast, runtime_checkable

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zim.errors import ConfigError, DataError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

from .mattes import MatteSource
from .prompt_sampling import PromptConfig, SampledPrompt, sample_prompt
from .samples import Sample, matte_sample, pasted_sample, photo_sample, scene_sample
from .scene_cache import SceneCache
from .scene_photos import PhotoPool
from .scribbles import SCRIBBLE_POINTS, sample_scribble
from .segments import SegmentPool

StepKind = Literal["pair", "points", "box+points", "scribble"]
STEP_KINDS: tuple[StepKind, ...] = ("pair", "points", "box+points", "scribble")
MaskSource = Literal["none", "first_pass", "correction", "label", "label_only"]
MASK_SOURCES: tuple[MaskSource, ...] = ("none", "first_pass", "correction", "label", "label_only")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How often a sample comes from where, in proportion; what is not there gives its share to the others.

    scenes: procedural. segments: labelled photographs. pasted: labelled objects on other photographs. mattes: exact
    mattes. shards: converted labels.
    """

    scenes: float = 0.4
    segments: float = 0.4
    pasted: float = 0.2
    mattes: float = 0.4
    shards: float = 0.8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise ConfigError(f"shares: expected numbers >= 0, got {name}={value}")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """images: per step, over all processes. prompts: per image. side: of the padded frame.

    step_kinds: how often a step has one box or one point a row, several points, a box and points, or a scribble.
    box_share: of boxes among the rows of a "pair" step. box_jitter: see `PromptConfig`.
    mask_sources: how often a step's prompts carry no mask input, the logits of a first pass, these and a click where
        the first pass errs most, the coarse label as logits, or that label and nothing else.
    """

    images: int = 8
    prompts: int = 3
    side: int = 256
    shares: Shares = Shares()
    step_kinds: tuple[float, float, float, float] = (0.65, 0.14, 0.14, 0.07)
    box_share: float = 0.7
    box_jitter: float = PromptConfig.box_jitter
    mask_sources: tuple[float, float, float, float, float] = (0.62, 0.12, 0.18, 0.04, 0.04)


@dataclass(frozen=True)
class Batch:
    """I images and R = I * P rows, P consecutive rows to an image.

    image (I, 3, S, S) float, normalised and padded; alpha, coarse, weight (R, S, S) uint8 in 0..255;
    coords (R, T, 2) float and labels (R, T) int64 as `PromptEncoder.embed` takes them; valid (R, S, S) uint8 in
    {0, 1}, not padding; mask_source: what mask input this step's prompts carry; chance (R,) float in [0, 1): which
    pixel of an error region a correction click falls on (None: the innermost).
    """

    image: Tensor
    alpha: Tensor
    coarse: Tensor
    weight: Tensor
    valid: Tensor
    coords: Tensor
    labels: Tensor
    mask_source: MaskSource
    chance: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Every tensor on `device`."""
        moved = {k: v.to(device, non_blocking=True) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]

    def pin_memory(self) -> "Batch":
        """Every tensor in page-locked memory; data loaders call it by this name."""
        pinned = {k: v.pin_memory() for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **pinned)  # type: ignore[arg-type]

    def part(self, index: int, count: int) -> "Batch":
        """Part `index` of `count` equal ones: consecutive images with their rows.

        Raises:
            ConfigError: `count` does not divide the number of images.
        """
        span = share_of(len(self.image), index, count)
        rows = len(self.coords) // len(self.image)
        row_span = slice(span.start * rows, span.stop * rows)
        cut = {k: v[row_span] for k, v in vars(self).items() if isinstance(v, Tensor)}
        cut["image"] = self.image[span.start : span.stop]
        return replace(self, **cut)  # type: ignore[arg-type]


def share_of(images: int, index: int, count: int) -> range:
    """Which of a step's images belong to part `index` of `count`.

    Raises:
        ConfigError: they cannot be shared out equally.
    """
    if images % count:
        raise ConfigError(f"images: expected a multiple of {count} (processes x accumulated parts), got {images}")
    each = images // count
    return range(index * each, (index + 1) * each)


@runtime_checkable
class StepSource(Protocol):
    """Where the batches of a stage come from: `source[step]`, the same for the same step whoever asks.

    A batch has `to(device)` and `part(index, count)`, as `Batch` has.
    """

    def __getitem__(self, step: int) -> Any: ...


@runtime_checkable
class SharedSource(StepSource, Protocol):
    """A source that can make a part of a step's images alone."""

    def for_rank(self, rank: int, size: int) -> StepSource:
        """The same source, making the images of process `rank` of `size` only."""


class PartSource(Dataset[Any]):
    """What one of several processes sees of a source that makes whole batches only."""

    def __init__(self, source: StepSource, rank: int, size: int) -> None:
        self.source, self.rank, self.size = source, rank, size

    def __getitem__(self, step: int) -> Any:
        return self.source[step].part(self.rank, self.size)


def part_of(source: StepSource, rank: int, size: int) -> StepSource:
    """The source of the images that belong to process `rank` of `size`; it makes no others where it can do that."""
    return source.for_rank(rank, size) if isinstance(source, SharedSource) else PartSource(source, rank, size)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where samples come from; a source that is None gives its share to the others."""

    scenes: SceneCache | None
    segments: SegmentPool | None = None
    photos: PhotoPool | None = None
    mattes: MatteSource | None = None
    shards: MatteSource | None = None


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """What all rows of a step have in common; `width` is the number of points that each row is padded to."""

    kind: StepKind
    most: int
    mask_source: MaskSource
    width: int


class BatchSource(Dataset[Batch]):
    """Batch `step` of a training, for any step at any time.

    Image i of a step has a random generator of its own, so a process that trains on some of the images makes only
    those, and they are the same that one process would train on.
    """

    def __init__(self, sources: Sources, config: BatchConfig, *, seed: int) -> None:
        self.sources, self.config, self.seed = sources, config, seed
        self.images = range(config.images)
        segments = sources.segments
        pasting = segments is not None and bool(segments.objects()) and sources.photos is not None
        present = {
            "scenes": sources.scenes is not None,
            "segments": segments is not None,
            "pasted": pasting,
            "mattes": sources.mattes is not None,
            "shards": sources.shards is not None,
        }
        weights = np.array([getattr(config.shares, name) * there for name, there in present.items()])
        if weights.sum() <= 0:
            raise DataError("shares: no source has a positive share")
        self._names, self._weights = tuple(present), weights / weights.sum()

    def for_rank(self, rank: int, size: int) -> "BatchSource":
        """See `SharedSource`."""
        part = copy(self)
        part.images = share_of(self.config.images, rank, size)
        return part

    def __getitem__(self, step: int) -> Batch:
        plan = plan_step(np.random.default_rng((self.seed, step)), self.config)
        generators = [np.random.default_rng((self.seed, step, 1 + image)) for image in self.images]
        return _collate([self._sample(rng) for rng in generators], plan, self.config, generators)

    def _sample(self, rng: np.random.Generator) -> Sample:
        for _ in range(100):
            sample = self._draw(self._names[int(rng.choice(len(self._names), p=self._weights))], rng)
            if sample is not None:
                return sample
        raise DataError("samples: 100 draws in a row had nothing large enough to prompt")

    def _draw(self, name: str, rng: np.random.Generator) -> Sample | None:
        """A sample of the source of that name; None when what was drawn is nothing to prompt."""
        sources, side, count = self.sources, self.config.side, self.config.prompts
        if name == "scenes" and sources.scenes is not None:
            scene = sources.scenes.scene(int(rng.integers(sources.scenes.count)))
            return scene_sample(scene, side=side, count=count, rng=rng)
        if name == "segments" and sources.segments is not None:
            return photo_sample(sources.segments.draw(rng), side=side, count=count, rng=rng)
        if name == "pasted" and sources.segments is not None and sources.photos is not None:
            photo = sources.segments.draw(rng, whole_objects=True)
            background = sources.photos.sample_crop(rng, side, side, whole=bool(rng.random() < 0.5))
            return pasted_sample(photo, background, side=side, rng=rng)
        mattes = sources.mattes if name == "mattes" else sources.shards
        if mattes is None:
            return None
        drawn = mattes.draw(rng, count)
        return matte_sample(drawn.image, drawn.mattes, side=side, count=count, rng=rng)


def plan_step(rng: np.random.Generator, config: BatchConfig) -> StepPlan:
    """What the rows of a step have in common, drawn from the step's own generator."""
    kind = STEP_KINDS[int(rng.choice(len(STEP_KINDS), p=config.step_kinds))]
    most = int(rng.integers(2, 10))
    mask_source = MASK_SOURCES[int(rng.choice(len(MASK_SOURCES), p=config.mask_sources))]
    widths = {"pair": 2, "points": most + 1, "box+points": most // 2 + 2, "scribble": SCRIBBLE_POINTS + 1}
    return StepPlan(kind=kind, most=most, mask_source=mask_source, width=widths[kind])




def _collate(
    samples: list[Sample], plan: StepPlan, config: BatchConfig, generators: list[np.random.Generator]
) -> Batch:
    side = config.side
    rows, prompts, valid, chance = [], [], [], []
    for sample, rng in zip(samples, generators, strict=True):
        inside = np.zeros((side, side), np.uint8)
        inside[: sample.input_hw[0], : sample.input_hw[1]] = 1
        for k in range(config.prompts):
            target = sample.targets[k % len(sample.targets)]
            rows.append(target)
            valid.append(inside)
            prompts.append(_prompt(target.alpha[: sample.input_hw[0], : sample.input_hw[1]], plan, config, rng))
            chance.append(rng.random())
    coords, labels = _lay_out(prompts, plan.width)
    return Batch(
        image=torch.from_numpy(np.stack([_normalise(sample) for sample in samples])),
        alpha=_bytes([row.alpha for row in rows]),
        coarse=_bytes([row.coarse for row in rows]),
        weight=_bytes([row.weight for row in rows]),
        valid=torch.from_numpy(np.stack(valid)),
        coords=coords,
        labels=labels,
        mask_source=plan.mask_source,
        chance=torch.tensor(chance, dtype=torch.float32),
    )


def _prompt(alpha: np.ndarray, plan: StepPlan, config: BatchConfig, rng: np.random.Generator) -> SampledPrompt:
    if plan.kind == "scribble":
        return sample_scribble(alpha, rng)
    if plan.kind == "pair":
        probabilities = (config.box_share, 1 - config.box_share, 0.0, 0.0)
        prompts = PromptConfig(probabilities=probabilities, box_jitter=config.box_jitter)
        return sample_prompt(alpha, rng, prompts)
    probabilities = (0.0, 0.0, 1.0, 0.0) if plan.kind == "points" else (0.0, 0.0, 0.0, 1.0)
    points = (min(plan.most, 2), plan.most)
    prompts = PromptConfig(probabilities=probabilities, box_jitter=config.box_jitter, points=points)
    return sample_prompt(alpha, rng, prompts)


def _lay_out(prompts: list[SampledPrompt], width: int) -> tuple[Tensor, Tensor]:
    """Rows in SAM's order: points, then the corners of the box or one padding point; padded behind to `width`.

    The width is the step's, not that of these rows: padding points are seen by the model, and a process that has some
    of the rows must pad them as one that has all.
    """
    coords = torch.zeros(len(prompts), width, 2)
    labels = torch.full((len(prompts), width), -1, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        count = len(prompt.points)
        coords[i, :count] = torch.from_numpy(prompt.points.astype(np.float32))
        labels[i, :count] = torch.from_numpy(prompt.labels.astype(np.int64))
        if prompt.box is not None:
            coords[i, count : count + 2] = torch.from_numpy(prompt.box.reshape(2, 2).astype(np.float32))
            labels[i, count : count + 2] = torch.tensor([2, 3])
    return coords, labels


def _normalise(sample: Sample) -> np.ndarray:
    height, width = sample.input_hw
    x = (sample.image.astype(np.float32) - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
    x[height:] = 0
    x[:, width:] = 0
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def _bytes(maps: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([(m * 255 + 0.5).astype(np.uint8) for m in maps]))


def batches(source: StepSource, *, first: int, last: int, workers: int, pin: bool = False) -> Iterator[Any]:
    """Batches of steps `first`..`last - 1` in order, made by `workers` processes (0: in this one).

    pin: lay batches of data processes into memory that a GPU copies from while it computes.
    """
    return iter(
        DataLoader(
            cast(Dataset[Any], source),
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=pin and workers > 0,
            worker_init_fn=_start_worker,
            multiprocessing_context="spawn" if workers else None,  # forking a process whose OpenCV has threads hangs
        )
    )


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the trainer ends the workers
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
