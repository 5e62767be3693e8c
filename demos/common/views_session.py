"""One person's scene of several views: the view that is prompted, and the object that was found in all of them."""

import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.multiview_3d.contained import open_contained, without_folder
from adapters.multiview_3d.job import JobConfig, Place, run_prompted
from adapters.multiview_3d.pose_files import read_json
from adapters.multiview_3d.propagation import PropagationConfig
from adapters.multiview_3d.radiance_training import RadianceConfig
from adapters.multiview_3d.scenes import Kind, rendered_scene, write_rendered
from adapters.multiview_3d.views import Scene
from zim.cutout import composite, cutout
from zim.errors import DataError, PromptError
from zim.evaluation.samples import downsize
from zim.files import write_json_atomic
from zim.image_io import read_alpha, save_png

from .errors import LimitError
from .limits import JOB_SECONDS, number, short
from .models import Clock, ModelPool
from .outbox import Outbox
from .photo_desk import Desk
from .photo_session import PhotoSession
from .photos import open_photo
from .prompts import ObjectPrompts
from .turns import PredictorInTurns, Seats
from .views_archive import unpack_scene

EXAMPLES: dict[str, Kind] = {"plant": "leaves", "bicycle": "bicycle", "solid": "solid"}
EXAMPLE_VIEWS, EXAMPLE_SIDE, EXAMPLE_SEED = 6, 320, 2
JOB = JobConfig(
    points=150_000,
    radiance=RadianceConfig(side=64, coarse_side=32, steps=300, coarse_steps=150),
    propagation=PropagationConfig(passes=2),
    turntable_frames=0,
    preview=True,
)
"""Two passes, and a coarse density grid where the scene has neither depth nor a mesh: minutes, not hours."""
THUMBNAIL, SHOWN_SIDE = 240, 720
FOUND, ALPHA = "object found", "its alpha"
STATUS = {"prompted": "prompted", "accepted": "agrees", "disagrees": "not believed", "not in view": "not in view"}
Files = Literal["points", "mesh", "alphas", "report"]

_examples = Outbox()
_making = threading.Lock()
_seats = Seats(1, "the 3-D search")

Tell = Callable[[str, int, int], None]


class Found(NamedTuple):
    """An object in a scene. folder: its files. report: as report.json has it. seconds: the search took."""

    folder: Path
    report: Mapping[str, Any]
    seconds: float

    @property
    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """What became of each view, by name."""
        return {row["name"]: row for row in self.report["objects"][0]["views"]}

    def alpha(self, name: str) -> NDArray[np.float32]:
        """(H, W) float32 of a view."""
        return read_alpha(self.folder / "masks" / f"{name}.png")

    def file(self, kind: Files) -> Path:
        """A file for download.

        Raises:
            DataError: there is none of that kind.
        """
        path = self.folder / {
            "points": "points.ply", "mesh": "mesh.glb", "alphas": "alphas.zip", "report": "report.json"
        }[kind]  # fmt: skip
        if not path.is_file():
            raise DataError("mesh: this scene has no mesh, only points; take the points instead")
        return path


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenScene:
    """A scene in use. name: for file names."""

    name: str
    scene: Scene


