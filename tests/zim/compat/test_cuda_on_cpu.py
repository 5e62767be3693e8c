"""Requests for CUDA on a machine without it, within the context."""

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from zim.compat.cuda_on_cpu import cuda_answered_by_cpu
from zim.compat.notices import Notices

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")

CPU = torch.device("cpu")


@pytest.fixture
def context() -> Iterator[None]:
    with cuda_answered_by_cpu(Notices()):
        yield


def stored(value: Any) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return stream


WAYS: dict[str, Callable[[], torch.Tensor]] = {
    "to a name": lambda: torch.ones(2).to("cuda"),
    "to a numbered name": lambda: torch.ones(2).to("cuda:1"),
    "to a device": lambda: torch.ones(2).to(torch.device("cuda", 0)),
    "to a number": lambda: torch.ones(2).to(0),
    "to a keyword": lambda: torch.ones(2).to(device="cuda", dtype=torch.float32),
    "to a device and a dtype": lambda: torch.ones(2, dtype=torch.int64).to("cuda", torch.float32),
    "cuda": lambda: torch.ones(2).cuda(),
    "cuda of a number": lambda: torch.ones(2).cuda(0, non_blocking=True),
    "a new tensor": lambda: torch.tensor([1.0, 1.0], device="cuda"),
    "of data": lambda: torch.as_tensor([1.0, 1.0], device=torch.device("cuda")),
    "filled": lambda: torch.full((2,), 1.0, device="cuda"),
    "like another": lambda: torch.ones_like(torch.zeros(2), device="cuda"),
    "of another": lambda: torch.zeros(1).new_ones(2, device="cuda"),
    "loaded": lambda: torch.load(stored(torch.ones(2)), map_location="cuda"),
    "loaded without a place": lambda: torch.load(stored(torch.ones(2)), weights_only=True),
}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("way", WAYS)
def test_the_cpu_answers(way: str) -> None:
    made = WAYS[way]()
    assert made.device == CPU and made.dtype == torch.float32
    assert made.tolist() == [1.0, 1.0]


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("move", [lambda m: m.cuda(), lambda m: m.to("cuda"), lambda m: m.to(device="cuda:0")])
def test_modules_move_and_are_returned(move: Callable[[nn.Module], nn.Module]) -> None:
    module = nn.BatchNorm1d(3)
    assert move(module) is module
    assert {value.device for value in (*module.parameters(), *module.buffers())} == {CPU}


@pytest.mark.usefixtures("context")
def test_the_rest_of_to_is_untouched() -> None:
    ones = torch.ones(2)
    assert ones.to(torch.float16).dtype == torch.float16
    assert ones.to(torch.zeros(1, dtype=torch.int64)).dtype == torch.int64
    assert ones.to("cpu") is ones and ones.to("meta").device.type == "meta"
    assert torch.empty(1, device="meta").device.type == "meta"


@pytest.mark.usefixtures("context")
def test_nothing_is_pretended() -> None:
    assert not torch.cuda.is_available()
    torch.cuda.synchronize()
    torch.cuda.set_device(0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("context")
def test_other_threads_may_move_tensors() -> None:
    devices: list[torch.device] = []
    worker = threading.Thread(target=lambda: devices.append(torch.ones(1).cuda().to("cuda").device))
    worker.start()
    worker.join()
    assert devices == [CPU]


def test_it_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with cuda_answered_by_cpu(Notices()):
        torch.ones(1)
        assert capsys.readouterr().err == ""
        torch.ones(1).cuda()
        torch.zeros(1, device="cuda").to("cuda")
    assert capsys.readouterr().err == "zim: this machine has no CUDA device: the CPU answers instead\n"


def test_where_cuda_is_there_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.Tensor.to, torch.load, torch.cuda.synchronize
    with cuda_answered_by_cpu(Notices()):
        assert (torch.Tensor.to, torch.load, torch.cuda.synchronize) == before
