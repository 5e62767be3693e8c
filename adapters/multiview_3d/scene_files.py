"""A scene from a folder, whatever its cameras are written in."""

from collections.abc import Callable
from pathlib import Path

from zim.errors import ConfigError, DataError

from . import colmap, llff, scannet, trajectory, transforms_json
from .views import Scene, Skipped, View, fitted_view

Reader = Callable[[Path], tuple[list[View], list[Skipped]]]

READERS: dict[str, tuple[Callable[[Path], bool], Reader]] = {
    "transforms": (lambda root: transforms_json.transforms_file(root) is not None, transforms_json.read_transforms),
    "colmap": (lambda root: colmap.sparse_folder(root) is not None, colmap.read_colmap),
    "scannet": (lambda root: scannet.intrinsics_file(root) is not None, scannet.read_scannet),
    "trajectory": (lambda root: trajectory.trajectory_file(root) is not None, trajectory.read_trajectory),
    "llff": (lambda root: (root / llff.FILE).is_file(), llff.read_llff),
}
"""Layouts in the order in which they are looked for: whether a folder has one, and its reader."""

SURFACES = ("mesh.ply", "mesh.glb", "mesh.obj", "points.ply", "point_cloud.ply", "fused.ply", "sparse_pc.ply")


def open_scene(root: str | Path, layout: str | None = None, *, surface: Path | None = None) -> Scene:
    """Read a scene's cameras; pictures are read when they are needed.

    Args:
        root: the folder, or a transforms file.
        layout: a key of `READERS`; found out when None.
        surface: mesh or point cloud; files of the usual names (`SURFACES`) are found by themselves.

    Raises:
        ConfigError: an unknown layout.
        DataError: no camera file, an unreadable one, or fewer than two usable views.
    """
    folder = Path(root)
    if not folder.exists():
        raise DataError(f"scene: expected an existing folder, got {folder}")
    if layout is not None and layout not in READERS:
        raise ConfigError(f"layout: expected one of {', '.join(READERS)}, got {layout!r}")
    chosen = layout or next((name for name, (fits, _) in READERS.items() if fits(folder)), None)
    if chosen is None:
        raise DataError(
            f"{folder}: found no cameras; expected transforms.json, a COLMAP model, poses_bounds.npy, "
            "ScanNet's pose/ and intrinsic/, or trajectory.log"
        )
    views, skipped = READERS[chosen][1](folder)
    fitted = [fitted_view(view) for view in views]
    beside = folder if folder.is_dir() else folder.parent
    if surface is None:
        surface = next((beside / name for name in SURFACES if (beside / name).is_file()), None)
    elif not surface.is_file():
        raise DataError(f"surface: expected an existing file, got {surface}")
    return Scene(
        views=tuple(view for view in fitted if isinstance(view, View)),
        layout=chosen,
        skipped=(*skipped, *(each for each in fitted if isinstance(each, Skipped))),
        surface=surface,
    )
