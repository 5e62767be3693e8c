"""NIfTI files, through nibabel: read without trusting the header, written with the header they came with."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zim.errors import DataError, MissingDependencyError
from zim.files import atomic_write

from .geometry import Geometry
from .volume import Volume, as_finite, check_voxel_count, time_step

SUFFIXES = (".nii", ".nii.gz")

_UNPACKED_AT_ONCE = 1 << 22

_GZIP_BEST = 1100
"""No gzip file unpacks to more than about 1,032 times its size."""


class NiftiTemplate:
    """A NIfTI header: affine, qform and sform with their codes, zooms and units."""

    suffix = ".nii.gz"

    def __init__(self, header: Any, image_class: Any, shape: tuple[int, ...]) -> None:
        self._header, self._class, self._shape = header.copy(), image_class, shape

    def write(self, path: Path, stored: NDArray[Any]) -> None:
        """See `Template`; scl_slope 1, scl_inter 0, and as many dimensions as the grid of the file had."""
        if not str(path).lower().endswith(SUFFIXES):
            raise DataError(f"{path}: expected a name that ends in .nii or .nii.gz for a volume from NIfTI")
        header = self._header.copy()
        header.set_data_dtype(stored.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        image = self._class(np.asarray(stored).reshape(self._shape), None, header)  # None: the header's own forms
        suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
        with atomic_write(path) as temporary:
            named = temporary.with_name(temporary.name + suffix)  # nibabel goes by the whole suffix
            try:
                image.to_filename(named)
                named.replace(temporary)
            finally:
                named.unlink(missing_ok=True)


def read_nifti(path: Path, *, time_index: int | None = None, nan_as_zero: bool = False) -> Volume:
    """Read one volume.

    Args:
        path: .nii or .nii.gz, NIfTI-1 or -2, any byte order, two to four dimensions.
        time_index: which of a four-dimensional file.
        nan_as_zero: take NaN and infinite voxels as 0.

    Raises:
        DataError: not NIfTI, damaged or cut off, a header that promises more than the file can hold, colours or
            complex numbers, voxels that are not finite, or a missing time index.
    """
    nibabel = _nibabel()
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):  # NIfTI-2 and single files are kinds of it
            raise DataError(f"{path}: expected a NIfTI file, got {type(image).__name__}")
        return _read(path, image, time_index, nan_as_zero)
    except DataError as error:
        raise DataError(_named(path, str(error))) from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise DataError(f"{path}: is not a NIfTI file that can be read ({_first_line(error)})") from error
    except (OSError, EOFError, zlib.error, ValueError, TypeError, OverflowError, IndexError) as error:
        raise DataError(f"{path}: is damaged or cut off ({_first_line(error)})") from error


def read_geometry(path: Path) -> Geometry:
    """The grid in a file's header; its voxels are not read.

    Raises:
        DataError: not NIfTI, or an impossible grid.
    """
    nibabel = _nibabel()
    try:
        image = nibabel.load(path)
        return Geometry.of((*image.shape[:3], 1, 1)[:3], _affine(image))
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError) as error:
        raise DataError(f"{path}: is not a NIfTI file that can be read ({_first_line(error)})") from error


def read_shape(path: Path) -> tuple[int, ...]:
    """All sides in a file's header, time included; its voxels are not read.

    Raises:
        DataError: not NIfTI.
    """
    nibabel = _nibabel()
    try:
        return tuple(int(side) for side in nibabel.load(path).shape)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError) as error:
        raise DataError(f"{path}: is not a NIfTI file that can be read ({_first_line(error)})") from error
    except (EOFError, zlib.error, ValueError, TypeError, OverflowError, IndexError) as error:
        raise DataError(f"{path}: is damaged or cut off ({_first_line(error)})") from error


def _read(path: Path, image: Any, time_index: int | None, nan_as_zero: bool) -> Volume:
    header, shape = image.header, tuple(int(side) for side in image.shape)
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "uif":
        raise DataError(f"{path}: expected one number a voxel, got {dtype}")
    step = time_step(shape, time_index, str(path))
    check_voxel_count(shape[:3], dtype.itemsize, str(path))
    promised = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
    _check_room(path, promised, int(header.get_data_offset()))
    if path.name.lower().endswith(".gz"):
        _check_packed(path, promised + int(header.get_data_offset()))
    spatial = shape[:3]
    grid = (*spatial, 1, 1)[:3]
    geometry = Geometry.of(grid, _affine(image))
    stored = _voxels(image, step).reshape(grid, order="F")
    voxels = as_finite(stored, str(path), nan_as_zero=nan_as_zero)
    template = NiftiTemplate(_spatial_header(header, spatial), _single_file(image), spatial)
    return Volume(voxels=geometry.to_canonical(voxels), geometry=geometry, template=template, source=str(path))


def _voxels(image: Any, step: int | None) -> NDArray[Any]:
    """The stored numbers with slope and intercept applied, once."""
    proxy = image.dataobj
    if step is None:
        plain = proxy.slope == 1 and proxy.inter == 0
        found = proxy.get_unscaled() if plain else np.asarray(proxy, dtype=np.float32)
        return np.asarray(found)
    return np.asarray(proxy[..., step] if proxy.ndim == 4 else proxy[..., step, 0])


def _affine(image: Any) -> NDArray[np.float64]:
    """nibabel's choice: sform, else qform, else zooms; a missing third dimension gets a length of 1 mm."""
    affine = np.array(image.affine, np.float64)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    lost: list[int] = np.flatnonzero(~(lengths > 0)).tolist() if np.isfinite(affine).all() else []
    if len(lost) == 1 and lost[0] >= len(image.shape):
        kept = [axis for axis in range(3) if axis != lost[0]]
        normal = np.cross(affine[:3, kept[0]], affine[:3, kept[1]])
        affine[:3, lost[0]] = normal / np.linalg.norm(normal)
    return affine


