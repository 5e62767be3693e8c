"""The five ways from a predictor's alpha to the final one."""

from typing import NamedTuple

from zim.errors import ConfigError

from .closed_form import ClosedFormRefiner
from .refiners import Refiner, RefinerName, keep_alpha
from .trimap import KernelTrimap, MatteTrimap, TrimapRule


class Mode(NamedTuple):
    """trimap: how the trimap is made. refiner: who answers for its unknown pixels.

    keeps_prior: whether closed-form matting still hears the predictor's alpha; Matte-Anything only keeps the trimap.
    """

    trimap: TrimapRule
    refiner: RefinerName
    keeps_prior: bool = False


MODES: dict[str, Mode] = {
    "zim": Mode(MatteTrimap(), "none"),
    "zim+vitmatte": Mode(MatteTrimap(), "vitmatte"),
    "zim+pymatting": Mode(MatteTrimap(), "pymatting", keeps_prior=True),
    "sam+vitmatte": Mode(KernelTrimap(), "vitmatte"),
    "sam+pymatting": Mode(KernelTrimap(), "pymatting"),
}
"""Names as Matte-Anything's users say them: `zim` and `sam` tell how the trimap is made; any predictor runs in each."""


def mode_of(name: str) -> Mode:
    """The mode of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in MODES:
        raise ConfigError(f"mode: expected one of {', '.join(MODES)}, got {name!r}")
    return MODES[name]


def refiner_of(mode: Mode, vitmatte: Refiner | None = None) -> Refiner:
    """The refiner that a mode asks for.

    Args:
        mode: one of MODES, or your own.
        vitmatte: needed where the mode asks for it.

    Raises:
        ConfigError: it is needed and not given.
    """
    if mode.refiner == "none":
        return keep_alpha
    if mode.refiner == "pymatting":
        return ClosedFormRefiner() if mode.keeps_prior else ClosedFormRefiner(prior_weight=0)
    if vitmatte is None:
        raise ConfigError("vitmatte: expected a refiner (`load_vitmatte`) for this mode, got none")
    return vitmatte
