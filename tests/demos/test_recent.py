"""Answers that are kept are not made again; the oldest go first."""

import pytest

from demos.common.recent import Recent


def test_what_was_asked_for_last_is_kept() -> None:
    made: list[str] = []
    recent: Recent[str, str] = Recent(2)

    def ask(key: str) -> str:
        return recent.of(key, lambda: made.append(key) or key.upper())  # type: ignore[func-returns-value]

    assert [ask(key) for key in "abab"] == ["A", "B", "A", "B"] and made == ["a", "b"]
    ask("a")
    ask("c")  # b was asked for longest ago
    assert [ask(key) for key in "ac"] == ["A", "C"] and made == ["a", "b", "c"]
    assert ask("b") == "B" and made[-1] == "b"
    recent.clear()
    assert ask("b") == "B" and made[-2:] == ["b", "b"]


def test_a_failure_keeps_nothing_and_loses_nothing() -> None:
    recent: Recent[str, int] = Recent(1)
    assert recent.of("a", lambda: 1) == 1

    def fails() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        recent.of("b", fails)
    assert recent.of("a", lambda: 2) == 1
    assert recent.of("b", lambda: 3) == 3
