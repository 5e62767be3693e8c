"""The converter that comes with the project."""

from pathlib import Path

from zim.errors import CheckpointError

SHIPPED = "converter_tiny"
"""What `--model` calls it."""

FOLDER = Path(__file__).parent / "weights"


def converter_weights(name_or_path: str | Path) -> Path:
    """The weights file behind a path or the name of the shipped converter; a file of that name comes first.

    Raises:
        CheckpointError: there is no such file, or the installation lacks the shipped one.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    shipped = FOLDER / f"{SHIPPED}.safetensors"
    if str(name_or_path) != SHIPPED or not shipped.is_file():
        raise CheckpointError(f"--model: expected weights of a converter or {SHIPPED!r}, found nothing at {path}")
    return shipped
