"""`ImageFeatures` behaves as SAM's callers expect of an embedding, in every map at once."""

import torch

from zim.modeling.features import ImageFeatures


def features() -> ImageFeatures:
    maps = [torch.arange(float(2 * c * s * s)).view(2, c, s, s) for c, s in ((5, 2), (3, 16), (4, 8), (6, 4))]
    return ImageFeatures(*maps)


def test_shape_and_device_are_those_of_the_embedding() -> None:
    made = features()
    assert made.shape == made.embedding.shape == (2, 5, 2, 2)
    assert made.device == torch.device("cpu")
    assert made.to("meta").device == torch.device("meta")


def test_conversions_reach_every_map() -> None:
    made = features()
    doubled = made.to(torch.float64)
    assert all(map_.dtype == torch.float64 for map_ in doubled)
    assert all(torch.equal(a.double(), b) for a, b in zip(made, doubled, strict=True))
    assert all(a is b for a, b in zip(made, made.cpu(), strict=True)), "nothing is copied without need"


def test_cuda_takes_what_tensors_take() -> None:
    """`.cuda()`, `.cuda(1)`, `.cuda("cuda:1")`, as `Tensor.cuda`; asked of `to`, since there may be no GPU here."""
    asked: list[tuple[object, ...]] = []

    class Recorder(ImageFeatures):
        def to(self, *args: object, **kwargs: object) -> ImageFeatures:
            asked.append(args)
            return self

    made = Recorder(*features())
    made.cuda()
    made.cuda(1)
    made.cuda("cuda:1")
    assert [torch.device(*args) for args in asked] == [torch.device(d) for d in ("cuda", "cuda:1", "cuda:1")]


def test_select_keeps_the_batch_axis_and_the_image() -> None:
    made = features()
    second = made.select(1)
    assert second.shape == (1, 5, 2, 2)
    assert all(torch.equal(whole[1], part[0]) for whole, part in zip(made, second, strict=True))
