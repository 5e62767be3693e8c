"""Put trained weights into the package: `python -m training.publish zim_tiny=runs/zim/model.safetensors ...`."""

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

from zim.checkpoints import read_checkpoint
from zim.errors import ConfigError, ZimError
from zim.evaluation.sam_baseline import build_sam_tiny
from zim.files import atomic_write, write_json_atomic
from zim.modeling.config import ZimConfig
from zim.modeling.zim import build_zim

ARCHITECTURES = {"zim_tiny": "zim", "sam_tiny": "sam"}
MAX_BYTES = 12_000_000
MAX_PARAMETERS = 6_000_000


def describe(name: str, path: Path) -> dict[str, str | int]:
    """What the registry says of a weights file, once it fits its model and the limits of what is shipped.

    Raises:
        ConfigError: another architecture than the name promises, too many parameters or too large a file.
        CheckpointError: the file cannot be read.
    """
    checkpoint = read_checkpoint(path)
    config = ZimConfig.from_dict(checkpoint.config)
    if name not in ARCHITECTURES or config.architecture != ARCHITECTURES[name]:
        raise ConfigError(f"{name}: expected one of {ARCHITECTURES}, got architecture {config.architecture!r}")
    model = build_zim(config) if config.architecture == "zim" else build_sam_tiny(config)
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


def publish(weights: dict[str, Path], folder: Path) -> None:
    """Copy weights into `folder` and enter them in its registry.json; other entries stay."""
    entries = {name: describe(name, path) for name, path in weights.items()}
    registry_path = folder / "registry.json"
    registry = json.loads(registry_path.read_text(encoding="utf-8")) if registry_path.exists() else {}
    for name, path in weights.items():
        with atomic_write(folder / f"{name}.safetensors") as temporary:
            shutil.copyfile(path, temporary)
    write_json_atomic(registry_path, {**registry, **entries})


def main(argv: list[str] | None = None) -> int:
    """Copy weights into the package and enter their checksum, licence and size in its registry."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=main.__doc__)
    parser.add_argument("weights", nargs="+", metavar="NAME=PATH", help="zim_tiny=... and sam_tiny=...")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent.parent / "zim" / "weights")
    options = parser.parse_args(argv)
    try:
        pairs = dict(item.split("=", 1) for item in options.weights if "=" in item)
        if len(pairs) != len(options.weights):
            raise ConfigError(f"weights: expected NAME=PATH, got {options.weights}")
        publish({name: Path(path) for name, path in pairs.items()}, options.folder)
    except (ZimError, OSError) as error:
        print(f"publish: error: {error}", file=sys.stderr)
        return 1
    print(f"published {', '.join(pairs)} in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