def _spatial_header(header: Any, spatial: tuple[int, ...]) -> Any:
    """The header without its time dimension."""
    kept = header.copy()
    kept.set_data_shape(spatial)
    if len(header.get_data_shape()) > 3:
        kept["pixdim"][4:] = 0
        kept.set_xyzt_units(xyz=header.get_xyzt_units()[0])
    return kept


def _single_file(image: Any) -> Any:
    nibabel = _nibabel()
    return nibabel.Nifti2Image if isinstance(image, nibabel.Nifti2Image) else nibabel.Nifti1Image


def _check_room(path: Path, promised: int, offset: int) -> None:
    """Compare what the header promises with what a file of this size can hold."""
    size = path.stat().st_size
    packed = path.name.lower().endswith(".gz")
    if promised + offset > size * (_GZIP_BEST if packed else 1):
        raise DataError(
            f"{path}: is cut off: its header promises {promised} bytes of voxels, the file has {size} bytes"
        )


def _check_packed(path: Path, promised: int) -> None:
    """Unpack once without keeping anything: nibabel stops reading before gzip's checksum is compared.

    Raises:
        DataError: fewer bytes than promised.
        OSError, EOFError, zlib.error: damage.
    """
    found = 0
    with gzip.open(path) as stream:
        while found < promised + _UNPACKED_AT_ONCE and (part := stream.read(_UNPACKED_AT_ONCE)):
            found += len(part)
    if found < promised:
        raise DataError(f"{path}: is cut off: its header promises {promised} bytes, there are {found}")


def _named(path: Path, message: str) -> str:
    return message if message.startswith(str(path)) else f"{path}: {message}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise MissingDependencyError(
            "NIfTI files need nibabel; install it with: pip install 'zim-matting[medical]'"
        ) from error
    return nibabel


def template_for(geometry: Geometry) -> NiftiTemplate:
    """The header of a volume that comes from no file: sform and qform with the geometry's affine, millimetres."""
    nibabel = _nibabel()
    header = nibabel.Nifti1Header()
    header.set_data_shape(geometry.shape)
    header.set_zooms(np.linalg.norm(geometry.affine[:3, :3], axis=0))
    header.set_sform(geometry.affine, code=1)
    header.set_qform(geometry.affine, code=1)
    header.set_xyzt_units("mm")
    return NiftiTemplate(header, nibabel.Nifti1Image, geometry.shape)
