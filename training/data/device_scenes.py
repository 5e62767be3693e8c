"""Batches composited on a device out of a sprite library, fast enough to keep a GPU busy.

`python -m training.data.device_scenes --sprites DIR --sheet out.png` draws some, to look at.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zim.errors import ConfigError, DataError, ZimError
from zim.modeling.zim import PIXEL_MEAN, PIXEL_STD

from .batches import Batch, BatchConfig, MaskSource, Shares, StepPlan, plan_step, share_of
from .coarse_labels import CoarseLabelConfig
from .device_scenes_develop import expose, finish, jitter, soften, tint
from .device_scenes_filters import on_device
from .device_scenes_labels import coarse_labels, draw_steps, trust_of
from .device_scenes_layers import blur_sprites, compose, draw_sprites, dress, shadows_of
from .device_scenes_layout import DeviceSceneConfig, draw_layout
from .device_scenes_photos import Windows, cut, draw_backgrounds, draw_labelled, draw_matted, region_planes
from .device_scenes_prompts import CELLS, PromptPlan, draw_prompts, inside_of, plan_prompts
from .sprites import CUTOUTS, FAMILIES, SpriteLibrary, load_library

_PHOTO = FAMILIES.index("photo")
_SOURCES = ("scenes", "segments", "pasted", "shards")
"""Fields of `Shares` that a library can fill; `shards` are its photographs with mattes."""

_SMALLEST, _LARGEST = 0.005, 0.97
"""Shares of the picture that are worth asking for."""

BLOCK_IMAGES = 32
"""Pictures that are made together."""


class Pictures(NamedTuple):
    """I pictures and what can be asked for in them.

    image: (I, 3, S, S) in 0..255. alpha: (I, C, S, S) in [0, 1], candidates. human: (I, C) bool, their outline is a
    person's and not trusted. sharp: (I, C) bool, their coarse label is the region itself. wh: (I, 2) float, width and
    height of the unpadded part.
    """

    image: Tensor
    alpha: Tensor
    human: Tensor
    sharp: Tensor
    wh: Tensor


class DeviceBatchSource(Dataset[Batch]):
    """Batch `step` of a training, made on the device that the library lies on; in the role of `BatchSource`.

    A batch depends on the seed and the step alone (on one kind of device). Pictures are made in blocks of
    `BLOCK_IMAGES`, each with random generators of its own, so a process that trains on some of them makes little else.
    Use it without data processes.

    Raises:
        DataError: no source has a positive share.
        ConfigError: a side that the grid of prompts does not divide.
    """

    def __init__(
        self,
        library: SpriteLibrary,
        config: BatchConfig,
        *,
        seed: int,
        scenes: DeviceSceneConfig = DeviceSceneConfig(),
        coarse: CoarseLabelConfig = CoarseLabelConfig(),
    ) -> None:
        self.library, self.config, self.seed, self.scenes, self.coarse = library, config, seed, scenes, coarse
        self.images = range(config.images)
        if config.side < 32 or config.side % min(CELLS, config.side):
            raise ConfigError(f"side: expected at least 32 and a multiple of {CELLS} from there on, got {config.side}")
        shares = np.array([getattr(config.shares, name) for name in _SOURCES])
        shares *= [1, len(library.owner) > 0, np.isin(library.family, CUTOUTS).any(), len(library.matted) > 0]
        if shares.sum() <= 0:
            raise DataError("shares: no source has a positive share")
        self._shares = shares / shares.sum()

    def for_rank(self, rank: int, size: int) -> "DeviceBatchSource":
        """See `StepSource`."""
        part = copy(self)
        part.images = share_of(self.config.images, rank, size)
        return part

    def __getitem__(self, step: int) -> Batch:
        plan = plan_step(np.random.default_rng((self.seed, step)), self.config)
        blocks = range(self.images.start // BLOCK_IMAGES, -(-self.images.stop // BLOCK_IMAGES))
        with torch.no_grad():
            made = [self._block(step, block, plan) for block in blocks]
        whole = made[0] if len(made) == 1 else joined(made)
        first, prompts = self.images.start - blocks.start * BLOCK_IMAGES, self.config.prompts
        span = slice(first, first + len(self.images))
        rows = slice(span.start * prompts, span.stop * prompts)
        cut_ = {k: v[span if k == "image" else rows] for k, v in vars(whole).items() if isinstance(v, Tensor)}
        return replace(whole, **cut_)  # type: ignore[arg-type]

    def _block(self, step: int, block: int, plan: StepPlan) -> Batch:
        """Some consecutive images of a step, all of a block."""
        rng = np.random.default_rng((self.seed, step, 1 + block))
        generator = torch.Generator(self.library.device).manual_seed(int(rng.integers(2**62)))
        count = min(BLOCK_IMAGES, self.config.images - block * BLOCK_IMAGES)
        source = rng.choice(len(_SOURCES), count, p=self._shares)
        made = []
        composed = np.isin(source, (0, 2))
        if composed.any():
            made.append(self._scenes(rng, generator, source[composed] == 2))
        if (source == 1).any():
            made.append(self._labelled(rng, int((source == 1).sum())))
        if (source == 3).any():
            made.append(self._matted(rng, int((source == 3).sum())))
        chosen = [_choose(pictures, self.config.prompts, generator) for pictures in made]
        order = on_device(rng.permutation(count), self.library.device)
        pictures = Pictures(*(torch.cat(parts)[order] for parts in zip(*chosen, strict=True)))
        prompts = plan_prompts(
            rng,
            count * self.config.prompts,
            plan.kind,
            most=plan.most,
            width=plan.width,
            box_share=self.config.box_share,
        )
        return self._batch(pictures, rng, generator, prompts, plan.mask_source)

    def _scenes(self, rng: np.random.Generator, generator: torch.Generator, pasted: np.ndarray) -> Pictures:
        """Scenes, and cut-outs on other photographs where `pasted`."""
        library, side, device = self.library, self.config.side, self.library.device
        layout = draw_layout(rng, library, pasted, side, self.scenes)
        background = self._backgrounds(rng, len(pasted))
        at, sprite = on_device(layout.picture, device), on_device(layout.sprite, device)
        layers = blur_sprites(draw_sprites(library, layout, side), layout)
        layers = dress(layers, layout, library.mean[sprite], background.mean((2, 3))[at])
        image, visible = compose(background, layers, shadows_of(layers, layout), layout.picture, layout.order)
        joined = torch.cat([image, visible * 255], dim=1)
        scene = self.scenes.scene
        joined = soften(rng, joined, scene.soften_probability, (0.4 * side / 512 + 0.1, 0.9 * side / 512 + 0.1))
        image, visible = joined[:, :3], joined[:, 3:] / 255
        image = finish(rng, jitter(rng, expose(rng, image)), generator, scene)
        layers_each = int(layout.order.max()) + 1
        human = np.zeros((len(pasted), layers_each), bool)
        human[layout.picture, layout.order] = library.family[layout.sprite] == _PHOTO
        flags = on_device(human, device).repeat(1, 2)
        wh = torch.full((len(pasted), 2), float(side), device=device)
        return Pictures(image, visible, flags, torch.zeros_like(flags), wh)

    def _backgrounds(self, rng: np.random.Generator, count: int) -> Tensor:
        library, side = self.library, self.config.side
        windows = draw_backgrounds(rng, library, count, side)
        photos = library.photos[on_device(windows.photo, library.device)].float()
        cropped = tint(rng, cut(photos, windows, library.hw[windows.photo], side))
        return soften(rng, cropped, 0.4, (0.002 * side, 0.02 * side))

    def _labelled(self, rng: np.random.Generator, count: int) -> Pictures:
        """Labelled photographs."""
        windows, regions = draw_labelled(rng, self.library, count, self.config.prompts, self.config.side)
        return self._photographs(rng, windows, region_planes(self.library, regions), human=True)

    def _matted(self, rng: np.random.Generator, count: int) -> Pictures:
        """Photographs with mattes of their own."""
        library = self.library
        windows, number = draw_matted(rng, library, count, self.config.prompts, self.config.side)
        planes = library.mattes[on_device(number, library.device)].float() / 255
        return self._photographs(rng, windows, planes, human=False)

    def _photographs(self, rng: np.random.Generator, windows: Windows, planes: Tensor, *, human: bool) -> Pictures:
        """Windows of photographs and of (I, P, L, L) planes of them, padded below or to the right."""
        library, side, device = self.library, self.config.side, self.library.device
        photos = library.photos[on_device(windows.photo, device)].float()
        planes = torch.cat([photos, planes], dim=1)
        planes = cut(planes, windows, library.hw[windows.photo], side)
        wh = on_device(windows.out_wh.astype(np.float32), device)
        alpha = planes[:, 3:] * inside_of(wh, side)[:, None]
        image = soften(rng, jitter(rng, planes[:, :3]), 0.1, (0.3, 1.2))
        flags = torch.full(alpha.shape[:2], human, dtype=torch.bool, device=device)
        return Pictures(image.round(), alpha, flags, flags, wh)

    def _batch(
        self,
        pictures: Pictures,
        rng: np.random.Generator,
        generator: torch.Generator,
        plan: PromptPlan,
        mask_source: MaskSource,
    ) -> Batch:
        config, device = self.config, self.library.device
        alpha = (pictures.alpha.flatten(0, 1) * 255).round() / 255  # what is stored is what is prompted for
        human, sharp = (flags.flatten()[:, None, None] for flags in (pictures.human, pictures.sharp))
        valid = inside_of(pictures.wh, config.side)
        coarse = coarse_labels(alpha, draw_steps(rng, len(alpha), self.coarse), self.coarse)
        coarse = torch.where(sharp, (alpha > 0.5).float(), coarse)
        weight = torch.where(human, trust_of(alpha), 1.0)
        coords, labels = draw_prompts(alpha, pictures.wh.repeat_interleave(config.prompts, 0), plan, generator)
        mean, std = (on_device(np.array(v), device)[:, None, None] for v in (PIXEL_MEAN, PIXEL_STD))
        return Batch(
            image=(pictures.image - mean) / std * valid[:, None],
            alpha=_bytes(alpha),
            coarse=_bytes(coarse),
            weight=_bytes(weight),
            valid=valid.repeat_interleave(config.prompts, 0),
            coords=coords,
            labels=labels,
            mask_source=mask_source,
            chance=torch.rand(len(alpha), device=device, generator=generator),
        )


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches of one step, one behind the other."""
    names = [key for key, value in vars(parts[0]).items() if isinstance(value, Tensor)]
    tensors = {key: torch.cat([getattr(part, key) for part in parts]) for key in names}
    return replace(parts[0], **tensors)  # type: ignore[arg-type]


