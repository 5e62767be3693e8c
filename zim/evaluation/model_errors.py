"""Errors of predictors that others wrote: whatever they raise becomes one line that names the model."""

from collections.abc import Iterator
from contextlib import contextmanager

from zim.errors import ZimError


class ModelError(ZimError, RuntimeError):
    """A predictor could not be made, or failed on a picture or a prompt."""


@contextmanager
def blaming_model(name: str, doing: str) -> Iterator[None]:
    """Turn what goes wrong inside into a `ModelError`: "model NAME failed DOING: TypeError: what it said", one line.

    Interrupts and requests to exit pass through.

    Raises:
        ModelError: anything else was raised inside.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # code of others raises whatever it trips over
        said = " ".join(str(error).split())
        kind = "" if isinstance(error, ZimError) and said else f"{type(error).__name__}{': ' if said else ''}"
        raise ModelError(f"model {name} failed {doing}: {kind}{said}") from error
