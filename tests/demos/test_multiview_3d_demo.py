"""Scenes as .zip and the search in 3-D, without a browser."""

import io
import json
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.multiview_3d.scenes import RenderedScene, rendered_scene, write_rendered
from demos.common import views_session
from demos.common.limits import MAX_UPLOAD_BYTES
from demos.common.models import ModelPool
from demos.common.outbox import Outbox
from demos.common.photo_session import PhotoSession, asking
from demos.common.prompts import ObjectPrompts
from demos.common.views_archive import ArchiveLimits, unpack_scene
from demos.common.views_session import ViewsDesk, example_folder, find_object, read_zip, summary, view_of
from zim.errors import DataError, ZimError
from zim.prompts import box_from_alpha


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def folder_zip(path: Path, folder: Path, inside: str = "") -> Path:
    files = [one for one in folder.rglob("*") if one.is_file()]
    return archive(path, {inside + str(one.relative_to(folder)): one.read_bytes() for one in files})


def picture(side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_scene_files_are_unpacked_and_the_rest_is_left(tmp_path: Path) -> None:
    files = {
        "my scene/transforms.json": b"{}",
        "my scene/images/0.PNG": picture(),
        "my scene/video.mp4": b"x" * 99,
        "my scene/run.sh": b"rm",
        "__MACOSX/my scene/._0.png": b"y",
    }
    root = unpack_scene(archive(tmp_path / "s.zip", files), tmp_path / "out")
    assert root == tmp_path / "out" / "my scene"
    found = sorted(str(one.relative_to(root)) for one in root.rglob("*") if one.is_file())
    assert found == ["images/0.PNG", "transforms.json"]
    assert (root / "images/0.PNG").read_bytes() == picture()


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", "C:/a.png", "a\\..\\b", "a/" * 9 + "b"])
def test_names_that_lead_outside_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "s.zip", {"good.png": picture(), name: picture()})
    (tmp_path / "deep" / "out").mkdir(parents=True)
    with pytest.raises(DataError, match="names of files inside the scene's folder"):
        unpack_scene(path, tmp_path / "deep" / "out")
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["s.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("images/0.png")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="a link or device: 'images/0.png'"):
        unpack_scene(tmp_path / "s.zip", tmp_path / "out")


def test_bombs_of_all_kinds(tmp_path: Path) -> None:
    limits = ArchiveLimits(files=5, unpacked=10_000)
    many = archive(tmp_path / "many.zip", {f"{i}.png": b"" for i in range(6)})
    with pytest.raises(ZimError, match="at most 5 files, got 6"):
        unpack_scene(many, tmp_path / "out", limits)
    large = archive(tmp_path / "large.zip", {"a.png": b"\0" * 9_000, "b.png": b"\0" * 2_000_000})
    with pytest.raises(ZimError, match="at most 0 MB unpacked, got 2 MB"):
        unpack_scene(large, tmp_path / "out", limits)
    data = bytearray(large.read_bytes())  # the list is made to say that b.png has 100 bytes
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    (tmp_path / "liar.zip").write_bytes(bytes(data))
    with pytest.raises(ZimError, match="damaged|more in the .zip"):
        unpack_scene(tmp_path / "liar.zip", tmp_path / "out2", limits)
    assert sum(one.stat().st_size for one in (tmp_path / "out2").rglob("*") if one.is_file()) <= 10_000
    with (tmp_path / "huge.zip").open("wb") as huge:
        huge.truncate(MAX_UPLOAD_BYTES + 1)
    with pytest.raises(ZimError, match=r"at most 20 MB, got 20.0 MB"):
        unpack_scene(tmp_path / "huge.zip", tmp_path / "out3")


def test_other_files_passwords_and_doubles(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DataError, match=r"a .zip file, and text.zip is none or is damaged"):
        unpack_scene(tmp_path / "text.zip", tmp_path / "out")
    for value in (None, 7, tmp_path / "missing.zip", ["a"]):
        with pytest.raises(DataError, match="expected a .zip file, got"):
            unpack_scene(value, tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"found no pictures and cameras"):
        unpack_scene(archive(tmp_path / "empty.zip", {"a.exe": b"x"}), tmp_path / "out")
    double = archive(tmp_path / "double.zip", {"a.png": picture(), "A.PNG": picture()})
    with pytest.raises(DataError, match="'A.PNG' twice"):
        unpack_scene(double, tmp_path / "out")
    locked = bytearray(archive(tmp_path / "locked.zip", {"a.png": picture()}).read_bytes())
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    with pytest.raises(DataError, match="without a password"):
        unpack_scene(tmp_path / "locked.zip", tmp_path / "out")


def test_messages_do_not_name_the_server_s_folders(tmp_path: Path) -> None:
    content = {"fl_x": 9, "frames": [{"file_path": "images/none.png", "transform_matrix": np.eye(4).tolist()}]}
    path = archive(tmp_path / "s.zip", {"transforms.json": json.dumps(content).encode()})
    with pytest.raises(DataError, match="at least two usable views") as told:
        read_zip(path, Outbox())
    assert "images/none.png" in str(told.value) and "/tmp" not in str(told.value).replace("scene: ", "")


class SceneTruth:
    """Knows which view it is shown, and answers with that view's true alpha."""

    def __init__(self, made: RenderedScene) -> None:
        self._alphas = {view.read_image().tobytes(): made.alphas[0, i] for i, view in enumerate(made.scene.views)}
        self._shown = next(iter(self._alphas.values()))

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        self._shown = self._alphas.get(image.tobytes(), np.zeros(image.shape[:2], np.float32))

    def predict(self, *arguments: object, **prompts: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sure = np.clip(self._shown, 1e-6, 1 - 1e-6)
        return np.log(sure / (1 - sure))[None], np.ones(1), np.zeros((1, 256, 256))


@pytest.fixture(scope="module")
def made() -> RenderedScene:
    pytest.importorskip("open3d", reason="open3d is not installed", exc_type=ImportError)
    return rendered_scene("solid", views=5, side=128, samples=2, points=10_000)


def whole_box(made: RenderedScene, view: int) -> ObjectPrompts:
    x1, y1, x2, y2 = (float(v) for v in box_from_alpha(made.alphas[0, view], 0.5))
    return ObjectPrompts(box=(x1, y1, x2 + 1, y2 + 1))


@pytest.mark.parametrize("depth", [False, True])
def test_an_uploaded_scene_is_searched(made: RenderedScene, tmp_path: Path, depth: bool) -> None:
    write_rendered(made, tmp_path / "folder", depth=depth)
    path = folder_zip(tmp_path / "my.zip", tmp_path / "folder", "inner/")
    pool = ModelPool(predictors={"truth": SceneTruth(made)})
    desk = ViewsDesk(PhotoSession(asking(pool), ("truth",)))
    desk.open_zip(path)
    assert [caption for _, caption in desk.thumbnails()] == list(made.scene.names)
    desk.show_view(1)
    desk.session.load((whole_box(made, 1),))
    opened, files, told = desk.required, Outbox(), []
    found = find_object(
        pool, "truth", opened.scene, 1, desk.session.drawing.current, files.path("found"), lambda *s: told.append(s)
    )
    assert {name for name, _, _ in told} >= {"pass 1", "writing"} and ("fusing" in {n for n, _, _ in told}) == depth
    for i, name in enumerate(made.scene.names):
        assert ((found.alpha(name) > 0.5) ^ (made.alphas[0, i] > 0.5)).mean() < 0.005
    with zipfile.ZipFile(found.file("alphas")) as packed:
        assert sorted(packed.namelist()) == [f"{name}.png" for name in made.scene.names]
    report = json.loads(found.file("report").read_text())
    assert report["prompts"]["box"] and report["prompted_view"] == made.scene.names[1]
    assert found.file("mesh").read_bytes()[:4] == b"glTF" and not (found.folder / "work").exists()
    desk.take_found(opened, found, files)
    desk.show_view(4)
    assert set(desk.session.value().pictures) == {"object found", "its alpha"}
    assert desk.thumbnails()[1][1].endswith(": prompted")
    assert "5 of 5 views" in summary(found)
    desk.show_view(1)
    assert desk.session.drawing.current.box is not None  # what was drawn on a view is still there
    desk.open_zip(path)
    assert desk.found is None and not found.folder.exists()
    with pytest.raises(DataError, match="the scene was changed meanwhile"):
        desk.take_found(opened, found, Outbox())
    desk.close()


def test_what_cannot_be_searched_is_told(made: RenderedScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ModelPool(predictors={"truth": SceneTruth(made)})
    args: tuple[Any, ...] = (pool, "truth", made.scene, 0)
    with pytest.raises(ZimError, match="expected a point, a box or a stroke on a view"):
        find_object(*args, ObjectPrompts(), tmp_path / "a")
    monkeypatch.setattr(views_session, "JOB_SECONDS", 0.0)
    with pytest.raises(ZimError, match="longer than the 0 s"):
        find_object(*args, whole_box(made, 0), tmp_path / "b")
    assert not (tmp_path / "b").exists()
    desk = ViewsDesk(PhotoSession(asking(pool), ("truth",)))
    for value in (0, "x", None, float("nan")):
        with pytest.raises(ZimError):
            desk.show_view(value)
    with pytest.raises(ZimError, match="expected one of plant, bicycle, solid, got"):
        example_folder(["plant"])


@pytest.mark.parametrize("key", [None, 3, "7", "²", "../0000", "-1", "9" * 5000, "."])
def test_views_by_name_or_number(made: RenderedScene, key: Any) -> None:
    assert view_of(made.scene, "0002") == view_of(made.scene, "2") == 2
    with pytest.raises(DataError, match="expected a name such as 0000, 0001, 0002, or 0 to 4, got"):
        view_of(made.scene, key)
