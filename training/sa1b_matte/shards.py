"""SA1B-Matte on disk: webdataset shards of photographs with the mattes of their labels.

A shard is an uncompressed tar file `SOURCE-PART.tar`. Its members, photograph after photograph:

    KEY.jpg          the photograph, in the bytes of the input
    KEY.json         {"format": "sa1b-matte/1", "key": KEY, "width": W, "height": H, "labels": [LABEL, ...]}
    KEY.ID.png       the matte of label ID: 8-bit grey, 255 is opaque; one file a label, in the order of "labels"

and last `__zim__/summary.json` (a `ShardSummary`), which webdataset passes over, as it does with all `__NAME__/`.
Keys consist of letters, digits, `_` and `-`. A LABEL is

    id            four digits or more: the position of the annotation in the input's JSON
    source        the id of that annotation
    box           [x1, y1, x2, y2], the pixels that the matte covers, x2 and y2 exclusive; it is 0 outside. The frame
                  is the photograph as viewers show it (EXIF orientation applied), width x height
    area          pixels of the segmentation label
    agreement     intersection over union of the label and the matte above one half, in [0, 1]
    scores        what the input says of the label: predicted_iou, stability_score

Owner, times and permissions of the members are constant, so equal contents are equal files.
"""

import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError

from ..readers.quarantine import QuarantinedItem
from ..readers.records import ItemError, Photo
from ..readers.tar_index import TarMember, tar_members

FORMAT = "sa1b-matte/1"
SUMMARY = "__zim__/summary.json"
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ID = re.compile(r"\d{4,}")
_LABEL_FIELDS = ("id", "source", "box", "area", "agreement", "scores")


@dataclass(frozen=True, kw_only=True)
class StoredMatte:
    """The matte of one label where it is not zero; `alpha` is decoded when it is first used.

    box: (x1, y1, x2, y2) in pixels of the photograph, x2 and y2 exclusive. png: the matte, 8-bit grey.
    id, source, area, agreement, scores: as in the module's description. member: shard and member, for messages.
    """

    id: str
    source: str
    box: tuple[int, int, int, int]
    area: int
    agreement: float
    scores: Mapping[str, float] = field(default_factory=dict)
    png: bytes = field(repr=False)
    member: str = ""

    @cached_property
    def alpha(self) -> NDArray[np.float32]:
        """(y2 - y1, x2 - x1) float32 in [0, 1].

        Raises:
            DataError: it cannot be decoded, or does not have the size of the box.
        """
        x1, y1, x2, y2 = self.box
        pixels = _decode_png(self.png)
        if pixels is None or pixels.shape != (y2 - y1, x2 - x1) or pixels.dtype != np.uint8:
            got = "no picture" if pixels is None else f"{pixels.dtype} {pixels.shape}"
            raise DataError(f"{self.member}: expected an 8-bit grey PNG of {x2 - x1}x{y2 - y1}, got {got}")
        return pixels.astype(np.float32) / np.float32(255)

    def full(self, size_hw: tuple[int, int]) -> NDArray[np.float32]:
        """The matte over the whole photograph, (H, W) float32 in [0, 1]."""
        x1, y1, x2, y2 = self.box
        out = np.zeros(size_hw, np.float32)
        out[y1:y2, x1:x2] = self.alpha
        return out

    def description(self) -> dict[str, Any]:
        """As the photograph's JSON holds it."""
        values = {name: getattr(self, name) for name in _LABEL_FIELDS}
        return {**values, "box": list(self.box), "scores": dict(self.scores)}


@dataclass(frozen=True, kw_only=True)
class ConvertedImage:
    """A photograph with its mattes; `image` is decoded when it is first used.

    size_hw: height and width of the photograph. jpg: its file. member: shard and member, for messages.
    """

    key: str
    size_hw: tuple[int, int]
    mattes: tuple[StoredMatte, ...]
    jpg: bytes = field(repr=False)
    member: str = ""

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB.

        Raises:
            DataError: it cannot be decoded, or has another size than `size_hw`.
        """
        try:
            image = Photo(key=self.key, image=self.jpg).load_image()
        except ItemError as error:
            raise DataError(f"{self.member}: {error.reason}") from error
        if image.shape[:2] != self.size_hw:
            (height, width), got = self.size_hw, image.shape
            raise DataError(f"{self.member}: expected {width}x{height} pixels, got {got[1]}x{got[0]}")
        return image


@dataclass(frozen=True, kw_only=True)
class ShardSummary:
    """What became of the photographs of one shard.

    identity: digest of converter and configuration. keys: digest of the keys that were to be converted.
    images_read: photographs that were to be converted; images: those in the shard. An image is left out when it is
    quarantined or none of its labels is kept. labels_read: labels of the readable photographs.
    filtered: rule -> labels left out. quarantined: photographs that could not be read.
    """

    source: str
    identity: str
    keys: str
    images_read: int
    images: int
    labels_read: int
    labels: int
    filtered: Mapping[str, int]
    quarantined: tuple[QuarantinedItem, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "quarantined": [item._asdict() for item in self.quarantined]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ShardSummary":
        """The summary of `to_dict`.

        Raises:
            DataError: a field is missing or unknown.
        """
        try:
            return cls(**{**values, "quarantined": tuple(QuarantinedItem(**item) for item in values["quarantined"])})
        except (TypeError, KeyError) as error:
            raise DataError(f"summary: expected the fields of a shard's summary ({error!r})") from error


class ShardWriter:
    """Writes a shard to an open binary file; `finish` makes it whole.

    Raises:
        DataError: a key or label id is malformed, or a key came before.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
        self._keys: set[str] = set()

    def add(self, converted: ConvertedImage) -> None:
        """Append a photograph and its mattes."""
        key = converted.key
        if not _KEY.fullmatch(key) or key in self._keys:
            raise DataError(f"key: expected letters, digits, _ and -, each key once, got {key!r}")
        self._keys.add(key)
        height, width = converted.size_hw
        labels = [matte.description() for matte in converted.mattes]
        described = {"format": FORMAT, "key": key, "width": width, "height": height, "labels": labels}
        self._add(f"{key}.jpg", converted.jpg)
        self._add(f"{key}.json", _json_bytes(described))
        for matte in converted.mattes:
            if not _ID.fullmatch(matte.id):
                raise DataError(f"id: expected at least four digits, got {matte.id!r}")
            self._add(f"{key}.{matte.id}.png", matte.png)

    def finish(self, summary: ShardSummary) -> None:
        """Append the summary and the end of the tar file."""
        self._add(SUMMARY, _json_bytes(summary.to_dict()))
        self._tar.close()

    def _add(self, name: str, data: bytes) -> None:
        header = tarfile.TarInfo(name)  # mtime, uid and gid 0, no names, mode 0644
        header.size = len(data)
        self._tar.addfile(header, io.BytesIO(data))


