"""Files in and out: twenty odd headers, the other formats, and files that are not what they say."""

import gzip
import locale
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from adapters.medical_volume.itk_files import keeping_locale
from adapters.medical_volume.loading import load_geometry, load_volume, stem_of
from zim.errors import DataError

OBLIQUE = np.array([[0.9, -0.3, 0.2, -12], [0.28, 1.1, -0.3, 30], [-0.1, 0.35, 2.4, 5], [0, 0, 0, 1]])
NEGATIVE = np.diag([-1.5, 1.5, 2.0, 1.0])
PERMUTED = np.array([[0, 0, -2.0, 4], [1.0, 0, 0, 1], [0, -1.2, 0, 9], [0, 0, 0, 1]])
ROTATED = np.array([[0.8, -0.6, 0, 3], [0.6, 0.8, 0, -2], [0, 0, 3.0, 1], [0, 0, 0, 1]])

HEADERS = {  # name -> dtype, shape, affine, qform code, sform code, suffix, what else
    "plain": ("int16", (6, 5, 4), np.eye(4), 1, 1, ".nii.gz", ""),
    "oblique": ("int16", (6, 5, 4), OBLIQUE, 0, 2, ".nii.gz", ""),
    "oblique_plain_file": ("float32", (6, 5, 4), OBLIQUE, 0, 4, ".nii", ""),
    "negative_determinant": ("uint8", (6, 5, 4), NEGATIVE, 1, 1, ".nii", ""),
    "permuted": ("uint16", (6, 5, 4), PERMUTED, 1, 1, ".nii.gz", ""),
    "qform_only": ("int16", (6, 5, 4), ROTATED, 3, 0, ".nii.gz", ""),
    "qform_only_negative": ("int16", (6, 5, 4), NEGATIVE, 1, 0, ".nii", ""),
    "sform_only": ("int16", (6, 5, 4), ROTATED, 0, 1, ".nii.gz", ""),
    "no_form": ("int16", (6, 5, 4), np.diag([1.5, 1, 2, 1]), 0, 0, ".nii", ""),
    "different_codes": ("int16", (6, 5, 4), ROTATED, 1, 4, ".nii.gz", ""),
    "slope": ("int16", (6, 5, 4), np.eye(4), 1, 1, ".nii.gz", "slope"),
    "slope_big_endian": ("int16", (6, 5, 4), NEGATIVE, 1, 1, ".nii", "slope big"),
    "float64": ("float64", (6, 5, 4), ROTATED, 1, 1, ".nii.gz", ""),
    "big_endian": ("float32", (6, 5, 4), OBLIQUE, 0, 1, ".nii", "big"),
    "big_endian_gz": ("int32", (6, 5, 4), PERMUTED, 1, 1, ".nii.gz", "big"),
    "four_dimensional": ("int16", (6, 5, 4, 3), ROTATED, 1, 1, ".nii.gz", ""),
    "four_dimensional_slope": ("int16", (6, 5, 4, 3), NEGATIVE, 0, 1, ".nii", "slope"),
    "two_dimensional": ("uint8", (6, 5), np.diag([0.5, 0.7, 1, 1]), 1, 1, ".nii.gz", ""),
    "one_slice": ("int16", (6, 5, 1), ROTATED, 1, 1, ".nii.gz", ""),
    "nifti2": ("int16", (6, 5, 4), OBLIQUE, 0, 2, ".nii.gz", "two"),
    "micrometres": ("uint8", (6, 5, 4), np.diag([10.0, 10, 25, 1]), 1, 1, ".nii", "micron"),
}


