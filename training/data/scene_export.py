"""Scenes to disk: `fine/` and `coarse/` folders of `image/ + alpha/` pairs; and the generator's benchmark."""

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from zim.errors import DataError, ZimError
from zim.files import write_json_atomic
from zim.image_io import save_png

from .scenes import GENERATOR_VERSION, PhotoPool, Scene, SceneConfig, SceneObject, generate_scene

MIN_AREA = 0.005
"""Mean alpha that an object needs to be exported."""

_ATTEMPTS = 50
_JOURNAL = "manifest.jsonl"
_DERIVED_SEED_STEP = 1_000_003_000_000


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One exported pair. seed: of the scene that it comes from, which may be derived from the name's."""

    name: str
    tag: str
    seed: int
    kind: str
    area: float


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """What a worker needs to know."""

    folder: Path
    size: int
    photos: tuple[str, ...]
    config: SceneConfig


_pools: dict[tuple[str, ...], PhotoPool | None] = {(): None}


def choose_object(scene: Scene, seed: int, *, fine: bool) -> SceneObject | None:
    """One object of the tag with enough visible area, always the same for a seed; None if there is none."""
    eligible = [item for item in scene.objects if item.fine == fine and float(item.alpha.mean()) >= MIN_AREA]
    if not eligible:
        return None
    rng = np.random.default_rng([seed, int(fine)])
    return eligible[int(rng.integers(len(eligible)))]


def export_scene(seed: int, job: ExportJob) -> list[Sample]:
    """Write the fine pair of a seed, and its coarse pair where the scene has an eligible hard object.

    Scenes without an eligible fine object are replaced by the next one derived from the seed.

    Raises:
        DataError: no derived scene has an eligible fine object either.
    """
    pool = _pool(job.photos)
    name = f"{seed:08d}"
    for attempt in range(_ATTEMPTS):
        scene_seed = seed + attempt * _DERIVED_SEED_STEP
        scene = generate_scene(scene_seed, size=job.size, photos=pool, config=job.config)
        if choose_object(scene, scene_seed, fine=True) is not None:
            break
    else:
        raise DataError(
            f"seed {seed}: expected a fine object of at least {MIN_AREA:.1%} in {_ATTEMPTS} scenes, got none"
        )
    samples = []
    for tag in ("coarse", "fine"):  # the fine pair last: when it is there, the scene is complete
        chosen = choose_object(scene, scene_seed, fine=tag == "fine")
        if chosen is None:
            continue
        image_path, alpha_path = _pair(job.folder, tag, name)
        save_png(image_path, scene.image)
        save_png(alpha_path, np.round(chosen.alpha * 255).astype(np.uint8))
        area = round(float(chosen.alpha.mean()), 5)
        samples.append(Sample(name=name, tag=tag, seed=scene_seed, kind=chosen.kind, area=area))
    return samples


def export_scenes(
    folder: str | Path,
    *,
    count: int,
    seed: int,
    size: int,
    photos: Sequence[str | Path] = (),
    workers: int = 1,
    config: SceneConfig | None = None,
    progress: bool = True,
) -> list[Sample]:
    """Write `count` scenes, seeds `seed` to `seed + count - 1`, under `folder`; complete ones are skipped.

    Writes `{fine,coarse}/{image,alpha}/{seed:08d}.png` (alpha 8 bit) and `manifest.json`; each file appears
    whole or not at all. Returns the samples of all these scenes, in order of name and tag.

    Raises:
        DataError: `folder` holds an export of other arguments, or a photo folder is empty.
    """
    job = ExportJob(
        folder=Path(folder),
        size=size,
        photos=tuple(str(path) for path in photos),
        config=config or SceneConfig(),
    )
    pool = _pool(job.photos)
    header = {
        "generator_version": GENERATOR_VERSION,
        "size": size,
        "photos": list(job.photos),
        "photo_count": 0 if pool is None else len(pool),
        "config": _plain(vars(job.config)),
    }
    known = _read_journal(job.folder, header)
    done = {name for name, samples in known.items() if all(_exists(job.folder, sample) for sample in samples)}
    todo = [number for number in range(seed, seed + count) if f"{number:08d}" not in done]
    journal = job.folder / _JOURNAL
    journal.parent.mkdir(parents=True, exist_ok=True)
    if not known:
        journal.write_text(json.dumps(header) + "\n")
    with (
        journal.open("a") as lines,
        tqdm(total=count, initial=count - len(todo), unit="scene", disable=not progress) as bar,
    ):
        for samples in _map_scenes(todo, job, workers):
            known[samples[0].name] = samples
            lines.write(json.dumps([vars(sample) for sample in samples]) + "\n")
            lines.flush()
            bar.update()
    written = [sample for name in sorted(known) for sample in known[name]]
    write_json_atomic(
        job.folder / "manifest.json",
        {
            **header,
            "arguments": {"count": count, "seed": seed, "size": size, "photos": list(job.photos)},
            "samples": [vars(sample) for sample in written],
        },
    )
    names = {f"{number:08d}" for number in range(seed, seed + count)}
    return [sample for sample in written if sample.name in names]