def _choose(pictures: Pictures, count: int, generator: torch.Generator) -> Pictures:
    """`count` candidates of each picture at random among those worth asking for, in turn where there are fewer.

    Where there are none, the one with the largest solid area.
    """
    solid = (pictures.alpha > 0.5).float().mean((2, 3))  # (I, C)
    good = (solid >= _SMALLEST) & (solid <= _LARGEST)
    number = good.sum(1, keepdim=True)
    draw = torch.rand(solid.shape, device=solid.device, generator=generator)
    order = torch.where(number > 0, draw + 2.0 * good, solid).argsort(dim=1, descending=True)
    turn = torch.arange(count, device=solid.device) % number.clamp(min=1)
    index = order.gather(1, turn)
    side = pictures.alpha.shape[-1]
    alpha = pictures.alpha.gather(1, index[..., None, None].expand(-1, -1, side, side))
    return pictures._replace(alpha=alpha, human=pictures.human.gather(1, index), sharp=pictures.sharp.gather(1, index))


def _bytes(maps: Tensor) -> Tensor:
    return (maps * 255 + 0.5).to(torch.uint8)


class StageLike(Protocol):
    """What is needed of a `trainer.Stage`."""

    @property
    def side(self) -> int:
        """Of the padded frame."""

    @property
    def images(self) -> int:
        """Per step."""

    @property
    def prompts(self) -> int:
        """Per image."""


