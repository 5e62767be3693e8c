"""Detections kept in a JSON file, and a detector that answers with them: for tests, and for runs to be repeated.

```
{"format": "zim-text-detections", "version": 1, "images": [
  {"file": "cat.jpg", "sha256": "...", "detections": [
    {"box": [x1, y1, x2, y2], "score": 0.9, "label": "the cat"}]}]}
```

`file` is relative to the folder of the JSON; `sha256` is that of the decoded pixels, and either of the two is enough.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zim.errors import DataError, PromptError, ZimError
from zim.files import write_json_atomic
from zim.image_io import read_image
from zim.text_detection import Detections, check_image, check_thresholds, clean_detections, split_phrases

FORMAT = "zim-text-detections"
VERSION = 1


class Recording(NamedTuple):
    """What was found in one photo: its file, `pixels_sha256` of its pixels, and the detections."""

    file: Path
    sha256: str
    detections: Detections


class RecordedDetector:
    """Answers for the pictures of a file, with what the file says of them; never guesses."""

    def __init__(self, path: str | Path) -> None:
        """Read the file.

        Raises:
            DataError: it is missing or not of the format above.
        """
        self.path = Path(path)
        self._by_sha256: dict[str, list[dict[str, Any]]] = {}
        self._by_file: dict[Path, list[dict[str, Any]]] = {}
        for image in _images_of(self.path):
            if image.get("sha256"):
                self._by_sha256[str(image["sha256"])] = image["detections"]
            if image.get("file"):
                self._by_file[self.path.parent / str(image["file"])] = image["detections"]

    def detect(
        self, image: np.ndarray, phrases: str, *, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> Detections:
        """As `zim.text_detection.TextDetector.detect`: the recorded boxes of these phrases above `box_threshold`.

        Raises:
            DataError: the file says nothing of this picture, or something impossible.
        """
        hw = check_image(image)
        check_thresholds(box_threshold=box_threshold, text_threshold=text_threshold)
        wanted = split_phrases(phrases)
        found = self._of(image)
        try:
            kept = [
                (item["box"], float(item["score"]), label)
                for item in found
                if float(item["score"]) > box_threshold and (label := _label(item)) in wanted
            ]
            boxes, scores, labels = zip(*kept, strict=True) if kept else ((), (), ())
            return clean_detections(boxes, scores, labels, hw)
        except (PromptError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.path}: expected detections with box, score and label ({error})") from error

    def _of(self, image: np.ndarray) -> list[dict[str, Any]]:
        sha256 = pixels_sha256(image)
        if sha256 not in self._by_sha256:
            self._hash_files()
        if sha256 not in self._by_sha256:
            known = ", ".join(file.name for file in list(self._by_file)[:5]) or "others"
            raise DataError(f"{self.path}: no detections are recorded for this {image.shape} picture, only for {known}")
        return self._by_sha256[sha256]

    def _hash_files(self) -> None:
        """Learn the pixels of the files that are named; a decoder may give others than those that were recorded."""
        while self._by_file:
            file, detections = self._by_file.popitem()
            try:
                self._by_sha256.setdefault(pixels_sha256(read_image(file)), detections)
            except ZimError:  # the recording may be used where its photos are not
                continue


def _label(item: dict[str, Any]) -> str:
    return split_phrases(item["label"])[0]


def _images_of(path: Path) -> list[dict[str, Any]]:
    """The entries of a file, each with `detections` and with `file` or `sha256`."""
    expected = f'a JSON {{"format": "{FORMAT}", "version": {VERSION}, "images": [...]}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = content["images"]
        good = content["format"] == FORMAT and content["version"] == VERSION and isinstance(images, list)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected {expected}, cannot read it ({error!r})") from error
    for image in images if good else []:
        good = good and isinstance(image, dict) and isinstance(image.get("detections"), list)
        good = good and bool(image.get("file") or image.get("sha256"))
    if not good:
        raise DataError(f"{path}: expected {expected}, each image with detections and with file or sha256")
    return images


def pixels_sha256(image: np.ndarray) -> str:
    """Hex sha256 of an (H, W, 3) uint8 picture: its height, width and pixels."""
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]} ".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _shortest(value: np.float32) -> float:
    """The number of fewest digits that is this float32 again when it is read."""
    return float(str(np.float32(value)))


def save_recordings(path: str | Path, recordings: Sequence[Recording]) -> None:
    """Write what `RecordedDetector` reads, atomically; files are named relative to the folder of `path`.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path)
    images = [
        {
            "file": Path(os.path.relpath(recording.file, target.parent)).as_posix(),
            "sha256": recording.sha256,
            "detections": [
                {"box": [_shortest(value) for value in box], "score": _shortest(score), "label": label}
                for box, score, label in zip(*recording.detections, strict=True)
            ],
        }
        for recording in recordings
    ]
    write_json_atomic(target, {"format": FORMAT, "version": VERSION, "images": images})
