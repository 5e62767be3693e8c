"""What `zim download` knows: where it is, under which licence, and what is published to check it by."""

import os
from dataclasses import dataclass
from pathlib import Path

from zim.errors import ConfigError

SAM_ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything/"
SAM_LICENCE = "Apache-2.0 (https://github.com/facebookresearch/segment-anything)"
ZIM_LICENCE = (
    "the repository naver-ai/ZIM says CC BY-NC 4.0 (no commercial use), the model card on the hub says cc-by-4.0; "
    "ask the authors before any commercial use"
)


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file at an address of its own; `sha256` and `size` (bytes) are checked."""

    url: str
    sha256: str
    size: int
    licence: str

    @property
    def name(self) -> str:
        """The file's name, the last part of its address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class HubFolder:
    """A folder of a repository on the Hugging Face hub, which publishes size and sha256 itself."""

    repository: str
    folder: str
    files: tuple[str, ...]
    licence: str
    revision: str = "main"


CATALOGUE: dict[str, PublishedFile | HubFolder] = {
    "zim_vit_b": HubFolder(
        repository="naver-iv/zim-anything-vitb",
        folder="zim_vit_b_2043",
        files=("encoder.onnx", "decoder.onnx"),
        licence=ZIM_LICENCE,
    ),
    "zim_vit_l": HubFolder(
        repository="naver-iv/zim-anything-vitl",
        folder="zim_vit_l_2092",
        files=("encoder.onnx", "decoder.onnx"),
        licence=ZIM_LICENCE,
    ),
    "sam_vit_b": PublishedFile(
        url=SAM_ADDRESS + "sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        size=375_042_383,
        licence=SAM_LICENCE,
    ),
    "sam_vit_l": PublishedFile(
        url=SAM_ADDRESS + "sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        size=1_249_524_607,
        licence=SAM_LICENCE,
    ),
    "sam_vit_h": PublishedFile(
        url=SAM_ADDRESS + "sam_vit_h_4b8939.pth",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        size=2_564_550_879,
        licence=SAM_LICENCE,
    ),
}


def source_of(name: str) -> PublishedFile | HubFolder:
    """The entry of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in CATALOGUE:
        raise ConfigError(f"download: expected one of {', '.join(CATALOGUE)}, got {name!r}")
    return CATALOGUE[name]


def default_folder() -> Path:
    """Where downloads go when nobody says: `zim` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "zim"
