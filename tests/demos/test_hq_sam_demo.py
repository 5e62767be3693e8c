"""A base and its HQ head without a browser: options, qualities, the difference, several objects."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.hq_sam.three_masks import Answers
from demos.common.hq_session import HqOptions, HqSession, ask_pair, united
from demos.common.models import ModelPool
from demos.common.photos import Photo, open_photo
from demos.common.prompts import ObjectPrompts
from demos.hq_sam import _pair
from zim.errors import ConfigError, PromptError

SIDE = 48
POINT = ObjectPrompts(points=((10.0, 12.0, 1),))
OTHER = ObjectPrompts(points=((30.0, 12.0, 1),))


class Discs:
    """Answers with discs around the point, of radius `size` and larger; its head makes them wider by two."""

    def __init__(self, size: float) -> None:
        self.size = size

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self.hw = image.shape[:2]

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Any:
        rows, columns = np.mgrid[: self.hw[0], : self.hw[1]]
        distance = np.hypot(columns - point_coords[0][0], rows - point_coords[0][1])
        sizes = (self.size, self.size + 3, self.size + 6) if multimask_output else (self.size,)
        logits = np.stack([(size - distance) * 2 for size in sizes]).astype(np.float32)
        return logits, np.array([0.2, 0.9, 0.5][: len(sizes)]), np.zeros((len(sizes), 256, 256))


class DiscsWithHead(Discs):
    def predict(self, *arguments: Any, hq_token_only: bool = False, **named: Any) -> Any:
        logits, qualities, low = super().predict(*arguments, **named)
        return (logits * 0 + 5 if hq_token_only else logits + 4), qualities, low


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return open_photo(tmp_path / "noise.png")


@pytest.fixture
def pool() -> ModelPool:
    return ModelPool(predictors={"base": Discs(6), "hq": DiscsWithHead(6)})


def area(alpha: np.ndarray) -> int:
    return int((alpha > 0.5).sum())


def test_one_best_and_each_of_three(pool: ModelPool, photo: Photo) -> None:
    session = HqSession(pool, ("base", "hq"))
    session.start(photo)
    session.load((POINT,))
    assert session.layers == ("hq", "base") and session.pair == ("base", "hq")
    areas = {}
    for which in ("one", "best", "1", "2", "3"):
        session.configure(which=which)
        areas[which] = area(session.alpha(POINT, "base"))
        session.alpha(POINT, "hq")
        assert len(session.qualities(POINT)) == (1 if which == "one" else 3)
    assert areas["one"] == areas["1"] < areas["2"] == areas["best"] < areas["3"]


def test_difference_mask_and_token(pool: ModelPool, photo: Photo) -> None:
    session = HqSession(pool, ("base", "hq"))
    session.start(photo)
    assert session.compare() is None and session.value().pictures == {}
    session.load((POINT,))
    first = session.value().pictures
    assert list(first) == ["difference"]
    assert session.value().pictures == first
    seen = session.compare()
    assert seen is not None
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(columns - 10, rows - 12)
    ring = (distance < 8) & (distance >= 6)  # logits: twice the distance to the edge, and 4 more with the head
    assert seen[1].changed == pytest.approx(ring.mean(), abs=0.01)
    session.configure(mask=True)
    assert set(np.unique(session.alpha(POINT, "hq"))) == {0, 1}
    assert session.value().pictures != first
    soft = session.soft_alpha("hq")
    assert len(np.unique(soft)) > 2
    session.configure(token_only=True)
    assert session.soft_alpha("hq").min() > 0.99  # the token's answer alone
    assert session.soft_alpha("base").min() < 0.01  # a base has none
    session.handle({"kind": "undo"})
    assert session.value().pictures == {}


def test_objects_together_and_none(pool: ModelPool, photo: Photo) -> None:
    both = united(pool, "base", photo, (POINT, OTHER), HqOptions())
    single = [united(pool, "base", photo, (one,), HqOptions()) for one in (POINT, OTHER)]
    assert np.array_equal(both, np.maximum(*single))
    with pytest.raises(PromptError, match="expected a point"):
        united(pool, "base", photo, (ObjectPrompts(),), HqOptions())
    answers = ask_pair(pool, "hq", photo, POINT, HqOptions(which="best"))
    assert isinstance(answers, Answers) and answers.best == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": "4"}, "which: expected one of"),
        ({"which": [1]}, "which: expected"),
        ({"mask": "no"}, "mask: expected"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HqOptions(**options)


def test_pairs_of_the_command_line() -> None:
    assert _pair("zim_tiny, runs/hq.safetensors") == ("zim_tiny", "runs/hq.safetensors")
    for text in ("zim_tiny", ",hq", "zim_tiny,"):
        with pytest.raises(ConfigError, match="expected BASE,HQ"):
            _pair(text)
