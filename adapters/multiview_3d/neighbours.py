"""Points near points: smoothing of votes, components, and values carried from one set of points to another."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .open3d_door import import_open3d

_COUNT = 9
_REACH = 2.5


class Neighbours(NamedTuple):
    """ids: (N, K) int32. weight: (N, K) float32, 0 for those too far away or facing elsewhere."""

    ids: NDArray[np.int32]
    weight: NDArray[np.float32]


def find_neighbours(
    points: NDArray[np.float32], normals: NDArray[np.float32], spacing: float, count: int = _COUNT
) -> Neighbours:
    """The nearest other points of each point, weighted by distance (in spacings) and by how alike they face."""
    squared, index = nearest(points, points, count + 1)
    weight = np.exp(-squared / (spacing * spacing)).astype(np.float32)
    weight *= squared <= (_REACH * spacing) ** 2
    weight *= index != np.arange(len(points), dtype=np.int32)[:, None]
    if normals.any():
        facing = np.abs((normals[index] * normals[:, None]).sum(axis=2))
        oriented = np.abs(normals).sum(axis=1) > 0
        weight *= np.where(oriented[:, None], facing, 1)
    return Neighbours(index, weight)


def nearest(
    points: NDArray[np.float32], queries: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """(N, 3) points, (Q, 3) queries -> squared distances (Q, K) float32 and indices (Q, K) int32, nearest first."""
    open3d = import_open3d()
    search = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor(np.ascontiguousarray(points, np.float32)))
    search.knn_index()
    found, squared = search.knn_search(
        open3d.core.Tensor(np.ascontiguousarray(queries, np.float32)), min(count, len(points))
    )
    return squared.numpy(), found.numpy().astype(np.int32)


def carried(
    values: NDArray[np.float32], points: NDArray[np.float32], places: NDArray[np.float32], count: int = 4
) -> NDArray[np.float32]:
    """(N,) values at (N, 3) points -> (Q,) values at other places, from the nearest points by inverse distance."""
    if not len(places):
        return np.zeros(0, np.float32)
    squared, index = nearest(points, places, count)
    weight = 1 / np.maximum(squared, 1e-12)
    return ((values[index] * weight).sum(axis=1) / weight.sum(axis=1)).astype(np.float32)


def smoothed(
    values: NDArray[np.float32], trust: NDArray[np.float32], neighbours: Neighbours, strength: float
) -> NDArray[np.float32]:
    """Each value mixed with its neighbours', by trust; a point that nobody saw takes its neighbours' value."""
    pull = strength * neighbours.weight * trust[neighbours.ids]
    total = trust + pull.sum(axis=1)
    mixed = trust * values + (pull * values[neighbours.ids]).sum(axis=1)
    return np.where(total > 1e-6, mixed / np.maximum(total, 1e-6), values).astype(np.float32)


def components(points: NDArray[np.float32], reach: float) -> NDArray[np.int64]:
    """(N, 3) points -> (N,) component numbers; points within `reach` of one another belong together."""
    open3d = import_open3d()
    if not len(points):
        return np.zeros(0, np.int64)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.astype(np.float64)))
    return np.asarray(cloud.cluster_dbscan(eps=reach, min_points=1), np.int64)
