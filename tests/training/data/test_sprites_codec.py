"""The codec of packed pictures: OpenCV's cosine transform and its JPEG are the oracles."""

import cv2
import numpy as np
import torch

from training.data.sprites_codec import decode, encode, inverse, through_codec, transform

CPU = torch.device("cpu")


def smooth_pictures(count: int, side: int) -> np.ndarray:
    """Coloured blobs with some grain, (N, S, S, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 6, 6, 3)).astype(np.float32)
    large = np.stack([cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC) for picture in coarse])
    return np.clip(large + rng.normal(0, 6, large.shape), 0, 255).astype(np.uint8)


def test_transform_is_opencvs_and_comes_back() -> None:
    plane = np.random.default_rng(1).uniform(-128, 127, (16, 24)).astype(np.float32)
    found = transform(torch.from_numpy(plane)[None, None])[0, 0]
    np.testing.assert_allclose(found[1, 2].numpy(), cv2.dct(plane[8:16, 16:24]), atol=1e-3)
    torch.testing.assert_close(inverse(found[None, None])[0, 0], torch.from_numpy(plane), rtol=0, atol=1e-3)


def test_error_is_that_of_jpeg() -> None:
    pictures = smooth_pictures(2, 64)
    for quality in (30, 85):
        decoded = decode(encode(pictures, quality), CPU).permute(0, 2, 3, 1).numpy()
        pairs = []
        for picture, ours in zip(pictures, decoded, strict=True):
            data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            theirs = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
            pairs.append([np.abs(x.astype(float) - picture).mean() for x in (ours, theirs)])
        ours_error, theirs_error = np.mean(pairs, axis=0)
        assert abs(ours_error / theirs_error - 1) < 0.1


def test_flat_colour_survives() -> None:
    flat = np.full((1, 32, 32, 3), (200, 90, 30), np.uint8)
    assert np.abs(decode(encode(flat, 85), CPU)[0].permute(1, 2, 0).numpy().astype(int) - flat[0]).max() <= 2


def test_traces_are_those_of_packing() -> None:
    """`through_codec` and a round trip are the same thing, each picture at its own quality."""
    pictures = smooth_pictures(2, 32)
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    found = through_codec(tensor, torch.tensor([40.0, 85.0])).round()
    for row, quality in enumerate((40, 85)):
        packed = decode(encode(pictures[row : row + 1], quality), CPU)[0].float()
        torch.testing.assert_close(found[row], packed, rtol=0, atol=1.0)
