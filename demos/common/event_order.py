"""What one browser page reports, in the order in which it happened: requests may overtake one another."""

import threading
from collections.abc import Mapping
from typing import Any

PATIENCE = 1.0
"""Seconds that a report waits for the one before it, which may have been lost."""


class EventOrder:
    """The turns of one person's reports.

    A report says which page it is from (`page`, a word of its own for each time that the page is loaded) and its
    number there (`serial`, counting from 1). Each goes when those before it are done, or have not come within
    `patience` seconds. What has no number goes at once.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._page: str | None = None
        self._next = 1

    def wait(self, event: Mapping[str, Any]) -> None:
        """Return when it is this report's turn, or after `patience`."""
        place = _place(event)
        if place is None:
            return
        page, serial = place
        with self._changed:
            if page != self._page:
                self._page, self._next = page, 1
                self._changed.notify_all()
            self._changed.wait_for(lambda: page != self._page or serial <= self._next, self._patience)

    def done(self, event: Mapping[str, Any]) -> None:
        """This report was taken (or refused): the next may go."""
        place = _place(event)
        if place is None:
            return
        page, serial = place
        with self._changed:
            if page == self._page:
                self._next = max(self._next, serial + 1)
                self._changed.notify_all()


def _place(event: Mapping[str, Any]) -> tuple[str, int] | None:
    page, serial = event.get("page"), event.get("serial")
    if not isinstance(page, str) or isinstance(serial, bool) or not isinstance(serial, int):
        return None
    return page, serial
