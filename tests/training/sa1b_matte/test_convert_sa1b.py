"""The whole conversion, through its command line: what comes out, what it survives, what it refuses."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.convert_sa1b import main
from training.label_converter.builders import build_matting
from training.label_converter.config import TEST
from training.sa1b_matte.shards import iter_shard
from zim.checkpoints import save_checkpoint

KILLS = 20


def manifest(output: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return stored


def test_everything_is_converted_once(
    reference: Path, all_labels: set[str], labels_in: Callable[[Path], list[str]]
) -> None:
    labels = labels_in(reference)
    assert set(labels) == all_labels and len(labels) == len(all_labels)
    told = manifest(reference)
    assert told["complete"] and told["totals"]["labels"] == 36 and told["totals"]["images"] == 12
    assert [row["shard"] for row in told["shards"]] == sorted(path.name for path in reference.glob("*.tar"))
    # 5 + 4 + 3 photographs, at most 2 a shard, none across sources
    assert [row["images"] for row in told["shards"]] == [2, 1, 2, 2, 1, 2, 2]
    keys = [image.key for shard in sorted(reference.glob("*.tar")) for image in iter_shard(shard, check=True)]
    assert keys == [f"sa_{number}" for number in (21, 22, 23, 1, 2, 3, 4, 7, 11, 12, 13, 14)]
    assert not list(reference.glob(".*.tar"))


def test_again_changes_nothing(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
) -> None:
    output = tmp_path / "shards"
    shutil.copytree(reference, output)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.tar")}
    assert main(command(mini_sa1b, output, "--ray", "none")) == 0
    assert {path: path.stat().st_mtime_ns for path in output.glob("*.tar")} == before
    shutil.rmtree(output / ".work")  # the notes are worth nothing but time
    (output / "sa_000000-00001.tar").unlink()
    (output / ".sa_000000-00001.77.abcd.tar").write_bytes(b"half")
    (output / ".manifest.77.abcd.json").write_bytes(b"{")
    (output / "sa_000001-00000.tar").write_bytes(b"torn by a full disk")
    assert main(command(mini_sa1b, output, "--ray", "none")) == 0
    assert contents(output) == contents(reference)


def test_killed_anywhere_it_goes_on(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
    all_labels: set[str], labels_in: Callable[[Path], list[str]],
) -> None:
    """SIGKILL at random points, 20 times; what is there is whole at any time, and all of it in the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.convert_sa1b"])
    output, expected = tmp_path / "shards", contents(reference)
    arguments = command(mini_sa1b, output, "--ray", "none")

    def start() -> multiprocessing.process.BaseProcess:
        process = context.Process(target=main, args=(arguments,))
        process.start()
        return process

    start().join()  # the server starts with the first
    shutil.rmtree(output)
    began = time.monotonic()
    start().join()
    whole_run = time.monotonic() - began
    assert contents(output) == expected
    shutil.rmtree(output)
    rng, kills = random.Random(0), 0
    while kills < KILLS:
        process = start()
        process.join(rng.uniform(0.05, 0.7) * whole_run)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            found = {path.name: path.read_bytes() for path in output.glob("[!.]*.tar")} if output.exists() else {}
            assert all(expected[name] == data for name, data in found.items())
        else:
            assert contents(output) == expected
            shutil.rmtree(output)
    assert main(arguments) == 0
    assert contents(output) == expected
    assert sorted(labels_in(output)) == sorted(all_labels)


def test_workers_that_die_are_replaced(
    tmp_path: Path,
    reference: Path,
    mini_sa1b: Path,
    command: Callable[..., list[str]],
    contents: Callable[[Path], Any],
) -> None:
    """Two processes, one of which is killed: the same bytes as without any."""
    output = tmp_path / "shards"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.convert_sa1b"])
    process = context.Process(target=main, args=(command(mini_sa1b, output, "--ray", "none", "--workers", 2),))
    process.start()
    attempts = output / ".work" / "attempts"
    while not (attempts.is_dir() and list(attempts.iterdir())):
        time.sleep(0.05)
        assert process.exitcode is None
    os.kill(sorted(children_of(process.pid or 0))[-1], signal.SIGKILL)
    process.join()
    assert process.exitcode == 0
    assert contents(output) == contents(reference)