def odd_file(name: str, folder: Path) -> tuple[Path, np.ndarray]:
    dtype, shape, affine, qcode, scode, suffix, extra = HEADERS[name]
    raw = np.random.default_rng(len(name)).integers(0, 200, shape).astype(dtype)
    kind = nibabel.Nifti2Image if "two" in extra else nibabel.Nifti1Image
    header = kind.header_class(endianness=">" if "big" in extra else "<")
    header.set_data_dtype(np.dtype(dtype).newbyteorder(">" if "big" in extra else "<"))
    image = kind(raw, None, header)
    image.header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), 2.0)[: len(shape)])
    image.set_qform(affine if qcode else None, qcode)
    image.set_sform(affine if scode else None, scode)
    image.header.set_xyzt_units("micron" if "micron" in extra else "mm", "sec" if len(shape) > 3 else None)
    path = folder / f"{name}{suffix}"
    image.to_filename(path)
    if "slope" in extra:  # written into the header by hand: nibabel would scale the array instead
        opened = gzip.open if suffix.endswith("gz") else open
        with opened(path, "rb") as file:
            data = bytearray(file.read())
        data[112:120] = struct.pack(">ff" if "big" in extra else "<ff", 0.25, -10.0)
        with opened(path, "wb") as file:
            file.write(bytes(data))
        return path, raw * 0.25 - 10
    return path, raw


@pytest.mark.parametrize("name", HEADERS)
def test_what_is_saved_has_the_grid_of_what_was_read(name: str, tmp_path: Path) -> None:
    path, values = odd_file(name, tmp_path)
    four = values.ndim == 4
    volume = load_volume(path, time_index=1 if four else None)
    expected = values[..., 1] if four else values
    stored = volume.geometry.to_stored(volume.voxels)
    assert stored.dtype == np.float32
    assert np.allclose(stored.reshape(expected.shape), expected, atol=1e-4)
    before = nibabel.load(path)
    ids = (volume.voxels > np.median(volume.voxels)).astype(np.uint16)
    for array, dtype in ((ids, "uint16"), (volume.voxels / 300, "float32")):
        volume.save(tmp_path / "out.nii.gz", array)
        after = nibabel.load(tmp_path / "out.nii.gz")
        assert type(after) is type(before)
        assert np.array_equal(after.affine, before.affine)
        assert after.shape == before.shape[:3]
        assert after.header.get_zooms() == before.header.get_zooms()[: len(after.shape)]
        for code in ("qform_code", "sform_code"):
            assert int(after.header[code]) == int(before.header[code])
        for row in ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x"):
            assert np.array_equal(after.header[row], before.header[row])
        assert after.header.get_xyzt_units()[0] == before.header.get_xyzt_units()[0]
        assert after.get_data_dtype().newbyteorder("=") == dtype and after.header.endianness == before.header.endianness
        assert after.dataobj.slope == 1 and after.dataobj.inter == 0
        written = np.asarray(after.dataobj).reshape(volume.geometry.shape)
        assert np.array_equal(written, volume.geometry.to_stored(array))
        assert load_geometry(tmp_path / "out.nii.gz").same_grid(volume.geometry)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "out.nii.gz"])


