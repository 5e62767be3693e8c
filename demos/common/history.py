"""Undo and redo over values that never change."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
LONGEST = 200


class History(Generic[Value]):
    """A value with what it was before and what was undone."""

    def __init__(self, value: Value) -> None:
        self._past: list[Value] = []
        self._future: list[Value] = []
        self.value = value

    def set(self, value: Value) -> None:
        """Take a new value; an equal one is no step."""
        if value == self.value:
            return
        self._past = [*self._past, self.value][-LONGEST:]
        self._future.clear()
        self.value = value

    def change(self, step: Callable[[Value], Value]) -> None:
        """Set what `step` makes of the value."""
        self.set(step(self.value))

    def undo(self) -> bool:
        """Go back one step; False when there is none."""
        if not self._past:
            return False
        self._future.append(self.value)
        self.value = self._past.pop()
        return True

    def redo(self) -> bool:
        """Take back an undo; False when there is none."""
        if not self._future:
            return False
        self._past.append(self.value)
        self.value = self._future.pop()
        return True
