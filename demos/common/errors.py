"""What a person is told when something fails: one clear line, never a traceback, never nothing."""

import logging

from zim.errors import ZimError

logger = logging.getLogger("zim.demos")


class LimitError(ZimError, ValueError):
    """A request is larger than an app takes."""


class BusyError(ZimError, RuntimeError):
    """The models were in use for too long."""


UNEXPECTED = "Something went wrong on the server; the log says what. Your picture and prompts are still there."


def message_of(error: Exception) -> str:
    """The line for a person: the error's own where it is one of ours, a general one where it is a bug."""
    if isinstance(error, ZimError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The server ran out of memory for this request; try a smaller picture."
    logger.error("unexpected error", exc_info=error)
    return UNEXPECTED