def within_bounds(call: Callable[[], object], message: str) -> None:
    """The call fails with one clear error within 5 s of the processor (others may be busy beside it) and 1 GiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(DataError, match=message) as caught:
        call()
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB
    assert "\n" not in str(caught.value)


def header_bytes(shape: tuple[int, ...], magic: bytes = b"n+1\0") -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype("int16")
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["vox_offset"] = 352
    header["magic"] = magic
    return header.binaryblock + bytes(4)


def test_bad_files(tmp_path: Path, nifti_file: Callable[..., Path]) -> None:
    whole = nifti_file(np.random.default_rng(0).integers(0, 999, (40, 40, 40)).astype(np.int16)).read_bytes()

    def bad(name: str, data: bytes, message: str, **how: object) -> None:
        (tmp_path / name).write_bytes(data)
        within_bounds(lambda: load_volume(tmp_path / name, **how), message)  # type: ignore[arg-type]
        within_bounds(lambda: load_volume(tmp_path / name, **how), str(tmp_path / name))  # type: ignore[arg-type]

    bad("truncated.nii.gz", whole[: len(whole) // 2], "damaged or cut off")
    bad("damaged.nii.gz", whole[:2000] + b"\xff" * 50 + whole[2050:], "damaged or cut off")
    bad("not_gz.nii.gz", b"hello" * 100, "not a NIfTI file|damaged")
    bad("empty.nii", b"", "not a NIfTI file|damaged")
    bad("short.nii", header_bytes((5, 5, 5))[:200], "not a NIfTI file|damaged")
    bad("magic.nii", header_bytes((5, 5, 5), b"abcd") + bytes(250), "not a NIfTI file")
    bad("huge.nii", header_bytes((32767, 32767, 32767)) + bytes(100), "promises 32767 x 32767 x 32767")
    bad("huge.nii.gz", gzip.compress(header_bytes((32767, 32767, 32767)) + bytes(10**6)), "32767 x 32767")
    bad("promising.nii.gz", gzip.compress(header_bytes((900, 900, 900)) + bytes(10**6)), "is cut off")
    bad("cut.nii", header_bytes((64, 64, 64)) + bytes(1000), "is cut off")
    bad("none.nii", header_bytes((0, 5, 5)) + bytes(1000), "expected|damaged|not a NIfTI")
    bad("time.nii", header_bytes((4, 4, 4, 5)) + bytes(640), "expected a time index")
    bad("late.nii", header_bytes((4, 4, 4, 5)) + bytes(640), "from 0 to 4, got 5", time_index=5)
    bad("no_time.nii", header_bytes((4, 4, 4)) + bytes(128), "from 0 to 0, got 1", time_index=1)
    bad("photo.jpg", b"", "expected .nii, .nii.gz")
    bad("wrong.nrrd", b"NRRD0004\nnonsense\n\n", "SimpleITK can read")
    bad("wrong.mha", b"ObjectType = Image\nNDims = 3\n", "SimpleITK can read")
    huge = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 32767 32767 32767\nencoding: raw\nendian: little\n\n"
    bad("huge.nrrd", huge + bytes(100), "promises 32767 x 32767")


def test_bad_voxels(tmp_path: Path, nifti_file: Callable[..., Path]) -> None:
    array = np.ones((5, 6, 7), np.float32)
    array[2, 3, 4], array[0, 0, 0] = np.nan, np.inf
    path = nifti_file(array, name="nan.nii")
    within_bounds(lambda: load_volume(path), "expected finite voxels, got 2 that are NaN")
    mended = load_volume(path, nan_as_zero=True).voxels
    assert mended.sum() == array.size - 2 and mended[2, 3, 4] == 0
    nothing = nifti_file(np.full((4, 4, 4), np.nan, np.float32), name="all.nii")
    within_bounds(lambda: load_volume(nothing, nan_as_zero=True), "expected finite voxels, got none")
    colours = np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    within_bounds(lambda: load_volume(nifti_file(colours, name="rgb.nii")), "one number a voxel")
    within_bounds(lambda: load_volume(nifti_file(np.zeros((4, 4, 4), np.complex64))), "one number a voxel")
    flat = nifti_file(np.ones((4, 4, 4), np.int16), np.diag([1.0, 1, 1, 1]), name="flat.nii")
    data = bytearray(flat.read_bytes())
    data[280:296] = bytes(16)  # srow_x
    flat.write_bytes(bytes(data))
    within_bounds(lambda: load_volume(flat), "can be inverted")
    within_bounds(lambda: load_volume(tmp_path / "absent.nii"), "found nothing")
    with pytest.raises(DataError, match="ends in .nii"):
        load_volume(path, nan_as_zero=True).save(tmp_path / "out.nrrd", mended)


def test_simpleitk_formats_mean_the_same_places(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    array = np.random.default_rng(1).integers(-900, 900, (4, 5, 6)).astype(np.int16)  # z, y, x
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, -1))
    for suffix in (".nrrd", ".mha", ".nii.gz"):
        sitk.WriteImage(image, str(tmp_path / f"volume{suffix}"))
        volume = load_volume(tmp_path / f"volume{suffix}")
        geometry = volume.geometry
        for index in ((0, 0, 0), (5, 4, 3), (2, 1, 3)):
            lps = np.array(image.TransformIndexToPhysicalPoint(index))
            voxel = np.round(geometry.world_to_canonical(lps * (-1, -1, 1))).astype(int)
            assert volume.voxels[tuple(voxel)] == image[index]
            assert np.allclose(geometry.canonical_to_world(voxel), lps * (-1, -1, 1), atol=1e-4)
        if suffix != ".nii.gz":
            out = tmp_path / f"out{suffix}"
            volume.save(out, (volume.voxels > 0).astype(np.uint8))
            again = sitk.ReadImage(str(out))
            assert np.allclose(again.GetOrigin(), image.GetOrigin())
            assert np.allclose(again.GetDirection(), image.GetDirection(), atol=1e-12)
            assert again.GetSpacing() == image.GetSpacing() and again.GetSize() == image.GetSize()
            assert np.array_equal(sitk.GetArrayFromImage(again), array > 0)


def write_series(folder: Path, places: list[float], uid: str = "1.2.3") -> np.ndarray:
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir(exist_ok=True)
    array = np.random.default_rng(2).integers(0, 500, (len(places), 6, 5)).astype(np.int16)
    for number, (plane, place) in enumerate(zip(array, places, strict=True)):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((0.5, 0.75, 2.0))
        tags = {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0020|0032": f"0\\0\\{place:g}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number + 1),
            "0018|0050": "2",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{uid}_{number:03d}.dcm"))
        with keeping_locale():
            writer.Execute(image)
    return array


def test_dicom_series(tmp_path: Path) -> None:
    array = write_series(tmp_path / "one", [0, 2, 4, 6])
    volume = load_volume(tmp_path / "one")
    assert volume.geometry.spacing == pytest.approx((0.5, 0.75, 2.0))
    assert np.array_equal(volume.geometry.to_stored(volume.voxels), array.T)
    assert np.allclose(volume.geometry.affine[:3, :3], np.diag([-0.5, -0.75, 2.0]))  # LPS becomes RAS
    volume.save(tmp_path / "labels.nrrd", volume.voxels > 250)
    assert load_geometry(tmp_path / "labels.nrrd").same_grid(volume.geometry)
    write_series(tmp_path / "gap", [0, 2, 6, 8])
    within_bounds(lambda: load_volume(tmp_path / "gap"), "is one missing")
    write_series(tmp_path / "one", [0, 2], uid="1.2.4")
    within_bounds(lambda: load_volume(tmp_path / "one"), "--series with one of 1.2.3, 1.2.4")
    assert load_volume(tmp_path / "one", series="1.2.4").geometry.shape == (5, 6, 2)
    (tmp_path / "empty").mkdir()
    within_bounds(lambda: load_volume(tmp_path / "empty"), "found none")


def test_reading_dicom_leaves_the_locale_alone(tmp_path: Path) -> None:
    """In the "C" locale Python would read text files as ASCII; ITK's DICOM library switches to it."""
    before = locale.setlocale(locale.LC_CTYPE)
    write_series(tmp_path, [0, 2, 4])
    load_volume(tmp_path)
    assert locale.setlocale(locale.LC_CTYPE) == before
    with keeping_locale():
        locale.setlocale(locale.LC_CTYPE, "C")
    assert locale.setlocale(locale.LC_CTYPE) == before


