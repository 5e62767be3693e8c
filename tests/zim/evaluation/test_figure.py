"""The contact sheet's drawing of prompts."""

from pathlib import Path

import numpy as np
import pytest

from zim.evaluation.figure import THUMBNAIL, draw_prompt, save_figure, thumbnail
from zim.prompts import Prompt


def test_prompts_are_drawn_where_they_are_and_the_photo_stays_untouched() -> None:
    photo = np.zeros((80, 100, 3), np.uint8)
    prompt = Prompt(
        point_coords=np.array([[30, 20], [70, 60]], np.float32),
        point_labels=np.array([1, 0], np.int32),
        box=np.array([10, 5, 90, 75], np.float32),
    )
    drawn = draw_prompt(photo, prompt)
    assert not photo.any()
    green, red = drawn[20, 30].astype(int), drawn[60, 70].astype(int)
    assert green[1] > 2 * green[0] and red[0] > 2 * red[1]
    for x, y in ((10, 40), (90, 40), (50, 5), (50, 75)):
        assert drawn[y, x].any()
    assert not drawn[40, 50].any()


def test_thumbnails_keep_the_aspect() -> None:
    image, alpha = thumbnail(np.zeros((400, 800, 3), np.uint8), np.ones((400, 800), np.float32))
    assert image.shape == (THUMBNAIL // 2, THUMBNAIL, 3) and alpha.min() == 1


def test_an_empty_gallery_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gallery"):
        save_figure([], [], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
