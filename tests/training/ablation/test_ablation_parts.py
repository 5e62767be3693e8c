"""Variants differ in what they compare only; whole-object data has nothing else; spreads are standard deviations."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.ablation.budgets import BUDGETS, SMOKE
from training.ablation.data import WHOLE_ONLY, SalientScenes, WholeObjects, salient_only
from training.ablation.report import SCORES, spread_of, table_of
from training.ablation.runs import SHARED, Ingredients, build_task, start_from, training_data
from training.ablation.variants import AXES, PAPER, TITLES, Variant
from training.data.scenes import Scene, SceneObject
from training.data.segments import REGION_MIXES
from zim.checkpoints import save_checkpoint
from zim.errors import CheckpointError, ConfigError
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.image_io import save_png
from zim.modeling.zim import build_zim

SWITCHES = {"prompt_attention", "pixel_decoder", "mask_image_to_token"}


@pytest.mark.parametrize("axis", AXES)
def test_variants_differ_in_switches_or_data_only(axis: str) -> None:
    base = SMOKE.config
    seen = set()
    for variant in AXES[axis]:
        config = variant.config(base)
        differing = {f.name for f in dataclasses.fields(base) if getattr(config, f.name) != getattr(base, f.name)}
        assert differing <= SWITCHES
        seen.add((config, variant.labels))
    assert len(seen) == len(AXES[axis]) and (base, "micro") in seen and axis in TITLES
    assert all(set(rows) == {variant.name for variant in AXES[name]} for name, rows in PAPER.items())


def test_equal_variants_share_their_runs_and_others_do_not() -> None:
    everything = [variant for variants in AXES.values() for variant in variants]
    by_slug: dict[str, set[Variant]] = {}
    for variant in everything:
        by_slug.setdefault(variant.slug, set()).add(dataclasses.replace(variant, name=""))
    assert all(len(variants) == 1 for variants in by_slug.values()) and len(by_slug) == 7


def test_shared_weights_start_the_same_in_every_variant() -> None:
    states = [build_task(v.config(SMOKE.config), seed=3).model.state_dict() for v in AXES["attention_decoder"]]
    keys = [key for key in states[0] if key.startswith(SHARED)]
    assert len(keys) > 100
    for state in states[1:]:
        assert all(torch.equal(state[key], states[0][key]) for key in keys)
    other = build_task(SMOKE.config, seed=4).model.state_dict()
    assert any(not torch.equal(other[key], states[0][key]) for key in keys)


def test_the_switch_reaches_the_model() -> None:
    found = [build_task(v.config(SMOKE.config), seed=0).model.mask_decoder.transformer for v in AXES["image_to_token"]]
    assert [transformer.mask_image_to_token for transformer in found] == [False, False, True]


@pytest.mark.parametrize("architecture", ["zim", "sam"])
def test_every_variant_starts_from_weights_of_either_kind(tmp_path: Path, architecture: str) -> None:
    """The trunk's position embeddings are resized: a constant stays that constant."""
    large = dataclasses.replace(SMOKE.model.tiny_encoder, trunk_size=96)  # type: ignore[type-var]
    source = dataclasses.replace(SMOKE.model, tiny_encoder=large)
    if architecture == "sam":
        source = dataclasses.replace(source, architecture="sam", prompt_attention="none", pixel_decoder="sam")
    state = (build_zim(source) if architecture == "zim" else build_sam_tiny(source)).state_dict()
    state = {key: torch.full_like(value, 2) if key.endswith("pos_embed") else value for key, value in state.items()}
    path = tmp_path / "start.safetensors"
    save_checkpoint(path, state, config=source.to_dict())
    given = {key.replace("image_encoder.backbone.", "image_encoder."): value for key, value in state.items()}
    for variant in (AXES["attention_decoder"][0], AXES["attention_decoder"][3]):
        fresh = build_task(variant.config(SMOKE.config), seed=0).model.state_dict()
        started = build_task(variant.config(SMOKE.config), seed=0, init=path).model.state_dict()
        for key, value in started.items():
            if key.endswith("pos_embed"):
                assert value.shape == (1, 16, 16) and torch.allclose(value, torch.tensor(2.0))
            elif key.startswith(SHARED):
                assert torch.equal(value, given[key.replace("image_encoder.backbone.", "image_encoder.")])
            else:
                assert torch.equal(value, fresh[key]), "pixel decoders start anew"