class ViewsDesk(Desk):
    """A desk whose photo is one view of a scene."""

    def __init__(self, session: PhotoSession) -> None:
        super().__init__(session)
        self.opened: OpenScene | None = None
        self.view = 0
        self.found: Found | None = None
        self._files = Outbox()
        self._results = Outbox()
        self._prompts: dict[int, tuple[ObjectPrompts, ...]] = {}

    @property
    def required(self) -> OpenScene:
        """The scene.

        Raises:
            DataError: there is none yet.
        """
        if self.opened is None:
            raise DataError("scene: choose an example or upload a scene first")
        return self.opened

    def close(self) -> None:
        """Remove the files."""
        super().close()
        self._files.close()
        self._results.close()

    def open_zip(self, archive: Any) -> None:
        """Take an uploaded scene.

        Raises:
            ZimError: see `unpack_scene` and `open_contained`; the scene before stays.
        """
        fresh = Outbox()
        try:
            opened = read_zip(archive, fresh)
        except BaseException:
            fresh.close()
            raise
        self._take(opened, fresh)

    def open_example(self, name: Any) -> None:
        """Take an example.

        Raises:
            ZimError: no example of that name, or open3d is missing.
        """
        self._take(OpenScene(name=str(name), scene=open_contained(example_folder(name))), Outbox())

    def _take(self, opened: OpenScene, files: Outbox) -> None:
        self._files.close()
        self._results.close()
        self.opened, self.found, self._files = opened, None, files
        self._prompts.clear()
        self.view = -1
        self.show_view(0)

    def show_view(self, index: Any) -> None:
        """Put a view on the stage, with what was drawn on it before and what was found in it.

        Raises:
            ZimError: no such view, or its picture cannot be read.
        """
        scene, place = self.required.scene, int(number(index, "view"))
        if not 0 <= place < len(scene.views):
            raise DataError(f"view: expected 0 to {len(scene.views) - 1}, got {place}")
        path = self._files.beside(f"view_{place}.png")
        if not path.is_file():
            save_png(path, scene.views[place].read_image())
        photo = open_photo(path, f"{scene.names[place].replace('/', '_')}.png")
        if self.view >= 0:
            self._prompts[self.view] = self.session.drawing.objects
        self.session.start(photo)
        self.view = place
        if any(one.count for one in self._prompts.get(place, ())):
            self.session.load(self._prompts[place])
        if self.found is not None:
            self._put_found()

    def take_found(self, opened: OpenScene, found: Found, files: Outbox) -> None:
        """Take what a search found, and the folder that its files lie in.

        Raises:
            DataError: it was another scene that was searched.
        """
        if opened is not self.opened:
            raise DataError("the scene was changed meanwhile; search again in the new one")
        self._results.close()
        self.found, self._results = found, files
        self._put_found()

    def thumbnails(self) -> list[tuple[NDArray[np.uint8], str]]:
        """(picture, caption) of all views; with the object cut out where it was found."""
        if self.opened is None:
            return []
        pictures = []
        for view in self.opened.scene.views:
            image = view.read_image()
            if self.found is None:
                small, _ = downsize(image, np.ones(image.shape[:2], np.float32), THUMBNAIL)
                pictures.append((small, view.name))
                continue
            small, alpha = downsize(image, self.found.alpha(view.name), THUMBNAIL)
            status = str(self.found.rows[view.name]["status"])
            pictures.append((composite(small, (255, 255, 255), alpha), f"{view.name}: {STATUS.get(status, status)}"))
        return pictures

    def _put_found(self) -> None:
        if self.found is None:
            return
        view = self.required.scene.views[self.view]
        image, alpha = downsize(view.read_image(), self.found.alpha(view.name), SHOWN_SIDE)
        self.session.put_picture(FOUND, cutout(image, alpha))
        self.session.put_picture(ALPHA, np.repeat((alpha * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2))


def read_zip(archive: Any, files: Outbox) -> OpenScene:
    """An uploaded scene, unpacked into a folder of `files`.

    Raises:
        ZimError: see `unpack_scene` and `open_contained`.
    """
    folder = files.path("scene")
    folder.mkdir()
    root = unpack_scene(archive, folder)
    return OpenScene(name=Path(archive).stem[:60], scene=open_contained(root))


def example_folder(name: Any) -> Path:
    """An example's folder; rendered at its first use.

    Raises:
        LimitError: no such example.
        MissingDependencyError: open3d is not installed.
    """
    if not isinstance(name, str) or name not in EXAMPLES:
        raise LimitError(f"example: expected one of {', '.join(EXAMPLES)}, got {short(name)}")
    with _making:
        return _rendered(name)


@cache
def _rendered(name: str) -> Path:
    made = rendered_scene(
        EXAMPLES[name], views=EXAMPLE_VIEWS, side=EXAMPLE_SIDE, samples=2, points=10_000, seed=EXAMPLE_SEED
    )
    folder = _examples.beside(name)
    write_rendered(made, folder)
    return folder


def view_of(scene: Scene, key: Any) -> int:
    """The number of a view by its name, or by its number as text.

    Raises:
        DataError: no such view.
    """
    if isinstance(key, str) and key in scene.names:
        return scene.names.index(key)
    if isinstance(key, str) and key.isascii() and key.isdigit() and int(key[:9]) < len(scene.views):
        return int(key[:9])
    named = ", ".join(scene.names[:3])
    raise DataError(f"view: expected a name such as {named}, or 0 to {len(scene.views) - 1}, got {short(key)}")


def find_object(
    pool: ModelPool, model: str, scene: Scene, view: int, prompts: ObjectPrompts, folder: Path, tell: Tell | None = None
) -> Found:
    """Search a prompted object in 3-D and write its files.

    Args:
        pool, model: who answers; others are at the models in between.
        scene, view, prompts: in pixels of that view.
        folder: where to; made.
        tell: called with what is done, steps done and steps in all.

    Raises:
        BusyError: another search is going on, or the time is over.
        ZimError: there is nothing to prompt with, or nothing to be found.
    """
    if not prompts.count:
        raise PromptError("prompts: expected a point, a box or a stroke on a view, got none")
    with _seats.taken():
        clock, start = Clock(JOB_SECONDS), time.perf_counter()

        def step(what: str, done: int, total: int) -> None:
            clock.check()
            if tell:
                tell(what, done, total)

        try:
            prompt = prompts.as_prompt(1.0, scene.views[view].hw)
            place = Place(folder, progress=False)
            report = run_prompted(
                scene, lambda: PredictorInTurns(pool, model), [prompt], view, place, JOB, model=model, steps=step
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(folder / "work", ignore_errors=True)
        seconds = time.perf_counter() - start
        if not report["objects"][0]["points"]:
            raise DataError("nothing of the scene's surface belongs to what was prompted; prompt more of the object")
        _finish(folder, scene, {"prompts": prompts.as_json(), "seconds": round(seconds, 2)})
        return Found(folder, read_json(folder / "report.json"), seconds)


def _finish(folder: Path, scene: Scene, more: Mapping[str, Any]) -> None:
    """The alphas as .zip, and a report with `more`, without this machine's paths."""
    with zipfile.ZipFile(folder / "alphas.zip", "w", zipfile.ZIP_STORED) as packed:
        for name in scene.names:
            packed.write(folder / "masks" / f"{name}.png", f"{name}.png")
    report = read_json(folder / "report.json")
    root = next((view.image.parent for view in scene.views if isinstance(view.image, Path)), folder)
    for each in report["skipped"]:
        each["reason"] = without_folder(each["reason"], root)
    write_json_atomic(folder / "report.json", {**report, **more})


def summary(found: Found) -> str:
    """What was found, in Markdown."""
    described, rows = found.report["objects"][0], list(found.rows.values())
    believed = sum(row["status"] in ("prompted", "accepted") for row in rows)
    lines = [
        f"**{described['points']:,} points**, seen alike in **{believed} of {len(rows)} views**, "
        f"after {found.seconds:.0f} s. Surface: {SURFACES.get(found.report['geometry'], found.report['geometry'])}."
    ]
    if believed < len(rows):
        lines.append("Where a view is not believed, its alpha is drawn from the 3-D object: look at those first.")
    lines += [f"Left out: {short(each['name'])}: {each['reason'][:200]}" for each in found.report["skipped"][:5]]
    return "\n\n".join(lines)


SURFACES = {"surface": "the scene's mesh or points", "rgbd": "fused from depth", "radiance": "a coarse density grid"}

