"""Checkpoints: round trips, damaged and hostile files, strict loading, and SAM's weights in ZIM's parts."""

import hashlib
import json
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import zim.checkpoints
from zim.checkpoints import (
    SamInitReport,
    initialise_from_sam,
    load_into,
    load_sam_pth,
    read_checkpoint,
    save_checkpoint,
)
from zim.compat.segment_anything import import_segment_anything
from zim.errors import CheckpointError
from zim.modeling.config import ZIM_VIT_B, ZIM_VIT_H, ZIM_VIT_L, ZimConfig
from zim.modeling.image_encoder import ViTConfig, build_vit_encoder
from zim.modeling.zim import build_zim as build_real_zim

CONFIG = {"width": 8, "names": ["a", "b"], "nested": {"rate": 0.5, "nothing": None}}
GOOD_METADATA = {"format": "zim-matting", "format_version": "1", "config": "{}"}


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4, 4, generator=generator)
    return {
        "linear.weight": torch.randn(5, 7, generator=generator),
        "transposed": torch.randn(3, 6, generator=generator).t(),
        "tied.first": shared,
        "tied.second": shared,
        "view": shared[1:3],
        "expanded": torch.tensor([1.5]).expand(6),
        "count": torch.tensor(12, dtype=torch.int64),
    }


