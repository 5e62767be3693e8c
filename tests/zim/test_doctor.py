"""`zim doctor` and `zim models` on installations whose state is known."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import zim.doctor
import zim.model_table
import zim.registry
from zim.cli import app
from zim.doctor import Finding, finding_of, format_findings, healthy, inspect_installation
from zim.modeling.zim import build_zim
from zim.registry import MODEL_CONFIGS

WEIGHTS = b"stand-in for weights"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with one listed file."""
    entry = {
        "file": "zim_tiny.safetensors",
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "license": "research-only (data)",
        "parameters": 5_240_000,
    }
    (tmp_path / "registry.json").write_text(json.dumps({"zim_tiny": entry}))
    (tmp_path / "zim_tiny.safetensors").write_bytes(WEIGHTS)
    for module in (zim.registry, zim.model_table):
        monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    return tmp_path / "zim_tiny.safetensors"


def test_doctor_is_content_with_matching_weights(weights: Path) -> None:
    findings = inspect_installation()
    assert healthy(findings)
    assert finding_of("numpy", findings).detail == np.__version__
    assert "matches, licence research-only (data)" in finding_of("weights zim_tiny", findings).detail
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""


def test_doctor_fails_on_altered_or_missing_weights(weights: Path) -> None:
    weights.write_bytes(WEIGHTS[:-1])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "damaged or altered" in finding_of("weights zim_tiny", inspect_installation()).detail
    weights.unlink()
    assert finding_of("weights zim_tiny", inspect_installation()).status == "broken"
    (weights.parent / "registry.json").write_text("[")
    assert finding_of("weights", inspect_installation()).status == "broken"


def test_doctor_goes_on_after_broken_libraries(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('operator does not\\n exist')")
    monkeypatch.syspath_prepend(tmp_path)
    required = {**zim.doctor.REQUIRED, "breaks_on_import": "x", "is_not_there": "not-there"}
    monkeypatch.setattr(zim.doctor, "REQUIRED", required)
    findings = inspect_installation()
    broken, absent = finding_of("breaks_on_import", findings), finding_of("is_not_there", findings)
    assert (broken.status, broken.detail) == ("broken", "RuntimeError: operator does not exist")
    assert absent.status == "absent"
    assert "pip install not-there" in absent.detail
    assert not healthy(findings)
    assert finding_of("threads", findings).status == "ok"


def test_doctor_only_looks_for_optional_libraries(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "optional_and_broken.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(zim.doctor, "OPTIONAL", {"toys": ("optional_and_broken", "is_not_there")})
    findings = inspect_installation()
    toys = finding_of("extra toys", findings)
    assert toys.status == "absent"
    assert "without is_not_there: pip install 'zim-matting[toys]'" in toys.detail
    assert "optional_and_broken" not in sys.modules
    assert healthy(findings)


def test_models_table_tells_size_place_licence_and_hash(weights: Path) -> None:
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert {*MODEL_CONFIGS, "sam_tiny", "grabcut", "grabcut+cf", "name"} == set(lines)
    expected = ("5.24 M", str(weights), "research-only (data)", hashlib.sha256(WEIGHTS).hexdigest()[:12])
    positions = [lines["zim_tiny"].index(text) for text in expected]
    assert positions == [
        lines["name"].index(title) for title in ("parameters", "weights", "licence", "sha256")
    ]


def test_parameters_are_counted_without_memory_and_right() -> None:
    real = build_zim(MODEL_CONFIGS["zim_tiny"])
    assert zim.model_table.parameter_count("zim_tiny") == sum(p.numel() for p in real.parameters())


def test_lines_start_with_the_status_and_align() -> None:
    lines = format_findings([Finding("torch", "ok", "2.13.0"), Finding("extra onnx", "absent", "pip install it")])
    assert lines == "ok      torch       2.13.0\nabsent  extra onnx  pip install it"
