"""Files for download: one folder for each person, emptied before the next files and removed with the session."""

import atexit
import re
import shutil
import tempfile
from pathlib import Path


class Outbox:
    """A folder of finished files: what was made last. `close` removes it, and so does the end of the program."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def path(self, name: str) -> Path:
        """Where to write a file of this name; what was made before is removed."""
        self.close()
        self._folder = Path(tempfile.mkdtemp(prefix="zim-demo-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / safe_name(name)

    def beside(self, name: str) -> Path:
        """Where to write a further file, beside those that are there."""
        return self.path(name) if self._folder is None else self._folder / safe_name(name)

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __deepcopy__(self, memo: object) -> "Outbox":
        return Outbox()


def safe_name(name: str) -> str:
    """Letters, digits, dot, dash and underscore of a name; never empty, never hidden, no folder."""
    kept = re.sub(r"[^\w.-]+", "_", Path(name).name).strip("._")
    return kept[-80:] or "file"