def header_of(path: Path) -> dict[str, Any]:
    """The JSON header, parsed by hand from the published layout of safetensors."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


class TestRoundTrip:
    def test_weights_config_and_metadata_return(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        save_checkpoint(path, weights(), config=CONFIG, metadata={"license": "Apache-2.0"})
        checkpoint = read_checkpoint(path)
        assert checkpoint.state_dict.keys() == weights().keys()
        for key, value in weights().items():
            assert checkpoint.state_dict[key].dtype == value.dtype
            assert torch.equal(checkpoint.state_dict[key], value)
        assert checkpoint.config == CONFIG
        assert checkpoint.metadata["license"] == "Apache-2.0"
        assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_header_names_format_and_version(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        save_checkpoint(path, weights(), config=CONFIG)
        metadata = header_of(path)["__metadata__"]
        assert json.loads(metadata.pop("config")) == CONFIG
        assert metadata == {"format": "zim-matting", "format_version": "1"}

    def test_half_precision_is_stored_small_and_read_wide(self, tmp_path: Path) -> None:
        path = tmp_path / "half.safetensors"
        save_checkpoint(path, weights(), config=CONFIG, dtype=torch.float16)
        stored = {key: entry["dtype"] for key, entry in header_of(path).items() if key != "__metadata__"}
        assert stored == {key: "I64" if key == "count" else "F16" for key in weights()}
        read = read_checkpoint(path).state_dict
        for key, value in weights().items():
            expected = value.half().float() if value.is_floating_point() else value
            assert torch.equal(read[key], expected)
            assert read[key].dtype == expected.dtype

    def test_sources_are_not_changed_or_kept(self, tmp_path: Path) -> None:
        tensors = weights()
        save_checkpoint(tmp_path / "model.safetensors", tensors, config={}, dtype=torch.bfloat16)
        assert all(torch.equal(tensors[key], value) for key, value in weights().items())

    def test_a_header_that_begins_like_a_pickle_is_read(self, tmp_path: Path) -> None:
        # The file starts with the header's length; a low byte of 0x80 is also how a pickle starts.
        for padding in range(300):
            path = tmp_path / "model.safetensors"
            save_checkpoint(path, weights(), config=CONFIG, metadata={"note": "x" * padding})
            if path.read_bytes()[0] == 0x80:
                break
        else:
            pytest.fail("no padding gave such a header")
        assert read_checkpoint(path).config == CONFIG


class TestSaveRefuses:
    def refuses(self, tmp_path: Path, message: str, **changed: Any) -> None:
        path = tmp_path / "model.safetensors"
        arguments: dict[str, Any] = {"state_dict": weights(), "config": CONFIG} | changed
        with pytest.raises(CheckpointError, match=message):
            save_checkpoint(path, arguments.pop("state_dict"), **arguments)
        assert list(tmp_path.iterdir()) == []

    def test_overflow_in_half_precision(self, tmp_path: Path) -> None:
        large = {"fine": torch.tensor([1.0]), "large": torch.tensor([1.0, 70_000.0])}
        self.refuses(
            tmp_path, "large: expected values within the range", state_dict=large, dtype=torch.float16
        )

    def test_infinities_that_were_there_before_are_no_overflow(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        save_checkpoint(path, {"bias": torch.tensor([float("-inf"), 1.0])}, config={}, dtype=torch.float16)
        assert read_checkpoint(path).state_dict["bias"].tolist() == [float("-inf"), 1.0]

    @pytest.mark.parametrize("config", [{"path": Path("x")}, {"rate": float("nan")}])
    def test_config_beyond_json(self, tmp_path: Path, config: dict[str, Any]) -> None:
        self.refuses(tmp_path, "config: expected what JSON can carry", config=config)

    @pytest.mark.parametrize("metadata", [{"config": "{}"}, {"count": 3}])
    def test_reserved_or_foreign_metadata(self, tmp_path: Path, metadata: dict[str, Any]) -> None:
        self.refuses(tmp_path, "metadata: expected string values", metadata=metadata)

    def test_values_that_are_no_tensors(self, tmp_path: Path) -> None:
        self.refuses(tmp_path, "state_dict: expected tensors .*'step': int", state_dict={"step": 3})

    def test_an_integer_dtype(self, tmp_path: Path) -> None:
        self.refuses(
            tmp_path, "dtype: expected a floating dtype or None, received torch.int8", dtype=torch.int8
        )

    def test_a_failing_write_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "model.safetensors"
        save_checkpoint(path, weights(), config={"version": "old"})
        before = path.read_bytes()

        def half_a_write(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
            Path(file).write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(zim.checkpoints, "save_file", half_a_write)
        with pytest.raises(OSError, match="disk full"):
            save_checkpoint(path, weights(), config={"version": "new"})
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


class TestReadRefuses:
    def refuses(self, path: Path, message: str) -> None:
        with pytest.raises(CheckpointError, match=message) as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, RuntimeError)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        self.refuses(tmp_path / "absent.safetensors", "received nothing there")
        self.refuses(tmp_path, "received a folder")

    @pytest.mark.parametrize(
        "damage", [lambda d: d[:-10], lambda d: d[:40], lambda d: d[:5], lambda d: d + b"tail"]
    )
    def test_damaged_files(self, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
        path = tmp_path / "model.safetensors"
        save_checkpoint(path, weights(), config=CONFIG)
        path.write_bytes(damage(path.read_bytes()))
        self.refuses(path, "truncated, damaged or foreign")

    def test_empty_and_foreign_files(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"")
        self.refuses(path, "received an empty file")
        path.write_bytes(b"\xff\xd8\xff\xe0 this is a photograph, not a model" * 4)
        self.refuses(path, "truncated, damaged or foreign")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_pickle_is_sent_to_the_sam_loader(self, tmp_path: Path, zipped: bool) -> None:
        path = tmp_path / "sam.pth"
        torch.save(weights(), path, _use_new_zipfile_serialization=zipped)
        self.refuses(path, "PyTorch pickle .*load_sam_pth")

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"config": None}, r"expected a config in the metadata, received \['format', 'format_version'\]"),
            (
                {"format_version": "2"},
                "expected format 'zim-matting' version '1', received 'zim-matting' version '2'",
            ),
            ({"format": "pt"}, "expected format 'zim-matting' .*received 'pt' version '1'"),
            ({"config": "{oops"}, "expected JSON as config, received '{oops'"),
            ({"config": "[1]"}, "expected a JSON object as config, received list"),
        ],
    )
    def test_other_metadata(self, tmp_path: Path, changed: dict[str, str | None], message: str) -> None:
        metadata = {key: text for key, text in (GOOD_METADATA | changed).items() if text is not None}
        save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata=metadata)
        self.refuses(tmp_path / "other.safetensors", message)

    def test_no_metadata_at_all(self, tmp_path: Path) -> None:
        save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
        self.refuses(tmp_path / "bare.safetensors", "expected a config")


class TestLoadInto:
    def module(self) -> nn.Module:
        return nn.ModuleDict({"kept": nn.Linear(3, 2), "head": nn.Linear(2, 1)})

    def test_copies_everything_and_says_so(self) -> None:
        source, target = self.module(), self.module()
        report = load_into(target, source.state_dict())
        assert set(report.loaded) == {"kept.weight", "kept.bias", "head.weight", "head.bias"}
        assert report.missing == report.unexpected == ()
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())

    def test_named_patterns_may_be_missing_or_left_over(self) -> None:
        state = {
            f"kept.{name}": torch.full(shape, 7.0) for name, shape in (("weight", (2, 3)), ("bias", (2,)))
        }
        state["old.counter"] = torch.zeros(1)
        target = self.module()
        head = target.state_dict()["head.weight"].clone()
        report = load_into(
            target, state, tolerated_missing=("head.*",), tolerated_unexpected=("old.count?r",)
        )
        assert report.loaded == ("kept.weight", "kept.bias")
        assert report.missing == ("head.weight", "head.bias")
        assert report.unexpected == ("old.counter",)
        assert (target.state_dict()["kept.weight"] == 7).all()
        assert torch.equal(target.state_dict()["head.weight"], head)

    def test_disagreements_are_listed_and_nothing_is_loaded(self) -> None:
        target = self.module()
        before = {key: value.clone() for key, value in target.state_dict().items()}
        state = {"kept.weight": torch.zeros(2, 4), "kept.bias": torch.zeros(2), "stray": torch.zeros(1)}
        with pytest.raises(CheckpointError) as caught:
            load_into(target, state, tolerated_missing=("head.weight",))
        assert str(caught.value) == (
            "state_dict does not fit the model; missing keys: head.bias; unexpected keys: stray; "
            "other shapes: kept.weight (expected (2, 3), received (2, 4))"
        )
        assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())

    def test_long_lists_are_cut_at_eight(self) -> None:
        state = self.module().state_dict() | {f"extra{i}": torch.zeros(1) for i in range(11)}
        with pytest.raises(CheckpointError, match="extra0, .*extra7 and 3 more$") as caught:
            load_into(self.module(), state)
        assert "extra8" not in str(caught.value)


class Evil:
    """Unpickling it creates the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.marker), "w"))