def test_weights_that_lack_a_shared_part_are_refused(tmp_path: Path) -> None:
    state = build_zim(SMOKE.config).state_dict()
    del state["mask_decoder.iou_token.weight"]
    save_checkpoint(tmp_path / "a.safetensors", state, config=SMOKE.config.to_dict())
    with pytest.raises(CheckpointError, match="expected mask_decoder.iou_token.weight of shape .*, got None"):
        start_from(build_zim(SMOKE.config), tmp_path / "a.safetensors")


def test_the_salient_object_is_the_largest_whole_one() -> None:
    def thing(size: int, parent: int | None) -> SceneObject:
        alpha = np.zeros((8, 8), np.float32)
        alpha[:size, :size] = 1
        return SceneObject(alpha=alpha, kind="x", fine=False, parent=parent)

    objects = (thing(3, None), thing(8, 0), thing(5, None), thing(4, 2))
    found = salient_only(Scene(image=np.zeros((8, 8, 3), np.uint8), objects=objects))
    assert len(found.objects) == 1 and found.objects[0] is objects[2]
    assert salient_only(Scene(image=np.zeros((8, 8, 3), np.uint8), objects=objects[1:2])).objects == ()


def test_labelled_photographs_give_whole_objects_only(tmp_path: Path) -> None:
    label = np.zeros((32, 32), np.uint8)
    label[4:12, 4:20], label[14:28, 4:20] = 1, 2
    for name in ("ccp", "camvid"):
        save_png(tmp_path / name / "label" / "a.png", label)
        save_png(tmp_path / name / "image" / "a.png", np.full((32, 32, 3), 7, np.uint8))
    assert REGION_MIXES["camvid"].whole == 0, "its label is the whole street"
    pool = WholeObjects(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(8):
        photo = pool.draw(rng)
        assert photo.mix == WHOLE_ONLY
        region = photo.sample_region(rng)
        assert region is not None and np.array_equal(region, label > 0)


def test_exact_mattes_and_whole_objects_go_together(tmp_path: Path) -> None:
    save_png(tmp_path / "image" / "a.png", np.full((32, 32, 3), 7, np.uint8))
    save_png(tmp_path / "alpha" / "a.png", np.full((32, 32), 200, np.uint8))
    ingredients = Ingredients(heldout=tmp_path, mattes=(str(tmp_path),))
    stage = SMOKE.training(seed=0).stages[0]
    whole, micro = (training_data(stage, labels, ingredients, seed=0).sources for labels in ("whole", "micro"))
    assert whole.mattes is not None and len(whole.mattes) == 1 and isinstance(whole.scenes, SalientScenes)
    assert micro.mattes is None and micro.scenes is not None and not isinstance(micro.scenes, SalientScenes)
    assert (whole.scenes.first, whole.scenes.count) == (micro.scenes.first, micro.scenes.count)


def measured(value: float) -> dict[str, dict[str, dict[str, float]]]:
    numbers = {score: value for score in SCORES.values()}
    return {"box": {"fine": numbers, "coarse": numbers}, "point": {"fine": {score: 2 * value for score in numbers}}}


def test_spread_is_the_sample_standard_deviation() -> None:
    values = [4.0, 7.0, 10.5]
    runs = {seed: measured(value) for seed, value in enumerate(values)}
    spread = spread_of(runs, "box", "fine", "mse")
    assert spread is not None and spread.values == values
    assert (spread.mean, spread.spread) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    alone = spread_of({5: measured(4.0)}, "point", "fine", "sad")
    assert alone == (8.0, None, [8.0]) and str(alone) == "8.00"
    assert spread_of(runs, "point", "coarse", "mse") is None


def test_the_table_has_a_row_a_variant_and_the_papers_figures() -> None:
    names = [variant.name for variant in AXES["attention_decoder"]]
    table = table_of("attention_decoder", {names[0]: {0: measured(1.0), 1: measured(3.0)}}, "fine")
    assert [row[0] for row in table] == ["fine objects", *names]
    assert table[1][1:] == ["2", *["2.00 ± 1.41"] * 3, *["4.00 ± 2.83"] * 3, "13.623 / 2.718 / 6.516"]
    assert table[4][1:] == ["0", *["-"] * 6, "9.961 / 1.893 / 4.813"]


def test_budgets_train_and_measure_at_one_size() -> None:
    for budget in BUDGETS.values():
        tiny = budget.config.tiny_encoder
        assert budget.config.img_size == budget.side and tiny is not None and tiny.trunk_size <= budget.side
        assert budget.training(seed=5).steps == budget.steps and budget.training(seed=5).seed == 5
    with pytest.raises(ConfigError, match="side that 16 divides"):
        dataclasses.replace(SMOKE, side=100)
    with pytest.raises(ConfigError, match="heldout: expected at least 1 scene, got 0"):
        dataclasses.replace(SMOKE, heldout=0)
