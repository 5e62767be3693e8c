"""One door to volumes on disk, whatever their format."""

from pathlib import Path

from zim.errors import DataError

from . import itk_files, nifti
from .geometry import Geometry
from .volume import Volume

SUFFIXES = (*nifti.SUFFIXES, *itk_files.SUFFIXES)


def load_volume(
    path: str | Path, *, time_index: int | None = None, series: str | None = None, nan_as_zero: bool = False
) -> Volume:
    """Read a volume: NIfTI, NRRD, MetaImage, or a folder with a DICOM series.

    Args:
        path: the file or folder.
        time_index: which volume of a four-dimensional file.
        series: which series of a DICOM folder.
        nan_as_zero: take voxels that are not finite as 0 rather than refuse them.

    Raises:
        DataError: nothing there, an unknown format, or a file that is not what it should be; names the file.
        MissingDependencyError: the library for this format is not installed.
    """
    source = Path(path)
    if source.is_dir():
        return itk_files.read_dicom(source, series=series, nan_as_zero=nan_as_zero)
    if not source.is_file():
        raise DataError(f"{source}: expected a volume, found nothing")
    name = source.name.lower()
    if name.endswith(nifti.SUFFIXES):
        return nifti.read_nifti(source, time_index=time_index, nan_as_zero=nan_as_zero)
    if name.endswith(itk_files.SUFFIXES):
        return itk_files.read_itk(source, time_index=time_index, nan_as_zero=nan_as_zero)
    raise DataError(f"{source}: expected {', '.join(SUFFIXES)} or a DICOM folder, got {source.suffix or 'no suffix'}")


def load_geometry(path: str | Path) -> Geometry:
    """The grid of a NIfTI, NRRD or MetaImage file of two or three dimensions, from its header alone.

    Raises:
        DataError: a file that is not what it should be.
    """
    read = nifti.read_geometry if str(path).lower().endswith(nifti.SUFFIXES) else itk_files.read_geometry
    return read(Path(path))


def load_shape(path: str | Path) -> tuple[int, ...]:
    """The sides that a NIfTI, NRRD or MetaImage file's header promises, time included; no voxel is read.

    Raises:
        DataError: nothing there, an unknown format, a file that is not what it should be, or (NRRD, MetaImage) one
            whose voxels lie in another file.
    """
    source = Path(path)
    name = source.name.lower()
    if not source.is_file():
        raise DataError(f"{source}: expected a volume, found nothing")
    if name.endswith(nifti.SUFFIXES):
        return nifti.read_shape(source)
    if name.endswith(itk_files.WRITABLE):
        itk_files.check_self_contained(source)
        return itk_files.read_shape(source)
    raise DataError(f"{source}: expected a name that ends in {', '.join((*nifti.SUFFIXES, *itk_files.WRITABLE))}")


def stem_of(path: str | Path) -> str:
    """The name of a volume without its suffix, .nii.gz as a whole."""
    name = Path(path).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
