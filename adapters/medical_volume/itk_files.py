"""NRRD, MetaImage and DICOM series, through SimpleITK, which counts (z, y, x) and looks to the left and back (LPS)."""

import locale
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError, MissingDependencyError
from zim.files import atomic_write

from .geometry import Geometry
from .volume import Volume, as_finite, check_voxel_count, time_step

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (".nrrd", ".mha")

_NRRD_ELSEWHERE = re.compile(rb"data[ \t]*file[ \t]*:", re.IGNORECASE)
_META_ELSEWHERE = re.compile(rb"ElementDataFile(?![ \t]*[=:][ \t]*LOCAL[ \t]*\r?\n)", re.IGNORECASE)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@contextmanager
def keeping_locale() -> Iterator[None]:
    """ITK's DICOM library leaves the process in the "C" locale, in which Python opens text files as ASCII."""
    kept = {category: locale.setlocale(category) for category in (locale.LC_CTYPE, locale.LC_NUMERIC)}
    try:
        yield
    finally:
        for category, name in kept.items():
            locale.setlocale(category, name)


class ItkTemplate:
    """Origin, spacing and directions as SimpleITK has them; two or three dimensions."""

    suffix = ".nrrd"

    def __init__(self, origin: Any, spacing: Any, direction: Any) -> None:
        self._origin, self._spacing, self._direction = tuple(origin), tuple(spacing), tuple(direction)

    @keeping_locale()
    def write(self, path: Path, stored: NDArray[Any]) -> None:
        """See `Template`; compressed."""
        if path.suffix.lower() not in WRITABLE:
            raise DataError(f"{path}: expected a name that ends in {' or '.join(WRITABLE)} for this volume")
        sitk = _simpleitk()
        flat = stored[:, :, 0] if len(self._origin) == 2 else stored
        image = sitk.GetImageFromArray(np.ascontiguousarray(flat.T))
        image.SetOrigin(self._origin)
        image.SetSpacing(self._spacing)
        image.SetDirection(self._direction)
        with atomic_write(path) as temporary:
            try:
                sitk.WriteImage(image, str(temporary), True)
            except RuntimeError as error:
                raise OSError(f"{path}: cannot be written ({_reason(error)})") from error


@keeping_locale()
def read_itk(path: Path, *, time_index: int | None = None, nan_as_zero: bool = False) -> Volume:
    """Read one NRRD or MetaImage volume of two to four dimensions.

    Raises:
        DataError: damaged or of another format, too large, colours, not finite, or a missing time index.
        MissingDependencyError: SimpleITK is not installed.
    """
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
        size = tuple(int(side) for side in reader.GetSize())
        if reader.GetNumberOfComponents() != 1:
            raise DataError(f"{path}: expected one number a voxel, got {reader.GetNumberOfComponents()}")
        step = time_step(size, time_index, str(path))
        check_voxel_count(size[:3], 4, str(path))
        if step is not None:
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
            reader.SetExtractIndex([0, 0, 0, step, *[0] * (len(size) - 4)])
        return _volume(reader.Execute(), str(path), nan_as_zero)
    except RuntimeError as error:
        raise DataError(f"{path}: is not an image that SimpleITK can read ({_reason(error)})") from error


@keeping_locale()
def read_geometry(path: Path) -> Geometry:
    """The grid in a file's header; its voxels are not read.

    Raises:
        DataError: not a file that SimpleITK reads, or an impossible grid.
    """
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"{path}: is not an image that SimpleITK can read ({_reason(error)})") from error
    size, dimensions = (*reader.GetSize(), 1)[:3], min(reader.GetDimension(), 3)
    return Geometry.of(size, _affine(reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection(), dimensions))


@keeping_locale()
def read_shape(path: Path) -> tuple[int, ...]:
    """All sides in a file's header, time included; its voxels are not read.

    Raises:
        DataError: not a file that SimpleITK reads.
    """
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"{path}: is not an image that SimpleITK can read ({_reason(error)})") from error
    return tuple(int(side) for side in reader.GetSize())


