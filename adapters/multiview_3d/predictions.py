"""What the predictor answered in each view, kept in memory or in a folder, so that a killed run goes on."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zim.errors import ConfigError, DataError
from zim.files import write_bytes_atomic, write_json_atomic

from .pose_files import read_json

_FILE = "run.json"


class Prediction(NamedTuple):
    """alpha: (H, W) uint8, 255 is 1; None where the view was not asked. quality: predicted. overlap: IoU with the
    object as rendered before, NaN in the prompted view. status: "prompted", "accepted", or why it has no vote."""

    alpha: NDArray[np.uint8] | None
    quality: float
    overlap: float
    status: str

    @property
    def counts(self) -> bool:
        """Whether the view votes."""
        return self.status in ("prompted", "accepted")

    def values(self) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1].

        Raises:
            DataError: the view was not asked.
        """
        if self.alpha is None:
            raise DataError(f"prediction: there is none ({self.status})")
        return self.alpha.astype(np.float32) / np.float32(255)


class PredictionStore:
    """Predictions of (pass, view), one for each object.

    Votes are taken from what is stored, 8-bit alphas, whether just predicted or read again: a resumed run gives the
    same result to the last bit.
    """

    def __init__(self, folder: Path | None = None, identity: dict[str, Any] | None = None) -> None:
        """Open a store.

        Args:
            folder: where files go; None keeps everything in memory.
            identity: what the run depends on, ready for JSON; a folder of another run is refused.

        Raises:
            ConfigError: the folder belongs to another run.
        """
        self._folder = folder
        self._memory: dict[tuple[int, int], list[Prediction]] = {}
        if folder is None:
            return
        wanted = identity or {}
        if (folder / _FILE).is_file():
            found = read_json(folder / _FILE)
            different = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
            if different:
                raise ConfigError(
                    f"{folder}: holds a run with other {', '.join(sorted(different))}; take another folder, or --fresh"
                )
        else:
            write_json_atomic(folder / _FILE, wanted)

    def get(self, number: int, view: int) -> list[Prediction] | None:
        """The predictions of a pass in a view, or None."""
        if self._folder is None:
            return self._memory.get((number, view))
        path = self._path(number, view)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as data:
                alphas, numbers, statuses = data["alphas"], data["numbers"], data["statuses"].tolist()
            asked = iter(alphas)
            return [
                Prediction(next(asked) if has else None, float(quality), float(overlap), str(status))
                for (has, quality, overlap), status in zip(numbers, statuses, strict=True)
            ]
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise DataError(f"{path}: cannot be read; delete it ({error})") from error

    def put(self, number: int, view: int, predictions: list[Prediction]) -> None:
        """Keep the predictions of a pass in a view."""
        if self._folder is None:
            self._memory[number, view] = predictions
            self._memory.pop((number - 1, view), None)  # only the last pass is asked for again
            return
        asked = [each.alpha for each in predictions if each.alpha is not None]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            alphas=np.stack(asked) if asked else np.zeros((0, 1, 1), np.uint8),
            numbers=np.array([[each.alpha is not None, each.quality, each.overlap] for each in predictions]),
            statuses=np.array([each.status for each in predictions]),
        )
        write_bytes_atomic(self._path(number, view), buffer.getvalue())

    def _path(self, number: int, view: int) -> Path:
        return (self._folder or Path()) / f"pass_{number}" / f"view_{view:05d}.npz"
