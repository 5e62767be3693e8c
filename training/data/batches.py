"""Batches for training: the batch of a step depends on the seed and the step alone, so resuming is exact."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zim.errors import DataError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

from .prompt_sampling import PromptConfig, SampledPrompt, sample_prompt
from .samples import Sample, pasted_sample, photo_sample, scene_sample
from .scene_cache import SceneCache
from .scene_photos import PhotoPool
from .segments import SegmentPool

StepKind = Literal["pair", "points", "box+points"]
STEP_KINDS: tuple[StepKind, ...] = ("pair", "points", "box+points")
MaskSource = Literal["none", "first_pass", "label", "label_only"]
MASK_SOURCES: tuple[MaskSource, ...] = ("none", "first_pass", "label", "label_only")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """images: per step. prompts: per image. side: of the padded frame.

    shares: of scenes, labelled photographs, and labelled objects pasted on other photographs.
    step_kinds: how often a step has one box or one point a row, several points, or a box and points.
    box_share: of boxes among the rows of a "pair" step.
    mask_sources: how often a step's prompts carry no mask input, the logits of a first pass, the coarse label as
        logits, or that label and nothing else.
    """

    images: int = 8
    prompts: int = 3
    side: int = 256
    shares: tuple[float, float, float] = (0.4, 0.4, 0.2)
    step_kinds: tuple[float, float, float] = (0.7, 0.15, 0.15)
    box_share: float = 0.7
    mask_sources: tuple[float, float, float, float] = (0.68, 0.24, 0.04, 0.04)


@dataclass(frozen=True)
class Batch:
    """I images and R = I * P rows, P consecutive rows to an image.

    image (I, 3, S, S) float, normalised and padded; alpha, coarse, weight (R, S, S) uint8 in 0..255;
    coords (R, T, 2) float and labels (R, T) int64 as `PromptEncoder.embed` takes them; valid (R, S, S) uint8 in
    {0, 1}, not padding; single_point (R,) bool; mask_source: what mask input this step's prompts carry.
    """

    image: Tensor
    alpha: Tensor
    coarse: Tensor
    weight: Tensor
    valid: Tensor
    coords: Tensor
    labels: Tensor
    single_point: Tensor
    mask_source: MaskSource

    def to(self, device: torch.device) -> "Batch":
        """Every tensor on `device`."""
        moved = {k: v.to(device, non_blocking=True) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where samples come from; a source that is None gives its share to the others."""

    scenes: SceneCache
    segments: SegmentPool | None = None
    photos: PhotoPool | None = None


class BatchSource(Dataset[Batch]):
    """Batch `step` of a training, for any step at any time."""

    def __init__(self, sources: Sources, config: BatchConfig, *, seed: int) -> None:
        self.sources, self.config, self.seed = sources, config, seed
        segments = sources.segments
        self._objects = list(segments.objects()) if segments is not None else []
        shares = np.array(config.shares)
        if segments is None:
            shares[1:] = 0
        if not self._objects or sources.photos is None:
            shares[2] = 0
        if shares.sum() <= 0:
            raise DataError("shares: no source has a positive share")
        self._shares = shares / shares.sum()

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        kind = STEP_KINDS[int(rng.choice(3, p=self.config.step_kinds))]
        samples = [self._sample(rng) for _ in range(self.config.images)]
        return _collate(samples, kind, self.config, rng)

    def _sample(self, rng: np.random.Generator) -> Sample:
        side, count = self.config.side, self.config.prompts
        for _ in range(100):
            source = int(rng.choice(3, p=self._shares))
            sample: Sample | None = None
            if source == 0:
                scene = self.sources.scenes.scene(int(rng.integers(self.sources.scenes.count)))
                sample = scene_sample(scene, side=side, count=count, rng=rng)
            elif self.sources.segments is not None and source == 1:
                photo = self.sources.segments.draw(rng)
                sample = photo_sample(photo, side=side, count=count, rng=rng)
            elif self.sources.segments is not None and self.sources.photos is not None:
                photo = self.sources.segments.draw(rng, whole_objects=True)
                background = self.sources.photos.sample_crop(rng, side, side, whole=bool(rng.random() < 0.5))
                sample = pasted_sample(photo, background, side=side, rng=rng)
            if sample is not None:
                return sample
        raise DataError("samples: 100 draws in a row had nothing large enough to prompt")


