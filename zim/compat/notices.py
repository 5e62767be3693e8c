"""Messages to whoever runs a program on ZIM, each said once."""

import sys


class Notices:
    """Writes one line for each subject to standard error, the first time that it comes up."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, subject: str, text: str) -> None:
        """Say `text` unless something was said about `subject` before."""
        if subject not in self._said:
            self._said.add(subject)
            print(f"zim: {text}", file=sys.stderr, flush=True)
