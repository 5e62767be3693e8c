"""Real inpainting pipelines of diffusers, tiny and random, saved and loaded through the engine."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adapters.inpaint_anything.engines import InpaintingEngine, load_engine
from adapters.inpaint_anything.engines import diffusion as diffusion_module
from adapters.inpaint_anything.engines.diffusion import (
    MODELS,
    DiffusionEngine,
    DiffusionSettings,
    load_diffusion_engine,
)
from adapters.inpaint_anything.inpainting import PaintSettings, fill, remove, replace
from zim.errors import CheckpointError, ConfigError, DataError

# Within diffusers and transformers, with the versions that constraints.txt pins.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

TINY = DiffusionSettings(steps=2, side=64)


@pytest.fixture(scope="session", params=["sd15", "sdxl"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, builders) -> tuple[str, Path]:  # type: ignore[no-untyped-def]
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("pipelines") / request.param
    builders[request.param](folder)
    return request.param, folder


@pytest.fixture
def engine(saved: tuple[str, Path]) -> InpaintingEngine:
    return load_engine(str(saved[1]), device="cpu", settings=TINY)


def test_the_folder_says_what_it_is(saved: tuple[str, Path], engine: InpaintingEngine) -> None:
    assert engine.name == saved[0] and engine.follows_text and isinstance(engine, InpaintingEngine)
    again = load_diffusion_engine(saved[0], source=saved[1], device="cpu")
    assert again._pipeline is engine._pipeline  # type: ignore[attr-defined]  # from the cache
    assert type(again._pipeline).__name__ == MODELS[saved[0]].pipeline


def test_fill_end_to_end(engine: InpaintingEngine, disc) -> None:  # type: ignore[no-untyped-def]
    """The pipeline really paints, twice the same for a seed, and not one byte outside the region changes."""
    results = [
        fill(disc.image, disc.alpha, engine, prompt, settings=PaintSettings(seed=seed))
        for prompt, seed in (("a ball", 1), ("a ball", 1), ("a ball", 2), ("zoo", 1))
    ]
    first = results[0]
    np.testing.assert_array_equal(first.image, results[1].image)
    for other in results[2:]:
        assert (other.image[first.mask] != first.image[first.mask]).mean() > 0.3
    np.testing.assert_array_equal(first.image[~first.changed], disc.image[~first.changed])
    assert (first.image[first.mask] != disc.image[first.mask]).any(1).mean() > 0.9


def test_remove_and_replace_end_to_end(engine: InpaintingEngine, disc) -> None:  # type: ignore[no-untyped-def]
    removed = remove(disc.image, disc.alpha, engine)
    np.testing.assert_array_equal(removed.image[~removed.changed], disc.image[~removed.changed])
    replaced = replace(disc.image, disc.alpha, engine=engine, prompt="sea")
    np.testing.assert_array_equal(replaced.image[~replaced.changed], disc.image[~replaced.changed])
    assert (replaced.image[disc.alpha == 0] != disc.image[disc.alpha == 0]).any(1).mean() > 0.9


@pytest.mark.parametrize("hw", [(5, 9), (64, 64), (50, 301)])
def test_any_size(engine: InpaintingEngine, hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    alpha = np.zeros(hw, np.float32)
    alpha[1:4, 2:6] = 1
    done = fill(image, alpha, engine, "a ball")
    assert done.image.shape == image.shape
    np.testing.assert_array_equal(done.image[~done.changed], image[~done.changed])
    hole = np.zeros(hw, bool)
    hole[2, 3] = True
    assert engine.inpaint(image, hole, prompt="a ball").shape == image.shape


def test_settings_reach_the_pipeline(saved: tuple[str, Path], disc) -> None:  # type: ignore[no-untyped-def]
    hole = disc.alpha > 0
    plain = load_engine(str(saved[1]), device="cpu", settings=TINY).inpaint(disc.image, hole, prompt="a")
    for change in ({"guidance": 1.0}, {"steps": 3}, {"strength": 0.5}, {"negative_prompt": "q q q"}):
        settings = DiffusionSettings(**{"steps": 2, "side": 64, **change})
        other = load_engine(str(saved[1]), device="cpu", settings=settings).inpaint(disc.image, hole, prompt="a")
        assert (other[hole] != plain[hole]).mean() > 0.02, change


def test_slices_and_tiles_paint_the_same(saved: tuple[str, Path], engine: InpaintingEngine, disc) -> None:  # type: ignore[no-untyped-def]
    sliced = load_engine(str(saved[1]), device="cpu", settings=TINY, memory="slicing")
    hole = disc.alpha > 0
    small, small_hole = disc.image[:64, :64].copy(), hole[:64, :64].copy()
    one, other = (e.inpaint(small, small_hole, prompt="a").astype(int) for e in (engine, sliced))
    assert np.abs(one - other).max() <= 2


def test_half_precision(saved: tuple[str, Path]) -> None:
    loaded = load_engine(str(saved[1]), device="cpu", settings=TINY, dtype="bfloat16")
    assert loaded._pipeline.unet.dtype == torch.bfloat16  # type: ignore[attr-defined]


def test_pipelines_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of cv2, cv2-ns, lama, sd15, sdxl, flux-fill or a pipeline"):
        load_engine("sd99")
    with pytest.raises(ConfigError, match="model_index.json"):
        load_engine(str(tmp_path))
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="expected a pipeline that inpaints.*got 'StableDiffusionPipeline'"):
        load_engine(str(tmp_path))
    index.write_text("[", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot read it"):
        load_engine(str(tmp_path))
    index.write_text(json.dumps({"_class_name": "StableDiffusionInpaintPipeline"}), encoding="utf-8")
    pytest.importorskip("diffusers")
    with pytest.raises(CheckpointError, match="expected a StableDiffusionInpaintPipeline with safetensors weights"):
        load_engine(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_diffusion_engine("sd15", dtype="float8"), "dtype: expected one of"),
        (lambda: load_diffusion_engine("sd15", memory="disk"), "memory: expected one of"),  # type: ignore[arg-type]
        (lambda: load_diffusion_engine("sd15", memory="offload", device="cpu"), "memory: offload moves parts"),
        (lambda: DiffusionSettings(steps=0), "steps: expected"),
        (lambda: DiffusionSettings(strength=0), "strength: expected"),
        (lambda: DiffusionSettings(guidance=float("nan")), "guidance: expected"),
        (lambda: DiffusionSettings(side=10), "side: expected"),
    ],
)
def test_impossible_settings(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_refused_picture_is_no_result() -> None:
    class Refused:
        images: tuple = ()
        nsfw_content_detected = (True,)

    engine = DiffusionEngine(lambda **_: Refused(), "sd15", TINY)
    with pytest.raises(DataError, match="safety checker refused"):
        engine.inpaint(np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), bool))


def test_each_model_is_asked_for_what_it_knows() -> None:
    asked = {}

    class Answer:
        def __init__(self, image: object) -> None:
            self.images = [image]

    def pipeline(**arguments: object) -> Answer:
        asked.update(arguments)
        return Answer(arguments["image"])

    engine = DiffusionEngine(pipeline, "flux-fill", DiffusionSettings(negative_prompt="people", strength=0.01))
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    np.testing.assert_array_equal(engine.inpaint(image, np.ones((70, 90), bool), prompt="a", seed=5), image)
    assert (asked["height"], asked["width"]) == (80, 96) and "negative_prompt" not in asked
    assert asked["guidance_scale"] == 30 and asked["num_inference_steps"] == 100  # at least one step is run
    drawn = torch.randn(3, generator=asked["generator"])  # type: ignore[call-overload]
    assert torch.equal(drawn, torch.randn(3, generator=torch.Generator().manual_seed(5)))


def test_without_diffusers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    from zim.errors import MissingDependencyError

    diffusion_module._pipeline.cache_clear()
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'zim-matting\[inpaint\]'"):
        load_diffusion_engine("sd15", source=tmp_path, device="cpu")


def test_flux_fill_end_to_end(flux_folder: Path, disc) -> None:  # type: ignore[no-untyped-def]
    engine = load_engine(str(flux_folder), device="cpu", settings=TINY)
    assert engine.name == "flux-fill"
    one, two, other = (
        fill(disc.image, disc.alpha, engine, "a ball", settings=PaintSettings(seed=seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.image, two.image)
    assert (one.image[one.mask] != other.image[one.mask]).mean() > 0.2
    np.testing.assert_array_equal(one.image[~one.changed], disc.image[~one.changed])
