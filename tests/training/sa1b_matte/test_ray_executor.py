"""Conversion by a Ray of its own, as the command line starts it: the bytes of a conversion without Ray."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.sa1b_matte.ray_executor import RayExecutor, _gpu_share
from zim.errors import ConfigError

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
RAY_KILLS = 3


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.convert_sa1b", *arguments],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a success; what was printed."""
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


@needs_ray
def test_two_actors_give_the_same_bytes(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
) -> None:
    output = tmp_path / "shards"
    printed = finish(start(command(mini_sa1b, output, "--ray", "local", "--workers", 2)))
    assert contents(output) == contents(reference)
    assert "labels/s" in printed and not (output / ".work" / "ray_folder").exists()


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_actors(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
    workers: int,
) -> None:
    for ray in ("local", "none"):
        output = tmp_path / ray
        finish(start(command(mini_sa1b, output, "--ray", ray, "--workers", workers)))
        assert contents(output) == contents(reference)


@pytest.mark.slow
@needs_ray
def test_killed_with_all_its_processes_it_goes_on(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
) -> None:
    output, expected, rng = tmp_path / "shards", contents(reference), random.Random(0)
    arguments = command(mini_sa1b, output, "--ray", "local", "--workers", 2)
    for kill in range(RAY_KILLS):
        for shard in sorted(output.glob("[!.]*.tar"))[kill::2]:
            shard.unlink()  # so that every run finds work
        process = start(arguments)
        wait_for_work(process, output)
        time.sleep(rng.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert all(expected[path.name] == path.read_bytes() for path in output.glob("[!.]*.tar"))
    finish(start(arguments))
    assert contents(output) == expected


@pytest.mark.slow
@needs_ray
def test_an_actor_that_dies_is_replaced(
    tmp_path: Path, reference: Path, mini_sa1b: Path, command: Callable[..., list[str]], contents: Callable[[Path], Any]
) -> None:
    output = tmp_path / "shards"
    process = start(command(mini_sa1b, output, "--ray", "local", "--workers", 2))
    wait_for_work(process, output)
    os.kill(actors_below(process.pid)[0], signal.SIGKILL)
    finish(process)
    assert contents(output) == contents(reference)


def wait_for_work(process: subprocess.Popen[str], output: Path) -> None:
    """Until a worker has begun with its first unit."""
    attempts = output / ".work" / "attempts"
    while not (attempts.is_dir() and list(attempts.iterdir())):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def actors_below(pid: int) -> list[int]:
    """Processes of Ray Data's actors that stem from a process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        parents[int(folder.name)] = (int(stat.rpartition(")")[2].split()[1]), title)

    def stems_from(process: int) -> bool:
        while process in parents and process != pid:
            process = parents[process][0]
        return process == pid

    return [each for each, (_, title) in parents.items() if b"ray::MapWorker" in title and stems_from(each)]


@pytest.mark.slow
@needs_ray
def test_a_termination_is_clean(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
) -> None:
    output = tmp_path / "shards"
    arguments = command(mini_sa1b, output, "--ray", "local", "--workers", 2)
    process = start(arguments)
    wait_for_work(process, output)
    os.kill(process.pid, signal.SIGTERM)
    printed, _ = process.communicate()
    assert process.returncode == 130 and "the same command goes on" in printed
    assert (output / "manifest.json").exists() and not (output / ".work" / "ray_folder").exists()
    finish(start(arguments))
    assert contents(output) == contents(reference)


def test_shares_of_gpus_find_room() -> None:
    for gpus in (1, 2, 8):
        for actors in (1, 2, 3, 4, 7, 8, 24, 32):
            share = _gpu_share(gpus, actors)
            on_each = int(1 / share) if share < 1 else 1
            assert 0 < share <= 1 and (gpus * on_each >= actors or gpus > actors)
    assert _gpu_share(1, 4) == 0.25 and _gpu_share(8, 8) == 1


def test_impossible_numbers_are_refused() -> None:
    for wrong in ({"workers": -1}, {"workers_per_gpu": 0}, {"object_store_mb": 79}):
        with pytest.raises(ConfigError, match="expected at least"):
            RayExecutor(**wrong)
