"""A matte made on a small copy, for the large photo: everything lies where it lay."""

import numpy as np

from adapters.fine_objects import fine_scene
from adapters.matte_anything import Matte, MatteTrimap
from adapters.matte_anything.detections import Found
from zim.prompts import Prompt


def matte_of(image: np.ndarray, alpha: np.ndarray) -> Matte:
    prompt = Prompt(
        point_coords=np.array([[9.5, 19.5]], np.float32),
        point_labels=np.array([1], np.int32),
        box=np.array([10, 20, 50, 60], np.float32),
    )
    found = Found((10.0, 20.0, 50.0, 60.0), "net", 0.9)
    trimap = MatteTrimap()(alpha)
    return Matte(image=image, alpha=alpha, trimap=trimap, answer=alpha, prompts=(prompt,), found=(found,))


def test_twice_the_size_and_back() -> None:
    scene = fine_scene("feather", seed=1, side=128)
    matte = matte_of(scene.image, scene.alpha)
    large = matte.resized(np.repeat(np.repeat(scene.image, 2, axis=0), 2, axis=1))
    assert large.alpha.shape == large.trimap.shape == large.answer.shape == (256, 256)
    assert np.array_equal(large.trimap, np.repeat(np.repeat(matte.trimap, 2, axis=0), 2, axis=1))
    means = large.alpha.reshape(128, 2, 128, 2).mean(axis=(1, 3))
    assert np.abs(means - matte.alpha).mean() < 0.02
    assert 0 <= large.alpha.min() and large.alpha.max() <= 1
    assert large.prompts[0].box is not None and large.prompts[0].box.tolist() == [20, 40, 100, 120]
    assert large.prompts[0].point_coords is not None
    assert large.prompts[0].point_coords.tolist() == [[19.5, 39.5]]  # the centre of pixel 9.5 is at 10 of 128
    assert large.found[0] is not None and large.found[0].box == (20, 40, 100, 120)
    back = large.resized(scene.image)
    assert np.abs(back.alpha - matte.alpha).mean() < 0.02
    assert set(np.unique(back.trimap)) <= {0.0, 0.5, 1.0}


def test_the_same_size_is_left_as_it_is() -> None:
    scene = fine_scene("fur", seed=1, side=96)
    matte = matte_of(scene.image, scene.alpha)
    assert matte.resized(scene.image).alpha is matte.alpha