def benchmark(
    *, count: int, photos: Sequence[str | Path] = (), sizes: Sequence[int] = (256, 512)
) -> dict[int, tuple[float, float]]:
    """Scenes per second by image size, of wall-clock and of processor time; one core, warm photo cache."""
    cv2.setNumThreads(1)
    pool = _pool(tuple(str(path) for path in photos))
    rates = {}
    for size in sizes:
        for seed in range(count if pool else 2):
            generate_scene(seed, size=size, photos=pool)
        start, start_cpu = time.perf_counter(), time.process_time()
        for seed in range(count):
            generate_scene(seed, size=size, photos=pool)
        rates[size] = (count / (time.perf_counter() - start), count / (time.process_time() - start_cpu))
    return rates


def _pool(photos: tuple[str, ...]) -> PhotoPool | None:
    """The pool of these folders, one per process."""
    if photos not in _pools:
        _pools[photos] = PhotoPool(photos)
    return _pools[photos]


def _map_scenes(seeds: list[int], job: ExportJob, workers: int) -> Iterator[list[Sample]]:
    """Export seeds here or in worker processes, in order."""
    if workers <= 1 or len(seeds) < 2:
        for seed in seeds:
            yield export_scene(seed, job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as executor:
        yield from executor.map(export_scene, seeds, itertools.repeat(job), chunksize=4)


def _pair(folder: Path, tag: str, name: str) -> tuple[Path, Path]:
    return folder / tag / "image" / f"{name}.png", folder / tag / "alpha" / f"{name}.png"


def _exists(folder: Path, sample: Sample) -> bool:
    return all(path.is_file() for path in _pair(folder, sample.tag, sample.name))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, so that a configuration compares equal to its JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read_journal(folder: Path, header: dict[str, Any]) -> dict[str, list[Sample]]:
    """What earlier runs wrote, by name; a last line cut short by a crash is ignored."""
    journal = folder / _JOURNAL
    if not journal.is_file():
        return {}
    lines = journal.read_text().splitlines()
    try:
        found = json.loads(lines[0]) if lines else header
    except ValueError as error:
        raise DataError(f"--export {folder}: {_JOURNAL} is damaged ({error}); use an empty folder") from error
    changed = [name for name in header if found.get(name) != header[name]]
    if changed:
        name = changed[0]
        raise DataError(
            f"--export {folder}: holds another export ({name} {found.get(name)}, now {header[name]}); "
            "use an empty folder"
        )
    known: dict[str, list[Sample]] = {}
    for line in lines[1:]:
        try:
            samples = [Sample(**item) for item in json.loads(line)]
        except json.JSONDecodeError:
            continue
        known[samples[0].name] = samples
    return known


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.data.scenes", description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument(
        "--export", type=Path, metavar="DIR", help="write DIR/{fine,coarse}/{image,alpha}/NAME.png"
    )
    task.add_argument("--benchmark", action="store_true", help="print scenes per second on one core")
    parser.add_argument("--count", type=int, default=40, metavar="N", help="number of scenes (default 40)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the first scene (default 0)"
    )
    parser.add_argument(
        "--size", type=int, default=512, metavar="PX", help="side of the images (default 512)"
    )
    parser.add_argument(
        "--photos",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of photographs for textures, searched recursively; may be given several times",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name, least in (("count", 1), ("seed", 0), ("size", 32), ("workers", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name}: expected at least {least}, got {getattr(options, name)}")
    try:
        if options.benchmark:
            for size, (wall, cpu) in benchmark(count=options.count, photos=options.photos).items():
                print(
                    f"{size} px: {wall:.1f} scenes/s (wall clock), {cpu:.1f} per second of processor time"
                )
            return 0
        samples = export_scenes(
            options.export,
            count=options.count,
            seed=options.seed,
            size=options.size,
            photos=options.photos,
            workers=options.workers,
        )
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    fine = sum(sample.tag == "fine" for sample in samples)
    print(f"{options.export}: {fine} fine and {len(samples) - fine} coarse samples")
    return 0
