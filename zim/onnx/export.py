"""A model as a folder in the official release's format: written beside its place, checked, then renamed."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import zim
from zim.errors import CheckpointError, ConfigError
from zim.modeling.features import ImageFeatures
from zim.modeling.zim import Zim
from zim.onnx import file_format
from zim.onnx.convert import OPSET, require_exporter, write_graph
from zim.onnx.file_format import RECORD_FILE
from zim.onnx.graphs import DecoderGraph, EncoderGraph, MaskInputDecoderGraph
from zim.onnx.model import OnnxZim
from zim.onnx.record import ExportRecord, hashes_of, write_record
from zim.onnx.verify import max_alpha_difference

TOLERANCE = 1e-4
"""Largest difference of an alpha from torch's that an export may show."""


def export_folder(
    model: Zim, folder: str | Path, *, name: str, licence: str, with_mask_input: bool = False
) -> ExportRecord:
    """Write encoder.onnx, decoder.onnx and zim_export.json; the folder is whole and checked, or absent.

    Args:
        model: on any device, in float32; it is put into evaluation mode.
        folder: a new or empty one, or an earlier export, which is replaced.
        name: what the model is called, for the record.
        licence: of its weights, for the record; whoever loads the folder is told.
        with_mask_input: write decoder_mask.onnx too, which takes an earlier answer.

    Returns:
        The record, with the largest difference of an alpha from torch's.

    Raises:
        ConfigError: the model or the folder is of another kind.
        CheckpointError: the graphs do not compute what torch does.
        MissingDependencyError: the extra `onnx` is not installed.
    """
    require_exporter()
    _check_model(model)
    with _replaced_folder(Path(folder)) as temporary:
        _write_graphs(model.eval(), temporary, with_mask_input)
        record = ExportRecord(
            name=name,
            license=licence,
            config=model.config.to_dict(),
            versions=_versions(),
            files=hashes_of(temporary),
        )
        write_record(temporary, record)
        difference = max_alpha_difference(model, temporary)
        if not difference <= TOLERANCE:
            raise CheckpointError(
                f"export: expected alphas within {TOLERANCE} of torch's, got a difference of {difference:.3g}; "
                "nothing was written"
            )
        record = ExportRecord(**{**vars(record), "max_alpha_difference": difference})
        write_record(temporary, record)
    return record


def _check_model(model: Any) -> None:
    if not isinstance(model, Zim):
        raise ConfigError(f"model: expected a ZIM, got {type(model).__name__}")
    if isinstance(model, OnnxZim):
        raise ConfigError("model: expected one of torch, got an ONNX folder, which is exported already")
    dtypes = {str(parameter.dtype) for parameter in model.parameters()}
    if dtypes != {"torch.float32"}:
        raise ConfigError(f"model: expected float32 weights, got {', '.join(sorted(dtypes))}")
    if model.config.pixel_decoder != "hierarchical":
        raise ConfigError(
            "model: expected a hierarchical pixel decoder, whose features the format has, "
            f"got {model.config.pixel_decoder!r}"
        )
    try:
        model.config.to_dict()
    except ConfigError as error:  # around an encoder, or with pixel constants, of somebody else
        raise ConfigError(f"model: expected one that its config describes wholly; {error}") from error


def _write_graphs(model: Zim, folder: Path, with_mask_input: bool) -> None:
    side, device = model.image_encoder.img_size, model.device
    image = torch.zeros(2, 3, side, side, device=device)
    write_graph(
        folder / file_format.ENCODER_FILE,
        EncoderGraph(model),
        [image],
        axes=[{0: "images"}],
        inputs=file_format.ENCODER_INPUTS,
        outputs=file_format.ENCODER_OUTPUTS,
    )
    with torch.no_grad():
        embedded: ImageFeatures = model.image_encoder(image[:1])
    features = [embedded.feat_s2, embedded.feat_s4, embedded.feat_s8, embedded.embedding]
    prompts, points, grid = 3, 5, side // 16  # of lengths that nothing else has, so that no axis is mixed up
    coords = torch.full((prompts, points, 2), side / 3, device=device)
    labels = torch.ones(prompts, points, device=device)
    attn_mask = torch.zeros(prompts, grid, grid, device=device)
    by_prompt, by_point = {0: "prompts"}, {0: "prompts", 1: "points"}
    features_axes: list[dict[int, str]] = [{}] * len(features)
    write_graph(
        folder / file_format.DECODER_FILE,
        DecoderGraph(model),
        [*features, attn_mask, coords, labels],
        axes=[*features_axes, by_prompt, by_point, by_point],
        inputs=file_format.DECODER_INPUTS,
        outputs=file_format.DECODER_OUTPUTS,
        broadcast=file_format.FEATURES,
    )
    if with_mask_input:
        mask = torch.zeros(prompts, 1, side // 4, side // 4, device=device)
        write_graph(
            folder / file_format.MASK_DECODER_FILE,
            MaskInputDecoderGraph(model),
            [*features, coords, labels, mask, torch.ones(prompts, device=device)],
            axes=[*features_axes, by_point, by_point, by_prompt, by_prompt],
            inputs=file_format.MASK_DECODER_INPUTS,
            outputs=file_format.DECODER_OUTPUTS,
            broadcast=file_format.FEATURES,
        )


@contextmanager
def _replaced_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`; put it in its place on success, remove it on any failure.

    Raises:
        ConfigError: there is something else at `target` than an empty folder or an earlier export.
    """
    if target.exists():
        names = {entry.name for entry in target.iterdir()} if target.is_dir() else set()
        if not target.is_dir() or (names and RECORD_FILE not in names):
            raise ConfigError(
                f"--out: expected a new or empty folder or an earlier export, got {target}, "
                f"{'which holds other files' if target.is_dir() else 'a file'}"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = target.parent / f".{target.resolve().name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    temporary, old = stem.with_name(stem.name + ".new"), stem.with_name(stem.name + ".old")
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    return {
        "zim-matting": zim.__version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "opset": str(OPSET),
    }