@lru_cache(maxsize=1)
def _library(folder: Path, device: torch.device) -> SpriteLibrary:
    return load_library(folder, device)


def device_source(
    options: argparse.Namespace, stage: StageLike, device: torch.device, *, seed: int = 0, shares: Shares = Shares()
) -> DeviceBatchSource:
    """The batches of a stage, made on `device`; a library is read once for all stages.

    options: `sprites` (Path), the library's folder. seed: of the run. shares: `scenes`, `segments`, `pasted`, `shards`.

    Raises:
        DataError: the library is not complete or damaged.
    """
    config = BatchConfig(images=stage.images, prompts=stage.prompts, side=stage.side, shares=shares)
    return DeviceBatchSource(_library(options.sprites, device), config, seed=seed)


def sheet(batch: Batch) -> np.ndarray:
    """Pictures of a batch with their prompts, each beside its first matte, coarse label and trust: (H, W, 3) uint8."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (PIXEL_MEAN, PIXEL_STD))
    prompts = len(batch.alpha) // len(batch.image)
    images = ((batch.image.cpu() * std + mean) * batch.valid[::prompts, None].cpu()).round()
    tiles = []
    for k, picture in enumerate(images):
        shown = picture.clamp(0, 255).byte().permute(1, 2, 0).numpy().copy()
        row = k * prompts
        _mark(shown, batch.coords[row].cpu().numpy(), batch.labels[row].cpu().tolist())
        maps = [getattr(batch, name)[row].cpu().numpy() for name in ("alpha", "coarse", "weight")]
        tiles.append(np.concatenate([shown, *(np.repeat(m[..., None], 3, axis=2) for m in maps)], axis=1))
    columns = 2 if len(tiles) > 1 else 1
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    lines = [np.concatenate(tiles[k : k + columns], axis=1) for k in range(0, len(tiles), columns)]
    return np.concatenate(lines, axis=0)


def _mark(image: np.ndarray, coords: np.ndarray, labels: list[int]) -> None:
    """Draw a row's prompts: positive points green, negative red, boxes yellow."""
    last = len(image) - 1
    for (x, y), label in zip(coords.astype(int), labels, strict=True):
        if label in (0, 1):
            image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = (0, 255, 0) if label else (255, 0, 0)
    if 2 in labels:
        (x1, y1), (x2, y2) = coords[labels.index(2)].astype(int), coords[labels.index(3)].astype(int)
        image[[y1, min(y2, last)], x1 : x2 + 1] = (255, 255, 0)
        image[y1 : y2 + 1, [x1, min(x2, last)]] = (255, 255, 0)


