"""The converters that come with the project."""

from pathlib import Path

from zim.errors import CheckpointError

SHIPPED = "converter_tiny"
"""What `--model` calls the one that is used unless told otherwise: small and fast."""

SHIPPED_ZIM = "converter_zim"
"""The better one, on zim_tiny's encoder: six times the parameters, for a GPU or patience."""

CONVERTERS = (SHIPPED, SHIPPED_ZIM)
CHOICES = f"converter weights, or {SHIPPED} (default; fast) or {SHIPPED_ZIM} (better)"

FOLDER = Path(__file__).parent / "weights"


def converter_weights(name_or_path: str | Path) -> Path:
    """The weights file behind a path or the name of a shipped converter; a file of that name comes first.

    Raises:
        CheckpointError: there is no such file, or the installation lacks the shipped ones.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    shipped = FOLDER / f"{name_or_path}.safetensors"
    if str(name_or_path) not in CONVERTERS or not shipped.is_file():
        names = " or ".join(map(repr, CONVERTERS))
        raise CheckpointError(f"--model: expected weights of a converter or {names}, found nothing at {path}")
    return shipped
