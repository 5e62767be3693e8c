"""What a measurement was taken on, and timing that waits for the device."""

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

Result = TypeVar("Result")


def describe_machine() -> dict[str, Any]:
    """CPU model, cores, threads, accelerator and versions, ready for JSON."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def machine_line(machine: dict[str, Any]) -> str:
    """One line for people."""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} threads{gpu}, torch {machine['torch']}"
    )


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def use_threads(threads: int | None) -> None:
    """Limit torch and OpenCV to this many CPU threads; None leaves them alone.

    Raises:
        ValueError: fewer than one thread.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"threads: expected a number >= 1, got {threads}")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """The call's result and its seconds, work still queued on a GPU included."""
    _synchronize()
    start = time.perf_counter()
    result = call()
    _synchronize()
    return result, time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