class TestSamPth:
    @pytest.mark.parametrize(
        "wrap", [dict, OrderedDict, lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}]
    )
    def test_plain_and_wrapped_state_dicts(self, tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
        path = tmp_path / "sam.pth"
        torch.save(wrap(weights()), path)
        loaded = load_sam_pth(path)
        assert loaded.keys() == weights().keys()
        assert all(torch.equal(loaded[key], value) for key, value in weights().items())

    def test_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        marker, path = tmp_path / "marker", tmp_path / "evil.pth"
        savers: list[Callable[[], Any]] = [
            lambda: torch.save({"weight": torch.zeros(1), "payload": Evil(marker)}, path),
            lambda: torch.save({"model": Evil(marker)}, path, _use_new_zipfile_serialization=False),
            lambda: path.write_bytes(pickle.dumps(Evil(marker), protocol=2)),
        ]
        for save in savers:
            save()
            with pytest.raises(CheckpointError, match="evil.pth: expected tensors only.*not executed"):
                load_sam_pth(path)
            assert not marker.exists()

    def test_the_payload_would_have_run(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Evil(tmp_path / "marker"))).close()
        assert (tmp_path / "marker").exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                {"weight": torch.zeros(1), "step": 3},
                "expected tensors under string keys, received 'step': int",
            ),
            ({0: torch.zeros(1)}, "expected tensors under string keys, received 0: Tensor"),
            ([torch.zeros(1)], "expected a state dict with tensors, received list"),
            (torch.zeros(2), "expected a state dict with tensors, received Tensor"),
            ({}, "expected a state dict with tensors, received an empty dict"),
        ],
    )
    def test_other_content_is_refused(self, tmp_path: Path, content: Any, message: str) -> None:
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match=message):
            load_sam_pth(tmp_path / "other.pth")

    def test_damaged_files_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "sam.pth"
        torch.save(weights(), path)
        data = path.read_bytes()
        for damaged in (data[: len(data) // 2], data[:20], b"not a model at all", b"\x80\x02"):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"sam\.pth: expected"):
                load_sam_pth(path)
        path.write_bytes(b"")
        with pytest.raises(CheckpointError, match="empty file"):
            load_sam_pth(path)


TINY = ViTConfig(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=64, out_chans=32)


def build_sam() -> nn.Module:
    """The real Sam with small random parts and no parameter at zero."""
    modeling = import_segment_anything().modeling
    sam = modeling.Sam(
        modeling.ImageEncoderViT(
            img_size=64, embed_dim=16, depth=1, num_heads=2, out_chans=32, use_rel_pos=True, window_size=14,
            global_attn_indexes=(0,), norm_layer=partial(nn.LayerNorm, eps=1e-6),
        ),
        modeling.PromptEncoder(32, (4, 4), (64, 64), 8),
        modeling.MaskDecoder(
            transformer_dim=32,
            transformer=modeling.TwoWayTransformer(depth=1, embedding_dim=32, mlp_dim=16, num_heads=2),
        ),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return sam


def build_zim() -> nn.Module:
    """The parts and names of a ZIM model, made of SAM's parts where the two share them."""
    sam = build_sam()
    zim_model = nn.Module()
    zim_model.image_encoder = nn.Module()
    zim_model.image_encoder.backbone = build_vit_encoder(TINY)
    zim_model.image_encoder.detail_stem = nn.Conv2d(3, 4, 3)
    zim_model.prompt_encoder = sam.prompt_encoder
    zim_model.prompt_encoder.dense_prompt_map = nn.Conv2d(7, 32, 1)
    zim_model.mask_decoder = sam.mask_decoder
    del zim_model.mask_decoder.output_upscaling
    zim_model.mask_decoder.pixel_decoder = nn.Conv2d(32, 6, 1)
    for mlp in zim_model.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1] = nn.Linear(32, 6)
    with torch.no_grad():
        for tensor in zim_model.state_dict().values():
            tensor.fill_(-3)
    return zim_model


class TestInitialiseFromSam:
    def initialised(self, tmp_path: Path) -> tuple[nn.Module, dict[str, Tensor], SamInitReport]:
        torch.save(build_sam().state_dict(), tmp_path / "sam.pth")
        state = load_sam_pth(tmp_path / "sam.pth")
        target = build_zim()
        return target, state, initialise_from_sam(target, state)

    def test_shared_parts_equal_sam_and_the_rest_is_untouched(self, tmp_path: Path) -> None:
        target, state, report = self.initialised(tmp_path)
        own = target.state_dict()
        for key in report.initialised:
            assert torch.equal(own[key], state[key.replace("image_encoder.backbone.", "image_encoder.")])
        assert all((own[key] == -3).all() for key in report.not_initialised)
        assert set(report.initialised) | set(report.not_initialised) == set(own)
        assert not set(report.initialised) & set(report.not_initialised)

    def test_report_names_what_was_left_out(self, tmp_path: Path) -> None:
        _, state, report = self.initialised(tmp_path)
        last_layers = {
            f"mask_decoder.output_hypernetworks_mlps.{i}.layers.2.{name}"
            for i in range(4)
            for name in ("weight", "bias")
        }
        own_parts = (
            "image_encoder.detail_stem",
            "prompt_encoder.dense_prompt_map",
            "mask_decoder.pixel_decoder",
        )
        assert set(report.not_initialised) == last_layers | {
            f"{part}.{name}" for part in own_parts for name in ("weight", "bias")
        }
        assert set(report.ignored) == {
            key for key in state if key.startswith("mask_decoder.output_upscaling.")
        }
        assert len(report.ignored) == 6

    def test_summary_counts_by_part(self) -> None:
        initialised = ("image_encoder.backbone.a", "image_encoder.backbone.b", "mask_decoder.c.w")
        report = SamInitReport(initialised, ("x.y",), ())
        assert report.summary().splitlines() == [
            "initialised from SAM: 3 tensors (image_encoder.backbone 2, mask_decoder.c 1)",
            "not initialised: 1 tensors (x.y 1)",
            "ignored in the SAM checkpoint: 0 tensors",
        ]

    def test_loaded_encoder_computes_what_sams_does(self, tmp_path: Path) -> None:
        target, _, _ = self.initialised(tmp_path)
        x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(9))
        with torch.inference_mode():
            assert torch.allclose(target.image_encoder.backbone(x), build_sam().image_encoder(x), atol=1e-4)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (
                lambda s: s.pop("mask_decoder.iou_token.weight"),
                "missing keys: mask_decoder.iou_token.weight$",
            ),
            (lambda s: s.pop("image_encoder.pos_embed"), "missing keys: image_encoder.backbone.pos_embed$"),
            (lambda s: s.update({"mask_decoder.new_token": torch.zeros(1)}), "unexpected keys: .*new_token$"),
            (
                lambda s: s.update({"image_encoder.pos_embed": torch.zeros(1, 8, 8, 16)}),
                r"other shapes: .*pos_embed \(expected \(1, 4, 4, 16\), received \(1, 8, 8, 16\)\)$",
            ),
        ],
    )
    def test_anything_else_is_refused_and_nothing_is_copied(
        self, damage: Callable[[dict[str, Tensor]], Any], message: str
    ) -> None:
        state = build_sam().state_dict()
        damage(state)
        target = build_zim()
        with pytest.raises(
            CheckpointError, match="the SAM checkpoint does not fit this ZIM model; " + message
        ):
            initialise_from_sam(target, state)
        assert all((tensor == -3).all() for tensor in target.state_dict().values())

    def test_normalisation_constants_are_ignored(self) -> None:
        state = build_sam().state_dict() | {
            "pixel_mean": torch.zeros(3, 1, 1),
            "pixel_std": torch.ones(3, 1, 1),
        }
        report = initialise_from_sam(build_zim(), state)
        assert {"pixel_mean", "pixel_std"} <= set(report.ignored)

    def test_sams_own_upscaling_is_taken_where_the_model_has_it(self) -> None:
        target = build_zim()
        target.mask_decoder.output_upscaling = build_sam().mask_decoder.output_upscaling
        report = initialise_from_sam(target, build_sam().state_dict())
        assert report.ignored == ()
        assert sum("output_upscaling" in key for key in report.initialised) == 6

    @pytest.mark.parametrize(
        ("name", "config"), [("vit_b", ZIM_VIT_B), ("vit_l", ZIM_VIT_L), ("vit_h", ZIM_VIT_H)]
    )
    def test_full_size_models_take_everything_but_the_new_parts(self, name: str, config: ZimConfig) -> None:
        with torch.device("meta"):
            state = import_segment_anything().sam_model_registry[name]().state_dict()
            report = initialise_from_sam(build_real_zim(config), state)
        taken = {key.replace("image_encoder.backbone.", "image_encoder.") for key in report.initialised}
        left = set(state) - taken
        last = {f"mask_decoder.output_hypernetworks_mlps.{i}.layers.2" for i in range(4)}
        assert {key.rpartition(".")[0] for key in left if "output_upscaling" not in key} <= last
        assert set(report.ignored) == {key for key in left if "output_upscaling" in key}
