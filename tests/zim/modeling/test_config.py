"""Configurations survive JSON, and impossible ones are refused by name."""

import dataclasses
import json
from typing import Any

import pytest

from zim.errors import ConfigError
from zim.modeling.config import (
    CALIBRATION_FIELDS,
    SAM_TINY,
    ZIM_TEST,
    ZIM_TINY,
    ZIM_VIT_B,
    ZIM_VIT_H,
    ZIM_VIT_L,
    TinyEncoderConfig,
    ZimConfig,
)

PRESETS = [ZIM_TINY, SAM_TINY, ZIM_VIT_B, ZIM_VIT_L, ZIM_VIT_H, ZIM_TEST]


@pytest.mark.parametrize("config", PRESETS)
def test_json_round_trip(config: ZimConfig) -> None:
    back = ZimConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert back == config and hash(back) == hash(config)


def test_to_dict_names_every_field_down_to_the_encoder() -> None:
    values = ZIM_TINY.to_dict()
    assert set(values) == {field.name for field in dataclasses.fields(ZimConfig)} - set(CALIBRATION_FIELDS)
    assert set(values["tiny_encoder"]) == {field.name for field in dataclasses.fields(TinyEncoderConfig)}
    assert values["vit"] is None


def test_from_dict_leaves_its_argument_alone() -> None:
    values = json.loads(json.dumps(ZIM_TEST.to_dict()))
    before = json.dumps(values)
    ZimConfig.from_dict(values)
    assert json.dumps(values) == before


def test_missing_keys_take_their_defaults() -> None:
    """An older checkpoint, which knows fewer switches."""
    values = ZIM_TEST.to_dict()
    del values["pixel_decoder"], values["prompt_attention"], values["mask_image_to_token"]
    assert ZimConfig.from_dict(values) == ZIM_TEST


def test_the_pair_differs_in_what_it_compares_only() -> None:
    shared = {"tiny_encoder", "img_size", "embed_dim", "transformer_mlp_dim", "dense_prompt_map"}
    assert all(getattr(ZIM_TINY, name) == getattr(SAM_TINY, name) for name in shared)
    assert (SAM_TINY.architecture, SAM_TINY.prompt_attention, SAM_TINY.pixel_decoder) == ("sam", "none", "sam")
    assert ZIM_TINY.transformer_mlp_dim == 512


@pytest.mark.parametrize("preset", [ZIM_VIT_B, ZIM_VIT_L, ZIM_VIT_H])
def test_vit_presets_can_start_from_sams_weights(preset: ZimConfig) -> None:
    assert (preset.img_size, preset.embed_dim, preset.transformer_mlp_dim) == (1024, 256, 2048)
    assert not preset.dense_prompt_map and preset.vit is not None
    assert (preset.vit.img_size, preset.vit.out_chans, preset.grid_size) == (1024, 256, 64)


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ZIM_TEST.img_size = 64  # type: ignore[misc]


def changed(**values: Any) -> dict[str, Any]:
    return {**ZIM_TEST.to_dict(), **values}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed(colour="red"), "config: .*colour"),
        (changed(tiny_encoder={"depth": 3}), "config: .*depth"),
        (changed(vit={"embed_dim": 8, "windows": 2}, tiny_encoder=None), "config: .*windows"),
        (changed(tiny_encoder=None), "config: expected exactly one of tiny_encoder and vit"),
        (changed(vit=ZIM_VIT_B.to_dict()["vit"]), "config: expected exactly one of tiny_encoder and vit"),
        (changed(img_size=100), "config.img_size: expected a positive multiple of 16, got 100"),
        (changed(img_size=0), "config.img_size: .* got 0"),
        (changed(img_size=-16), "config.img_size: .* got -16"),
        (changed(prompt_attention="soft"), "config.prompt_attention: unknown form 'soft'"),
        (changed(pixel_decoder="unet"), "config.pixel_decoder: unknown kind 'unet'"),
        (changed(mask_image_to_token="yes"), "config.mask_image_to_token: expected true or false, got 'yes'"),
        (changed(mask_image_to_token=True, prompt_attention="none"), "config.mask_image_to_token: .*'none' beside it"),
        (changed(point_sigma=0.0), "config.point_sigma: expected a positive number, got 0.0"),
        (changed(img_size="1024"), "config.*(str|'1024')"),
    ],
)
def test_impossible_configurations_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZimConfig.from_dict(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tiny_encoder", "small"),
        ("vit", [1, 2]),
        ("architecture", "unet"),
        ("point_sigma", float("nan")),
        ("img_size", 128.0),
        ("embed_dim", 0),
        ("transformer_mlp_dim", -1),
        ("pixel_widths", [8, 4]),
    ],
)
def test_more_impossible_configurations(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"config.{name}"):
        ZimConfig.from_dict(changed(**{name: value}))