def check_self_contained(path: Path) -> None:
    """Refuse a header that names another file for its voxels: for files from strangers.

    Every mention counts, wherever it stands, so that nothing depends on how a library reads a header.

    Raises:
        DataError: voxels that lie elsewhere.
    """
    content = path.read_bytes()
    elsewhere = _NRRD_ELSEWHERE if path.suffix.lower() in (".nrrd", ".nhdr") else _META_ELSEWHERE
    if elsewhere.search(content):
        raise DataError(f"{path}: expected a file that holds its own voxels, its header names another one")


def _reader(path: Path) -> Any:
    """A reader of the format that the name promises, and of no other."""
    sitk = _simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if path.suffix.lower() in (".nrrd", ".nhdr") else "MetaImageIO")
    reader.SetFileName(str(path))
    return reader


@keeping_locale()
def read_dicom(folder: Path, *, series: str | None = None, nan_as_zero: bool = False) -> Volume:
    """Read one DICOM series of a folder.

    Args:
        folder: with the files of one series, or of several.
        series: the series instance UID, needed where there are several.

    Raises:
        DataError: no series, several without a choice, an unknown one, slices of unequal distance, or damage.
        MissingDependencyError: SimpleITK is not installed.
    """
    sitk = _simpleitk()
    found = list(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    if not found:
        raise DataError(f"{folder}: expected a folder with a DICOM series, found none")
    if series is None and len(found) > 1:
        raise DataError(f"{folder}: expected --series with one of {', '.join(found)}, got none")
    if series is not None and series not in found:
        raise DataError(f"{folder}: expected --series with one of {', '.join(found)}, got {series!r}")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series or found[0])
    _check_distances(sitk, files, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        return _volume(reader.Execute(), str(folder), nan_as_zero)
    except RuntimeError as error:
        raise DataError(f"{folder}: is not a series that SimpleITK can read ({_reason(error)})") from error


def _check_distances(sitk: Any, files: Any, folder: Path) -> None:
    """Slices must follow one another at one distance; a missing one would shift everything behind it."""
    places = []
    reader = sitk.ImageFileReader()
    size: tuple[int, ...] = ()
    for file in files:
        reader.SetFileName(file)
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise DataError(f"{file}: is not DICOM that can be read ({_reason(error)})") from error
        size = tuple(reader.GetSize())
        places.append(reader.GetOrigin()[:3])
    check_voxel_count((*size[:2], len(files)), 4, str(folder))
    steps = np.linalg.norm(np.diff(np.array(places), axis=0), axis=1)
    if len(steps) and steps.max() - steps.min() > 0.01 * max(float(steps.max()), 1e-6) + 1e-3:
        raise DataError(
            f"{folder}: expected slices at one distance, got {steps.min():g} to {steps.max():g} mm: is one missing?"
        )


def _volume(image: Any, source: str, nan_as_zero: bool) -> Volume:
    sitk = _simpleitk()
    dimensions = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(f"{source}: expected one number a voxel, got {image.GetNumberOfComponentsPerPixel()}")
    origin, spacing, direction = image.GetOrigin(), image.GetSpacing(), image.GetDirection()
    stored = sitk.GetArrayFromImage(image).T  # (x, y, z)
    stored = stored.reshape(stored.shape + (1,) * (3 - stored.ndim))
    if stored.dtype.kind not in "uif":
        raise DataError(f"{source}: expected one number a voxel, got {stored.dtype}")
    geometry = Geometry.of(stored.shape, _affine(origin, spacing, direction, dimensions))
    voxels = as_finite(stored, source, nan_as_zero=nan_as_zero)
    template = ItkTemplate(origin, spacing, direction)
    return Volume(voxels=geometry.to_canonical(voxels), geometry=geometry, template=template, source=source)


def _affine(origin: Any, spacing: Any, direction: Any, dimensions: int) -> NDArray[np.float64]:
    """(4, 4) voxel -> world RAS+ of SimpleITK's three LPS tuples."""
    matrix, start = np.eye(3), np.zeros(3)
    matrix[:dimensions, :dimensions] = np.reshape(direction, (dimensions, dimensions)) * np.asarray(spacing)
    start[:dimensions] = origin
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ matrix
    affine[:3, 3] = _LPS_TO_RAS @ start
    return affine


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingDependencyError(
            "NRRD, MetaImage and DICOM need SimpleITK; install it with: pip install 'zim-matting[medical]'"
        ) from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK
