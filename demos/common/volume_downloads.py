"""What a person takes home from a volume: files on exactly its grid, pictures, numbers."""

from pathlib import Path
from typing import Any

from adapters.medical_volume.outputs import check_grid
from adapters.medical_volume.slicing import AXIS_NAMES
from adapters.medical_volume.surface_mesh import write_glb
from zim.errors import ConfigError, PromptError
from zim.files import write_json_atomic
from zim.image_io import save_png

from .outbox import Outbox, safe_name
from .volume_job import Followed
from .volume_prompts import label_of
from .volume_session import VolumeSession

DOWNLOADS = {
    "labels": "Label map",
    "alpha": "Alpha of this object",
    "report": "Report (JSON)",
    "montage": "Montage (PNG)",
    "surface": "Surface (GLB)",
    "prompts": "Prompts (JSON)",
}
NOT_FOLLOWED = "Nothing to hand over yet: follow the object through the volume first."


def write_download(session: VolumeSession, kind: str, outbox: Outbox) -> Path:
    """Write one of `DOWNLOADS` and return the file.

    Raises:
        PromptError: no volume, or no result for the prompts as they are now.
        DataError: what was written does not have the grid of the volume.
    """
    with session.lock:
        asked, found, prompts, active = session.asked, session.result, prompts_file(session), session.drawing.active
    stem = safe_name(asked.file.stem)[:40]
    if kind == "prompts":
        path = outbox.path(f"{stem}_prompts.json")
        write_json_atomic(path, prompts)
        return path
    if found is None:
        raise PromptError(NOT_FOLLOWED)
    if kind in ("labels", "alpha"):
        return _on_grid(session, found, stem, outbox, None if kind == "labels" else label_of(active))
    if kind == "report":
        path = outbox.path(f"{stem}_report.json")
        write_json_atomic(path, {**found.report, "identity": {"model": asked.model, **prompts}})
    elif kind == "montage":
        path = outbox.path(f"{stem}_montage.png")
        save_png(path, found.montage)
    elif kind == "surface":
        path = outbox.path(f"{stem}_surface.glb")
        write_glb(path, found.surfaces)
    else:
        raise ConfigError(f"download: expected one of {', '.join(DOWNLOADS)}, got {kind!r}")
    return path


def prompts_file(session: VolumeSession) -> dict[str, Any]:
    """What was drawn, as `volume_prompts.request_from_json` reads it."""
    asked, drawing = session.asked, session.drawing
    return {
        "volume": asked.file.name,
        "time": asked.file.step,
        "axis": AXIS_NAMES[drawing.axis if drawing.axis is not None else session.axis],
        "window": asked.window,
        "consensus": asked.consensus,
        "objects": [one.as_json(label) for label, one in drawing.labelled().items()],
    }


def _on_grid(session: VolumeSession, found: Followed, stem: str, outbox: Outbox, label: str | None) -> Path:
    """The label map, or the alpha of one object."""
    volume = session.volume
    array = found.label_map() if label is None else found.alpha(label)
    if array is None:
        raise PromptError(f"{label}: expected prompts for it, got none")
    path = outbox.path(f"{stem}_{'labels' if label is None else f'{label}_alpha'}{volume.template.suffix}")
    volume.save(path, array)
    check_grid(path, volume)
    return path