def children_of(pid: int) -> list[int]:
    """Processes that serve the executor."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def test_what_is_broken_is_listed_and_the_rest_converted(
    tmp_path: Path,
    command: Callable[..., list[str]],
    make_sa1b: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    labels_in: Callable[[Path], list[str]],
) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    make_sa1b(root / "sa_000000.tar", [1, 2, 3], {"sa_2.jpg": b"rubbish", "sa_3.json": b"{"})
    cut = make_sa1b(root / "sa_000001.tar", [5, 6])
    cut.write_bytes(cut.read_bytes()[:2000])
    assert main(command(root, output, "--ray", "none")) == 1
    told = manifest(output)
    assert sorted(set(labels_in(output))) == ["sa_1.0000", "sa_1.0001", "sa_1.0002"]
    assert [(item["key"], item["file"]) for item in told["quarantined"]] == [
        ("sa_2", "sa_000000.tar:./sa_2.jpg"),
        ("sa_3", "sa_000000.tar:./sa_3.json"),
    ]
    assert told["totals"]["quarantined"] == 2 and not told["complete"]
    assert "whole, uncompressed tar file" in told["unreadable_sources"]["sa_000001"]
    printed = capsys.readouterr().out
    assert "2 photographs quarantined" in printed and "unreadable" in printed
    make_sa1b(root / "sa_000001.tar", [5, 6])  # downloaded again
    assert main(command(root, output, "--ray", "none")) == 0
    assert manifest(output)["totals"]["images"] == 3 and manifest(output)["complete"]


def test_other_settings_on_an_output_are_refused(
    tmp_path: Path, reference: Path, mini_sa1b: Path, converter_file: Path, command: Callable[..., list[str]],
    make_sa1b: Callable[..., Path], capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "shards"
    shutil.copytree(reference, output)
    assert main(command(mini_sa1b, output, "--ray", "none", "--fraction", "0.5")) == 1
    assert "begun with other settings, config.fraction: 1.0 there, 0.5 given" in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_checkpoint(other, build_matting(TEST).state_dict(), config=TEST.to_dict())
    assert main(command(mini_sa1b, output, "--ray", "none", "--model", other)) == 1
    assert "converter.fingerprint" in capsys.readouterr().err
    (output / "conversion.json").unlink()
    assert main(command(mini_sa1b, output, "--ray", "none")) == 1
    assert "found shards without it" in capsys.readouterr().err
    root = tmp_path / "in"
    make_sa1b(root / "sa_000000.tar", [1, 2])
    assert main(command(root, tmp_path / "out", "--ray", "none")) == 0
    make_sa1b(root / "sa_000000.tar", [1, 9])
    assert main(command(root, tmp_path / "out", "--ray", "none")) == 1
    assert "sa_000000.tar has changed since" in capsys.readouterr().err
    make_sa1b(root / "sa_000001.tar", [9])
    assert main(command(root, tmp_path / "new", "--ray", "none")) == 1
    assert "expected each photograph once, sa_9 is in" in capsys.readouterr().err
    assert main(command(root, root / "out", "--ray", "none")) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fraction", "0"], "fraction: expected"),
        (["--workers", "-1"], "--workers: expected"),
        (["--model", "absent.safetensors"], "absent.safetensors"),
        (["--input", "absent"], "absent does not exist"),
        (["--object-store-mb", "10", "--ray", "local"], "object_store_mb: expected at least 80"),
    ],
)
def test_impossible_commands(
    tmp_path: Path, mini_sa1b: Path, command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str],
    more: list[str], message: str,
) -> None:
    assert main(command(mini_sa1b, tmp_path / "out", "--ray", "none", *more)) == 1
    assert message in capsys.readouterr().err


def test_a_plan_without_converting(
    tmp_path: Path, mini_sa1b: Path, command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(command(mini_sa1b, output, "--dry-run", "--rate", 10)) == 0
    printed = capsys.readouterr().out
    assert "12 photographs, 12 of them taken" in printed and "7 shards of at most 2" in printed
    assert "about 36 labels: 3.0 of 3.0 a photograph" in printed and "| this input | 12 | 36 |" in printed
    assert not output.exists()


def test_rates_are_measured(
    tmp_path: Path, mini_sa1b: Path, command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(mini_sa1b, tmp_path / "out", "--ray", "none", "--benchmark", 1)) == 0
    rate = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (rate["workers"], rate["shards"], rate["images"], rate["labels"], rate["speedup"]) == (1, 7, 12, 36, 1.0)
    assert rate["labels_per_s"] == pytest.approx(3 * rate["images_per_s"], rel=0.01)
    assert not (tmp_path / "out").exists()