def measure(source: DeviceBatchSource, steps: int) -> float:
    """Samples (pictures) a second over `steps` batches, after one to warm up."""
    device = source.library.device
    started = 0.0
    for step in range(steps + 1):
        if step <= 1 and device.type == "cuda":
            torch.cuda.synchronize(device)
        if step == 1:
            started = time.perf_counter()
        source[step]
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return steps * source.config.images / (time.perf_counter() - started)


def main(argv: list[str] | None = None) -> int:
    """Draw a sheet of batches to look at, or measure how fast they come."""
    options = argparse.ArgumentParser(prog="python -m training.data.device_scenes", description=main.__doc__)
    options.add_argument("--sprites", type=Path, required=True, help="library that training.render_sprites wrote")
    options.add_argument("--sheet", type=Path, help="PNG: picture with prompts, matte, coarse label, trust")
    options.add_argument("--measure", type=int, metavar="STEPS", help="samples a second over this many batches")
    options.add_argument("--images", type=int, default=12)
    options.add_argument("--prompts", type=int, default=3)
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--step", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args(argv)
    try:
        source = device_source(chosen, chosen, torch.device(chosen.device), seed=chosen.seed)
        if chosen.sheet is not None:
            from zim.image_io import save_png

            save_png(chosen.sheet, sheet(source[chosen.step]))
        if chosen.measure:
            print(f"{measure(source, chosen.measure):.1f} samples/s at {chosen.side} px on {chosen.device}")
    except (ZimError, OSError, RuntimeError) as error:
        print(f"device_scenes: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
