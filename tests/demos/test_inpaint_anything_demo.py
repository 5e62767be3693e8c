"""Wishes as they come from forms and JSON, and the options of the command line."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.inpaint_anything.engines import load_engine
from adapters.inpaint_anything.engines.protocol import Geometry
from adapters.inpaint_anything.inpainting import PaintSettings
from adapters.inpaint_anything.stand_ins import save_pull_push
from demos.common import painting
from demos.common.models import ModelPool
from demos.common.painting import Wish, colour_from, connected, engine_for, paint, pixels_from, wish_from
from demos.common.photos import Photo, open_photo
from demos.common.prompts import ObjectPrompts
from demos.inpaint_anything import engines_of, main
from zim.errors import ConfigError, ImageError, PromptError, ZimError


class PaintsGreen:
    """An engine that follows words."""

    name = "green"
    follows_text = True
    geometry = Geometry()

    def inpaint(self, image: np.ndarray, mask: np.ndarray, *, prompt: str = "", seed: int = 0) -> np.ndarray:
        return np.full(image.shape, (0, 200, 0), np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    file = tmp_path / "photo.png"
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(file)
    return open_photo(file)


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("#0050c8", (0, 80, 200)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("rgba(254.99999, 0.4, 12.5, 1)", (255, 0, 12)),
        ("teal", (0, 128, 128)),
    ],
)
def test_colours(text: str, colour: tuple[int, int, int]) -> None:
    assert colour_from(text) == colour


def test_pixels_of_a_text_field() -> None:
    assert [pixels_from(text, "feather") for text in ("", None, "  ", "12", " 2,5 ", "0")] == [None] * 3 + [12, 2.5, 0]
    for text in ("wide", "nan", "inf", "1e999", 5, ["3"]):
        with pytest.raises(ZimError, match="feather: expected"):
            pixels_from(text, "feather")


@pytest.mark.parametrize("text", ["", "rgba(1.2.3, 0, 0, 1)", "/etc/hostname", 7, None, "#" * 1000])
def test_what_is_no_colour(text: Any) -> None:
    with pytest.raises(ZimError, match="background"):
        colour_from(text)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("erase", {}, "task: expected one of remove, fill, replace"),
        (["remove"], {}, "task"),
        ("remove", [], "options: expected a JSON object"),
        ("remove", {"power": 1}, "options: expected engine, text"),
        ("remove", {"threshold": float("nan")}, "threshold: expected a finite number"),
        ("remove", {"threshold": 1}, "threshold: expected a number in"),
        ("remove", {"dilation": -1}, "dilation: expected pixels"),
        ("remove", {"feather": "soft"}, "feather: expected a finite number"),
        ("remove", {"shadows": "yes"}, "shadows: expected true or false"),
        ("remove", {"context": 11}, "context: expected a share"),
        ("remove", {"seed": 0.5}, "seed: expected a whole number"),
        ("remove", {"seed": -1}, "seed: expected an integer"),
        ("fill", {"text": 5}, "text: expected text"),
        ("fill", {"text": "x" * 301}, "text: expected at most 300 characters"),
        ("remove", {"engine": 5}, "engine: expected text"),
    ],
)
def test_wishes_that_cannot_be(task: Any, options: Any, message: str) -> None:
    with pytest.raises(ZimError, match=message):
        wish_from(task, options)


def test_nothing_said_is_the_adapters_default() -> None:
    assert wish_from("remove", None).settings == PaintSettings()
    assert wish_from("remove", {"dilation": None, "feather": None}).settings == PaintSettings()


def test_who_paints() -> None:
    both = {"cv2": load_engine("cv2"), "green": PaintsGreen()}
    assert engine_for(Wish(task="remove"), both) is both["cv2"]
    assert engine_for(Wish(task="fill"), both) is both["green"]
    with pytest.raises(ConfigError, match="fill: paints what words say, which needs a diffusion model"):
        engine_for(Wish(task="fill"), {"cv2": both["cv2"]})
    with pytest.raises(ConfigError, match="engine: expected one of cv2, green, got 'lama'"):
        engine_for(Wish(task="remove", engine="lama"), both)


def test_paint(photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.zeros(photo.hw, np.float32)
    alpha[10:20, 10:20] = 1
    engines = {"cv2": load_engine("cv2"), "green": PaintsGreen()}
    pool = ModelPool(predictors={})
    done = paint(photo, alpha, Wish(task="fill", text="grass"), engines, pool)
    assert (done.image[10:20, 10:20] == (0, 200, 0)).all()
    with pytest.raises(PromptError, match="a new background, got none"):
        paint(photo, alpha, Wish(task="replace"), engines, pool)
    with pytest.raises(ConfigError, match="fill: expected an engine that paints what a text says"):
        paint(photo, alpha, Wish(task="fill", text="grass", engine="cv2"), engines, pool)
    monkeypatch.setattr(painting, "MAX_PHOTO_PIXELS", 100)
    with pytest.raises(ZimError, match="megapixels to paint in"):
        paint(photo, alpha, Wish(task="remove"), engines, pool)


def test_parts_that_no_point_lies_on_are_left(photo: Photo) -> None:
    alpha = np.zeros(photo.hw, np.float32)
    alpha[5:15, 5:15] = alpha[5:15, 45:55] = 1
    asked = connected(lambda layer, photo, prompts: alpha)
    kept = asked("any", photo, ObjectPrompts(points=((8, 8, 1),)))
    assert np.array_equal(kept[:, :30], alpha[:, :30])
    assert not kept[:, 30:].any()
    assert asked("any", photo, ObjectPrompts(points=((8, 8, 1),), box=(0, 0, 60, 40))) is alpha


def test_a_broken_background_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "sky.png"
    broken.write_bytes(b"none")
    with pytest.raises(ImageError, match="none or is damaged"):
        wish_from("replace", {}, broken)


def test_engines_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lama = tmp_path / "own.pt"
    found = save_pull_push(lama)
    given = {"lama": str(lama), "lama_sha256": found, "diffusion": None, "steps": None, "memory": "none"}
    assert list(engines_of(argparse.Namespace(**given))) == ["lama", "cv2"]
    assert list(engines_of(argparse.Namespace(**given | {"lama": None}))) == ["cv2"]
    assert main(["--lama", str(tmp_path / "missing.pt")]) == 1
    assert capsys.readouterr().err.startswith("error: lama: expected a TorchScript file")
    assert main(["--diffusion", str(tmp_path)]) == 1
    assert "model_index.json" in capsys.readouterr().err
