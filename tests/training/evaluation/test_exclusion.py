"""Photographs that must not count are known by name, and by look when they have another name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.evaluation.exclusion import MAX_DISTANCE, Exclusion, look
from zim.errors import ConfigError, DataError


def photo(seed: int, hw: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Coloured clouds, as smooth as a photograph."""
    noise = np.random.default_rng(seed).uniform(0, 255, (9, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, hw[::-1], interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray, quality: int = 95) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def test_copies_are_recognised_and_strangers_are_not(tmp_path: Path) -> None:
    write(tmp_path / "known" / "sample1.jpg", photo(1))
    exclusion = Exclusion.parse([str(tmp_path / "known")])
    copy = cv2.resize(photo(1), (173, 131), interpolation=cv2.INTER_AREA)
    recompressed = cv2.imread(str(write(tmp_path / "m_0a.jpg", copy, quality=40)))[..., ::-1]
    brighter = np.clip(copy.astype(np.float32) * 1.1 + 4, 0, 255).astype(np.uint8)
    for image in (photo(1), copy, recompressed, brighter):
        assert exclusion.by_look(np.ascontiguousarray(image)) == str(tmp_path / "known" / "sample1.jpg")
    distances = [np.count_nonzero(look(photo(1)) != look(photo(seed))) for seed in range(2, 40)]
    assert min(distances) > 1.5 * MAX_DISTANCE
    assert exclusion.by_look(photo(2)) is None


def test_names_come_from_lists_folders_and_the_command_line(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("# seen\no_1  # a dog\n\np_2\n")
    write(tmp_path / "folder" / "image" / "m_3.jpg", photo(3))
    write(tmp_path / "folder" / "alpha" / "m_4.png", photo(4))
    write(tmp_path / "folder" / "m_5.jpg", photo(5))
    write(tmp_path / "folder" / "m_5.png", photo(6))
    exclusion = Exclusion.parse([str(listing), str(tmp_path / "folder"), "x_6, x_7"])
    assert exclusion.names == {"o_1", "p_2", "m_3", "m_5", "x_6", "x_7"}
    assert {Path(file).name for file in exclusion.looks} == {"m_3.jpg", "m_5.jpg"}
    assert exclusion.by_name("test/o_1") == "o_1" and exclusion.by_name("natural/p_2/00") == "p_2"
    assert exclusion.by_name("test/o_11") is None
    assert exclusion.by_name("fine/0002_21", ["img/x_7.png"]) == "x_7"


def test_the_shipped_list_names_the_development_photographs() -> None:
    names = Exclusion.parse(["development"]).names
    assert {"o_0b7228ec", "p_015cd10e"} <= names and len(names) == 11
    assert all(name[:2] in ("o_", "p_") for name in names)


def test_the_fingerprint_knows_what_is_excluded() -> None:
    given = [Exclusion.parse(words).fingerprint for words in ([], ["a"], ["a,b"], ["b", "a"])]
    assert given[0] == "" and given[2] == given[3] and len(set(given)) == 3


@pytest.mark.parametrize("text", ["", "a,,b", "folder/of/nothing.txt"])
def test_impossible_lists_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--exclude: expected a folder, a file or names"):
        Exclusion.parse([text])


def test_unreadable_and_empty_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.txt").write_text("# nothing\n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"no picture")
    for name, message in (("empty", "found none"), ("nothing.txt", "found none"), ("bad", "a.jpg")):
        with pytest.raises(DataError, match=message):
            Exclusion.parse([str(tmp_path / name)])
