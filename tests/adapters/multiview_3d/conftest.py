"""Rendered scenes, and a predictor that knows their truth."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.multiview_3d.scenes import Kind, RenderedScene, rendered_scene
from adapters.oracle import OraclePredictor


class SceneOracle(OraclePredictor):
    """Knows which view it is shown by its pixels, and answers with that view's truth."""

    def __init__(self, rendered: RenderedScene, reports_binary: bool = False) -> None:
        super().__init__(reports_binary=reports_binary)
        self.views = {view.read_image().tobytes(): i for i, view in enumerate(rendered.scene.views)}
        self.alphas = rendered.alphas
        self.asked = 0

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        super().set_image(image, image_format)
        self.expect(*self.alphas[:, self.views[image.tobytes()]])

    def predict(self, *arguments: object, **prompts: object) -> tuple[NDArray, NDArray, NDArray]:
        self.asked += 1
        return super().predict(*arguments, **prompts)  # type: ignore[arg-type]


@cache
def small_scene(kind: Kind) -> RenderedScene:
    """Six small views; the same object for all tests of a session."""
    return rendered_scene(kind, views=6, side=160, points=60_000, samples=2)


@pytest.fixture(scope="session")
def rendered() -> Callable[[Kind], RenderedScene]:
    pytest.importorskip("open3d", exc_type=ImportError)
    return small_scene


@pytest.fixture(scope="session")
def oracle() -> Callable[..., SceneOracle]:
    return SceneOracle
