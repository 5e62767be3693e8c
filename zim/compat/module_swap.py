"""Other modules under the names of a package, for a while."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType

_set_aside: list[dict[str, ModuleType]] = []
"""What each context in force took out of `sys.modules`, outermost first."""


@contextmanager
def swapped_in(modules: Mapping[str, ModuleType], packages: Sequence[str]) -> Iterator[None]:
    """Within the context `sys.modules` holds these modules, and nothing else, for these packages.

    Args:
        modules: by full name.
        packages: top-level names.
    """
    _set_aside.append(_taken_out(packages))
    sys.modules.update(modules)
    try:
        yield
    finally:
        _taken_out(packages)
        sys.modules.update(_set_aside.pop())


@contextmanager
def swapped_back(package: str) -> Iterator[None]:
    """Within the context the package is again what it was before any `swapped_in`; what is imported stays known."""
    if not _set_aside:
        yield
        return
    real, stand_ins = _set_aside[0], _taken_out([package])
    sys.modules.update({name: real.pop(name) for name in list(real) if _is_within(name, [package])})
    try:
        yield
    finally:
        real.update(_taken_out([package]))
        sys.modules.update(stand_ins)


def _taken_out(packages: Sequence[str]) -> dict[str, ModuleType]:
    """Remove packages and their submodules from `sys.modules` -> what was there."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if _is_within(name, packages)}


def _is_within(name: str, packages: Sequence[str]) -> bool:
    return name.partition(".")[0] in packages
