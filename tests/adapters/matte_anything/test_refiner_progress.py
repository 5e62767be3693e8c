"""Refiners that tell how far they are: the same answer, a share that grows to 1, and an end on demand."""

from typing import Any

import numpy as np
import pytest

from adapters.matte_anything import ClosedFormRefiner, MatteTrimap, Tiling, VitMatteRefiner, watched
from adapters.matte_anything.refiners import keep_alpha


def blob(hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo of a soft disc, its trimap, and its alpha."""
    rows, columns = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    alpha = np.clip(0.5 + (0.3 * min(hw) - np.hypot(rows - hw[0] / 2, columns - hw[1] / 2)) / 20, 0, 1)
    image = (255 * np.stack([alpha, 0.5 + 0 * alpha, 1 - alpha], -1)).astype(np.uint8)
    return image, MatteTrimap(band_share=0.1)(alpha.astype(np.float32)), alpha.astype(np.float32)


@pytest.mark.parametrize("tiling", [Tiling(side=1024, overlap=128), Tiling(side=96, overlap=32)])
def test_closed_form_tells_and_answers_the_same(tiling: Tiling) -> None:
    pytest.importorskip("pymatting")
    given = blob((200, 240))
    refiner = ClosedFormRefiner(tiling=tiling)
    shares: list[float] = []
    assert np.array_equal(watched(refiner, shares.append)(*given), refiner(*given))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert (shares[-1] == 1) == (tiling.side < 200)
    assert len(set(shares)) >= (3 if tiling.side < 200 else 1)


def test_closed_form_ends_on_demand() -> None:
    pytest.importorskip("pymatting")

    def stop(share: float) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        watched(ClosedFormRefiner(), stop)(*blob((120, 120)))


class Halves:
    """Stands in for a ViTMatte: half everywhere."""

    alphas: Any

    def to(self, device: Any) -> "Halves":
        return self

    def eval(self) -> "Halves":
        return self

    def __call__(self, pixel_values: Any) -> "Halves":
        self.alphas = pixel_values[:, :1] * 0 + 0.5
        return self


def test_vitmatte_tells_each_tile_and_only_whom_it_was_asked_to() -> None:
    import torch

    def processor(images: np.ndarray, **_: Any) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.zeros(1, 4, *images.shape[:2])}

    given = blob((150, 200))
    refiner = VitMatteRefiner(Halves(), processor, tiling=Tiling(side=96, overlap=32))
    shares: list[float] = []
    refined = watched(refiner, shares.append)(*given)
    assert shares == sorted(set(shares))
    assert len(shares) > 2
    assert shares[-1] == 1
    told = len(shares)
    assert np.array_equal(refiner(*given), refined)
    assert len(shares) == told


def test_a_refiner_that_cannot_tell_stays_itself() -> None:
    assert watched(keep_alpha, lambda share: None) is keep_alpha
