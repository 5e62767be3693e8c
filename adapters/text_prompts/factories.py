"""The entry points of the group `zim.text_detectors`: `factory(source, device) -> TextDetector`."""

import torch

from zim.errors import CheckpointError, ConfigError
from zim.text_detection import TextDetector

from . import grounding_dino, owlv2
from .loading import GROUNDING_DINO, OWLV2, import_libraries, model_type_of
from .recorded import RecordedDetector
from .sources import locate


def grounding_dino_detector(source: str | None, device: str | torch.device) -> TextDetector:
    """GroundingDINO, from a folder or the hub; without a source the tiny variant."""
    return grounding_dino.GroundingDinoDetector(source or grounding_dino.DEFAULT_SOURCE, device=device)


def owlv2_detector(source: str | None, device: str | torch.device) -> TextDetector:
    """OWLv2, from a folder or the hub; without a source the base variant."""
    return owlv2.Owlv2Detector(source or owlv2.DEFAULT_SOURCE, device=device)


def recorded_detector(source: str | None, device: str | torch.device) -> TextDetector:
    """What a file says; the device plays no part.

    Raises:
        ConfigError: no file is named.
    """
    if source is None:
        raise ConfigError("detector: expected recorded:FILE, a JSON of recorded boxes, got no file")
    return RecordedDetector(source)


def transformers_detector(source: str | None, device: str | torch.device) -> TextDetector:
    """Whichever of the two a folder or hub name holds.

    Raises:
        ConfigError: no source is named.
        CheckpointError: it holds neither.
    """
    if source is None:
        raise ConfigError("detector: expected transformers:FOLDER or transformers:OWNER/MODEL, got no source")
    import_libraries()
    folder = locate(source)
    found = model_type_of(folder)
    if found == GROUNDING_DINO.model_type:
        return grounding_dino.GroundingDinoDetector(str(folder), device=device)
    if found == OWLV2.model_type:
        return owlv2.Owlv2Detector(str(folder), device=device)
    raise CheckpointError(
        f"{folder}: expected a model of type {GROUNDING_DINO.model_type} or {OWLV2.model_type}, got {found}"
    )
