"""A benchmark from its settings to its results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zim.errors import ConfigError
from zim.evaluation.bench.cases import (
    VITS,
    embedding_case,
    encoder_case,
    many_prompts_case,
    prompt_case,
    whole_image_case,
)
from zim.evaluation.bench.decoders import decoder_case
from zim.evaluation.bench.interleaved import Case, time_case
from zim.evaluation.bench.peak_memory import extra_memory
from zim.evaluation.bench.report import CaseResult
from zim.evaluation.bench.roofline import Roofline, count_work, measure_peak
from zim.modeling.config import ZIM_VIT_B
from zim.protocol import Predictor

PARTS = ("encoder", "decoder", "set_image", "prompt", "prompts64", "whole")
QUICK_PARTS = ("set_image", "prompt", "prompts64")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What is timed.

    parts: of PARTS. encoder: of the part "encoder". points_per_side: grid of the part "whole". repeats: turns after
    the warm-up. dtype: of the part "encoder", by autocast.
    """

    parts: tuple[str, ...] = QUICK_PARTS
    encoder: str = "vit_b"
    points_per_side: int = 32
    repeats: int = 5
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("parts", self.parts, PARTS),
            ("encoder", (self.encoder,), tuple(VITS)),
            ("dtype", (self.dtype,), tuple(DTYPES)),
        ):
            if not value or not set(value) <= set(allowed):
                raise ConfigError(f"{name}: expected of {', '.join(allowed)}, got {', '.join(value) or 'none'}")
        for name in ("points_per_side", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def needs_predictors(self) -> bool:
        """Whether any part asks predictors."""
        return bool(set(self.parts) - {"encoder", "decoder"})


def run_bench(
    config: BenchConfig,
    predictors: Mapping[str, Predictor],
    image: NDArray[np.uint8],
    device: torch.device,
    *,
    progress: bool = False,
) -> Iterator[CaseResult]:
    """One result a case, as they come; the first predictor is what the others are compared to.

    Raises:
        MissingDependencyError: segment_anything is not installed, and a case needs it.
    """
    peaks: dict[torch.dtype, float] = {}
    for case, dtype in _cases(config, predictors, image, device):
        memory = {name: extra_memory(call) for name, call in case.calls.items()}
        rooflines = {}
        if dtype is not None:
            if dtype not in peaks:
                peaks[dtype] = measure_peak(device, dtype)
            for name, call in case.calls.items():
                work = count_work(call)
                rooflines[name] = Roofline(work.flops, peaks[dtype], work.bytes)
        times = time_case(case, repeats=config.repeats, progress=progress)
        yield CaseResult(times, memory, rooflines)


def _cases(
    config: BenchConfig, predictors: Mapping[str, Predictor], image: NDArray[np.uint8], device: torch.device
) -> Iterator[tuple[Case, torch.dtype | None]]:
    """The cases, each built when its turn comes, and the dtype of their products; None where torch does not do all."""
    if "encoder" in config.parts:
        yield encoder_case(config.encoder, device, DTYPES[config.dtype]), DTYPES[config.dtype]
    if "decoder" in config.parts:
        for prompts in (1, 16):
            yield decoder_case(ZIM_VIT_B, prompts, device), torch.float32
    if "set_image" in config.parts:
        yield embedding_case(predictors, image), None
    if {"prompt", "prompts64"} & set(config.parts):
        for predictor in predictors.values():
            predictor.set_image(image)
    if "prompt" in config.parts:
        yield prompt_case(predictors, image), None
    if "prompts64" in config.parts:
        yield many_prompts_case(predictors, image), None
    if "whole" in config.parts:
        yield whole_image_case(predictors, image, config.points_per_side), None