def test_names() -> None:
    assert [stem_of(f"a/b.c{suffix}") for suffix in (".nii", ".nii.gz", ".mha", "")] == ["b.c"] * 3 + ["b.c"]


def test_real_odd_files(real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "nibabel_nifti").glob("*.nii*"))
    assert len(files) >= 7
    for path in files:
        image = nibabel.load(path)
        volume = load_volume(path, time_index=0 if len(image.shape) > 3 else None)
        volume.save(tmp_path / "out.nii.gz", volume.voxels > 0)
        after = nibabel.load(tmp_path / "out.nii.gz")
        assert np.array_equal(after.affine, image.affine) and after.shape == image.shape[:3]
        expected = np.asarray(image.dataobj)[..., 0] if len(image.shape) > 3 else np.asarray(image.dataobj)
        assert np.allclose(volume.geometry.to_stored(volume.voxels), expected, rtol=1e-5)
    sitk = pytest.importorskip("SimpleITK")
    for path in sorted((real_data / "pyradiomics_nrrd").glob("*.nrrd")):
        if sitk.ReadImage(str(path)).GetDimension() > 3:
            continue
        volume = load_volume(path)
        volume.save(tmp_path / "out.nrrd", volume.voxels > 0)
        assert load_volume(tmp_path / "out.nrrd").geometry.same_grid(volume.geometry, 1e-4)
