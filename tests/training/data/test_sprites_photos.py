"""Connected pieces of label maps: scipy's labelling is the oracle."""

import numpy as np
from scipy import ndimage

from training.data.segments import LabelledPhoto, RegionMix
from training.data.sprites import MAX_COMPONENTS
from training.data.sprites_photos import build_shard, pieces_of, reduced


def test_pieces_are_scipys() -> None:
    labels = np.kron(np.random.default_rng(3).integers(0, 4, (6, 7)), np.ones((8, 8), int)).astype(np.uint8)
    numbers, table = pieces_of(labels)
    assert ((numbers > 0) == (labels > 0)).all()
    expected = sum(ndimage.label(labels == key)[1] for key in (1, 2, 3))
    assert len(table) == expected == numbers.max()
    for number, key, area, x1, y1, x2, y2 in table:
        piece = numbers == number
        assert set(labels[piece].tolist()) == {key} and ndimage.label(piece)[1] == 1
        rows, columns = np.nonzero(piece)
        assert (area, x1, y1, x2, y2) == (piece.sum(), columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_crumbs_of_an_id_share_a_number_and_none_is_too_many() -> None:
    labels = np.zeros((120, 120), np.uint16)
    labels[:60] = 1
    labels[70::4, ::4] = 2  # single pixels
    numbers, table = pieces_of(labels)
    assert table[:, 1].tolist() == [1, 2] and (numbers[labels == 2] == 2).all()
    many = np.kron(np.arange(1, 401).reshape(20, 20), np.ones((6, 6), int)).astype(np.uint16)
    numbers, table = pieces_of(many)
    assert 100 < len(table) <= MAX_COMPONENTS and numbers.max() == len(table)


def test_shard_keeps_labels_beside_their_photograph() -> None:
    """A bright square is label 1, before and after reduction; photographs without labels have no map."""
    image, labels = np.full((60, 100, 3), 30, np.uint8), np.zeros((1, 60, 100), np.uint8)
    image[10:40, 20:60], labels[0, 10:40, 20:60] = 220, 1
    small = reduced(LabelledPhoto(image=image, labels=labels, mix=RegionMix()), 50)
    assert small.image.shape[:2] == small.labels.shape[1:] == (30, 50)
    shard = build_shard([image[:30, :40], small.image], [None, small], 64)
    assert shard.owner.tolist() == [1] and shard.hw.tolist() == [[30, 40], [30, 50]]
    bright = shard.image[1, :30, :50].mean(axis=-1) > 125
    assert (bright == (shard.labels[0, :30, :50] == 1)).mean() > 0.99
    assert shard.pieces.tolist() == [[0, 1, 1, 300, 10, 5, 30, 20]]
