"""`as_segment_anything`: programs written for SAM run on ZIM, unmodified, for as long as a context lasts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from zim.compat.cuda_on_cpu import cuda_answered_by_cpu
from zim.compat.module_swap import swapped_in
from zim.compat.notices import Notices
from zim.compat.strict import checked_model
from zim.compat.surface import PACKAGES, surface_of
from zim.modeling.zim import Zim
from zim.registry import DEFAULT_MODEL

_lock = threading.RLock()


@contextmanager
def as_segment_anything(model: str | Path | Zim = DEFAULT_MODEL) -> Iterator[ModuleType]:
    """Let `import segment_anything`, `segment_anything_hq` and `mobile_sam` mean ZIM, installed or not.

    Within the context `sam_model_registry[any key](checkpoint=anything)` builds `model`, `SamPredictor` answers
    with bool masks of SAM's shapes, and on a machine without CUDA the CPU stands in for it. A line on standard
    error says so, once for the model and once for the device. Afterwards `sys.modules` and torch are as they
    were; what the program built keeps working. It holds for the whole process, not for processes started by it.

    Args:
        model: a key of `zim_model_registry`, a checkpoint, or a model, which is then handed out itself.

    Yields:
        The module that `import segment_anything` gives.

    Raises:
        ConfigError: there is no such model.
    """
    notices = Notices()
    modules = surface_of(checked_model(model), notices)
    with _lock, swapped_in(modules, PACKAGES), cuda_answered_by_cpu(notices):
        yield modules["segment_anything"]
