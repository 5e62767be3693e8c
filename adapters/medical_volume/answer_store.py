"""What a predictor said and saw, on disk: answers to go on from after an interruption, and image embeddings."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from zim.errors import ConfigError, DataError, ZimError
from zim.files import atomic_write
from zim.protocol import Predictor

from .asking import Answers

_HALF = np.float16


class AnswerStore(Answers):
    """One small file an answer, whole or absent, in a folder bound to a model.

    A key names picture and prompt, so an answer is found again exactly when the same is asked of the same model.
    Alphas are kept as float16, within 0.0003.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder / model[:16]

    def get(self, key: str) -> NDArray[np.float32] | None:
        """See `Answers`; a damaged file counts as none."""
        path = self.folder / f"{key[:32]}.safetensors"
        if not path.is_file():
            return None
        try:
            return np.asarray(load_file(path)["alpha"], np.float32)
        except (SafetensorError, KeyError, OSError, ValueError):
            path.unlink(missing_ok=True)
            return None

    def put(self, key: str, alpha: NDArray[np.float32]) -> None:
        """See `Answers`. `alpha` is rounded in place, so that a resumed run goes on with the very same numbers."""
        rounded = alpha.astype(_HALF)
        alpha[...] = rounded
        with atomic_write(self.folder / f"{key[:32]}.safetensors") as temporary:
            save_file({"alpha": rounded}, temporary)


class EmbeddingCache:
    """Image embeddings on disk, for predictors that can save them; others are shown every picture again.

    A file belongs to one picture and one model: its name says so, and `load_embedding` checks it.

    folder: made when needed. limit_gb: the oldest files go when there is more than this.
    """

    def __init__(self, folder: Path, model: str, *, limit_gb: float = 20.0) -> None:
        if not limit_gb > 0:
            raise ConfigError(f"limit_gb: expected a number above 0, got {limit_gb!r}")
        self.folder, self.limit = folder / model[:16], int(limit_gb * 1e9)
        self.hits = self.misses = 0

    def show(self, predictor: Predictor, picture: NDArray[np.uint8]) -> None:
        """As `asking.show_directly`, from the disk where the picture was embedded before."""
        load, save = getattr(predictor, "load_embedding", None), getattr(predictor, "save_embedding", None)
        if load is None or save is None:
            predictor.set_image(picture)
            return
        path = (
            self.folder / f"{hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()}.safetensors"
        )
        if path.is_file():
            try:
                load(path, image=picture)
                path.touch()
                self.hits += 1
                return
            except ZimError:
                path.unlink(missing_ok=True)
        predictor.set_image(picture)
        self.misses += 1
        self._make_room()
        save(path)

    def _make_room(self) -> None:
        files = sorted(self.folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in files)
        while files and total > self.limit * 0.95:
            oldest = files.pop(0)
            total -= oldest.stat().st_size
            oldest.unlink(missing_ok=True)


def model_identity(predictor: Predictor, name: str) -> str:
    """A fingerprint of what answers: the weights where there are some, and the name it was asked for by.

    Raises:
        DataError: the name is empty.
    """
    if not name:
        raise DataError("predictor: expected a name, got an empty one")
    digest = hashlib.sha256(f"{name} {type(predictor).__name__}".encode())
    model: Any = getattr(predictor, "model", None)
    if isinstance(model, torch.nn.Module):
        for key, tensor in sorted(model.state_dict().items()):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
