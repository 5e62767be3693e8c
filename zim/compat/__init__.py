"""Bridges to SAM's own library and to code written for it.

`zim.compat.as_segment_anything()` runs such code on ZIM; it is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zim.compat.context import as_segment_anything

__all__ = ["as_segment_anything"]


def __getattr__(name: str) -> Any:
    if name != "as_segment_anything":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zim.compat.context import as_segment_anything

    globals()[name] = as_segment_anything
    return as_segment_anything
