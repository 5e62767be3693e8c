"""How much one request may ask for."""

import math
from typing import Any

from .errors import LimitError

MAX_UPLOAD_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 50_000_000
MAX_PROMPTS = 64
MAX_OBJECTS = 16
MAX_STROKE_POINTS = 512
MAX_TEXT = 300
MAX_JSON = 200_000
QUEUE = 20
WAIT_SECONDS = 60.0
"""How long a request waits for its turn at the models."""
JOB_SECONDS = 600.0
"""How long a job of many predictions (a volume, a scene, a whole image) may run."""


def number(value: Any, name: str) -> float:
    """A finite number.

    Raises:
        LimitError: anything else; booleans too.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise LimitError(f"{name}: expected a finite number, got {short(value)}")
    return float(value)


def short(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def text_within(value: Any, name: str, longest: int = MAX_TEXT) -> str:
    """A string of at most `longest` characters, without the blanks around it.

    Raises:
        LimitError: another type, or longer.
    """
    if not isinstance(value, str):
        raise LimitError(f"{name}: expected text, got {short(value)}")
    if len(value) > longest:
        raise LimitError(f"{name}: expected at most {longest} characters, got {len(value)}")
    return value.strip()