def _collate(samples: list[Sample], kind: StepKind, config: BatchConfig, rng: np.random.Generator) -> Batch:
    side = config.side
    images, rows, prompts, valid = [], [], [], []
    most = int(rng.integers(2, 10))
    for sample in samples:
        images.append(_normalise(sample))
        inside = np.zeros((side, side), np.uint8)
        inside[: sample.input_hw[0], : sample.input_hw[1]] = 1
        for k in range(config.prompts):
            target = sample.targets[k % len(sample.targets)]
            rows.append(target)
            valid.append(inside)
            prompts.append(_prompt(target.alpha[: sample.input_hw[0], : sample.input_hw[1]], kind, most, config, rng))
    coords, labels = _lay_out(prompts)
    return Batch(
        image=torch.from_numpy(np.stack(images)),
        alpha=_bytes([row.alpha for row in rows]),
        coarse=_bytes([row.coarse for row in rows]),
        weight=_bytes([row.weight for row in rows]),
        valid=torch.from_numpy(np.stack(valid)),
        coords=coords,
        labels=labels,
        single_point=torch.tensor([prompt.kind == "point" for prompt in prompts]),
        mask_source=MASK_SOURCES[int(rng.choice(4, p=config.mask_sources))],
    )


def _prompt(
    alpha: np.ndarray, kind: StepKind, most: int, config: BatchConfig, rng: np.random.Generator
) -> SampledPrompt:
    if kind == "pair":
        probabilities = (config.box_share, 1 - config.box_share, 0.0, 0.0)
        return sample_prompt(alpha, rng, PromptConfig(probabilities=probabilities))
    probabilities = (0.0, 0.0, 1.0, 0.0) if kind == "points" else (0.0, 0.0, 0.0, 1.0)
    return sample_prompt(alpha, rng, PromptConfig(probabilities=probabilities, points=(min(most, 2), most)))


def _lay_out(prompts: list[SampledPrompt]) -> tuple[Tensor, Tensor]:
    """Rows in SAM's order: points, then the corners of the box or one padding point; short rows padded behind."""
    rows = []
    for prompt in prompts:
        if prompt.box is not None:
            tail, tail_labels = prompt.box.reshape(2, 2), [2, 3]
        else:
            tail, tail_labels = np.zeros((1, 2), np.float32), [-1]
        rows.append((np.concatenate([prompt.points, tail]), [*prompt.labels.tolist(), *tail_labels]))
    longest = max(len(labels) for _, labels in rows)
    coords = torch.zeros(len(rows), longest, 2)
    labels_out = torch.full((len(rows), longest), -1, dtype=torch.long)
    for i, (xy, row_labels) in enumerate(rows):
        coords[i, : len(xy)] = torch.from_numpy(xy.astype(np.float32))
        labels_out[i, : len(row_labels)] = torch.tensor(row_labels)
    return coords, labels_out


def _normalise(sample: Sample) -> np.ndarray:
    height, width = sample.input_hw
    x = (sample.image.astype(np.float32) - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
    x[height:] = 0
    x[:, width:] = 0
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def _bytes(maps: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([(m * 255 + 0.5).astype(np.uint8) for m in maps]))


def batches(source: BatchSource, *, first: int, last: int, workers: int) -> Iterator[Batch]:
    """Batches of steps `first`..`last - 1` in order, made by `workers` processes (0: in this one)."""
    return iter(
        DataLoader(
            source,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_start_worker,
            multiprocessing_context="spawn" if workers else None,  # forking a process whose OpenCV has threads hangs
        )
    )


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the trainer ends the workers
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