def encode_alpha(alpha: NDArray[np.float32]) -> bytes:
    """(h, w) float32 in [0, 1] as an 8-bit PNG."""
    pixels = (alpha * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise DataError(f"alpha: could not be encoded as PNG, shape {alpha.shape}")
    return encoded.tobytes()


def iter_shard(path: str | Path, *, check: bool = False) -> Iterator[ConvertedImage]:
    """The photographs of a shard in their order, one in memory at a time.

    Args:
        path: the shard.
        check: decode every photograph and matte at once, rather than when they are used.

    Raises:
        DataError: the shard is no whole tar file, or a member is not as the module's description says; names it.
    """
    shard = Path(path)
    summary: ShardSummary | None = None
    keys: set[str] = set()
    for members in _samples(tar_members(shard)):
        data = [_read(member) for member in members]
        if members[0].name == SUMMARY:
            summary = _parsed_summary(members[0], data[0])
            continue
        converted = _parsed_sample(members, data)
        if converted.key in keys:
            raise DataError(f"{members[0]}: expected each key once in a shard, got {converted.key!r} again")
        keys.add(converted.key)
        if check:
            _ = (converted.image, *(matte.alpha for matte in converted.mattes))
        yield converted
    if summary is None or summary.images != len(keys):
        got = "none" if summary is None else f"one of {summary.images}"
        raise DataError(f"{shard}:{SUMMARY}: expected a summary of {len(keys)} images, got {got}")


def read_summary(path: str | Path) -> ShardSummary:
    """The summary of a shard; only headers are read besides.

    Raises:
        DataError: the shard is no whole tar file, or has no summary.
    """
    shard = Path(path)
    for member in tar_members(shard):
        if member.name == SUMMARY:
            return _parsed_summary(member, _read(member))
    raise DataError(f"{shard}: expected {SUMMARY} in it, found none")


def _samples(members: Iterator[TarMember]) -> Iterator[list[TarMember]]:
    """Runs of members whose names agree up to the first dot."""
    return (list(run) for _, run in itertools.groupby(members, key=lambda member: member.name.partition(".")[0]))


def _read(member: TarMember) -> bytes:
    try:
        return member.read()
    except OSError as error:
        raise DataError(f"{member}: cannot be read ({error})") from error


def _parsed_summary(member: TarMember, data: bytes) -> ShardSummary:
    try:
        return ShardSummary.from_dict(json.loads(data))
    except (ValueError, TypeError) as error:  # DataError is one
        raise DataError(f"{member}: {error}") from error


def _parsed_sample(members: Sequence[TarMember], data: Sequence[bytes]) -> ConvertedImage:
    key = members[0].name.partition(".")[0]
    names = [member.name for member in members]
    if not _KEY.fullmatch(key) or names[:2] != [f"{key}.jpg", f"{key}.json"]:
        raise DataError(f"{members[0]}: expected KEY.jpg and then KEY.json, got {names[:2]}")
    try:
        described = json.loads(data[1])
        if described["format"] != FORMAT or described["key"] != key:
            got = f"{described['format']!r}, {described['key']!r}"
            raise DataError(f"expected format {FORMAT!r} and key {key!r}, got {got}")
        size_hw = (int(described["height"]), int(described["width"]))
        labels = list(described["labels"])
        expected = [f"{key}.{label['id']}.png" for label in labels]
        if names[2:] != expected:
            raise DataError(f"expected the mattes {expected}, got {names[2:]}")
        mattes = tuple(
            _parsed_label(label, size_hw, png, str(member))
            for label, png, member in zip(labels, data[2:], members[2:], strict=True)
        )
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) if isinstance(error, DataError) else f"no such JSON ({error!r})"
        raise DataError(f"{members[1]}: {reason}") from error
    return ConvertedImage(key=key, size_hw=size_hw, mattes=mattes, jpg=data[0], member=str(members[0]))


def _parsed_label(label: Mapping[str, Any], size_hw: tuple[int, int], png: bytes, member: str) -> StoredMatte:
    x1, y1, x2, y2 = box = tuple(label["box"])
    height, width = size_hw
    whole = all(type(side) is int for side in box)
    if not whole or not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise DataError(f"label {label['id']}: expected a box inside {width}x{height}, got {list(box)}")
    return StoredMatte(
        id=str(label["id"]),
        source=str(label["source"]),
        box=(x1, y1, x2, y2),
        area=int(label["area"]),
        agreement=float(label["agreement"]),
        scores={str(name): float(value) for name, value in label["scores"].items()},
        png=png,
        member=member,
    )


def _decode_png(data: bytes) -> NDArray[np.uint8] | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels)


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("utf-8")
