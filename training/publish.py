"""Put trained weights into the package: `python -m training.publish zim_tiny=runs/zim/model.safetensors ...`."""

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from torch import nn

from zim.checkpoints import read_checkpoint
from zim.errors import ConfigError, ZimError
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.files import atomic_write, write_json_atomic
from zim.hq_checkpoints import HQ_SHIPPED
from zim.modeling.config import ZimConfig
from zim.modeling.hq_head import HqHeadConfig, build_hq_head
from zim.modeling.zim import build_zim

from .label_converter.builders import build_matting
from .label_converter.config import ARCHITECTURE, ConverterConfig
from .label_converter.shipped import CONVERTERS, FOLDER

ARCHITECTURES = {
    "zim_tiny": "zim",
    "zim_tiny_medical": "zim",
    "sam_tiny": "sam",
    **{name: name.removesuffix("_tiny") for name in HQ_SHIPPED},
    **dict.fromkeys(CONVERTERS, ARCHITECTURE),
}
FOLDERS = dict.fromkeys(CONVERTERS, FOLDER)
"""Models that do not lie with the package's other weights."""

PACKAGE_WEIGHTS = Path(__file__).parent.parent / "zim" / "weights"
MAX_BYTES = 12_000_000
MAX_PARAMETERS = 6_000_000


def describe(name: str, path: Path) -> dict[str, str | int]:
    """What the registry says of a weights file, once it fits its model and the limits of what is shipped.

    Raises:
        ConfigError: another architecture than the name promises, too many parameters or too large a file.
        CheckpointError: the file cannot be read.
    """
    checkpoint = read_checkpoint(path)
    architecture = checkpoint.config.get("architecture")
    if name not in ARCHITECTURES or architecture != ARCHITECTURES[name]:
        raise ConfigError(f"{name}: expected one of {ARCHITECTURES}, got architecture {architecture!r}")
    model = _built(checkpoint.config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = path.stat().st_size
    if parameters > MAX_PARAMETERS or size > MAX_BYTES:
        raise ConfigError(
            f"{name}: expected at most {MAX_PARAMETERS} parameters and {MAX_BYTES} bytes, got {parameters} and {size}"
        )
    return {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "license": checkpoint.metadata.get("license", "unknown"),
        "parameters": parameters,
    }


def _built(config: dict[str, Any]) -> nn.Module:
    """The model of a checkpoint's configuration, with random weights."""
    if config["architecture"] == ARCHITECTURE:
        return build_matting(ConverterConfig.from_dict(config))
    if config["architecture"] in ("hq_sam", "hq_zim"):
        return build_hq_head(HqHeadConfig.from_dict(config["head"]))
    builder = build_zim if config["architecture"] == "zim" else build_sam_tiny
    return builder(ZimConfig.from_dict(config))


def publish(weights: dict[str, Path], folder: Path | None = None) -> None:
    """Copy weights to where each belongs, or into `folder`, and enter them in the registry.json there.

    Other entries stay.
    """
    entries = {name: describe(name, path) for name, path in weights.items()}
    for name, path in weights.items():
        place = folder or FOLDERS.get(name, PACKAGE_WEIGHTS)
        registry_path = place / "registry.json"
        registry = json.loads(registry_path.read_text(encoding="utf-8")) if registry_path.exists() else {}
        with atomic_write(place / f"{name}.safetensors") as temporary:
            shutil.copyfile(path, temporary)
        write_json_atomic(registry_path, {**registry, name: entries[name]})


def main(argv: list[str] | None = None) -> int:
    """Copy weights into the package and enter their checksum, licence and size in its registry."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=main.__doc__)
    parser.add_argument("weights", nargs="+", metavar="NAME=PATH", help=f"{', '.join(ARCHITECTURES)}=...")
    parser.add_argument("--folder", type=Path, help="instead of the packages' own folders")
    options = parser.parse_args(argv)
    try:
        pairs = dict(item.split("=", 1) for item in options.weights if "=" in item)
        if len(pairs) != len(options.weights):
            raise ConfigError(f"weights: expected NAME=PATH, got {options.weights}")
        publish({name: Path(path) for name, path in pairs.items()}, options.folder)
    except (ZimError, OSError) as error:
        print(f"publish: error: {error}", file=sys.stderr)
        return 1
    print(f"published {', '.join(pairs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
