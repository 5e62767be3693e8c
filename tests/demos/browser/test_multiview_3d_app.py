"""3-D from several views, as a person uses it; files against the adapter called directly."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.multiview_3d.job import Place, run_prompted
from adapters.multiview_3d.propagation import PropagationConfig
from adapters.multiview_3d.scene_files import open_scene
from demos import multiview_3d
from demos.common import views_session
from demos.common.prompts import prompts_from_json
from demos.common.views_session import example_folder
from demos.multiview_3d import INSTALL, TITLE, build
from zim import load_predictor

HINT = "open3d is not installed: pip install 'zim-matting[multiview]'"
pytest.importorskip("open3d", reason=HINT, exc_type=ImportError)

VIEWS, SIDE = 4, 192
JOB = replace(views_session.JOB, points=20_000, propagation=PropagationConfig(passes=1))
BOX = ((42, 54), (96, 96), (150, 168))
"""About the solid in the first view of its example; the mouse rounds to pixels of the screen."""


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Examples and searches that take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"EXAMPLE_VIEWS": VIEWS, "EXAMPLE_SIDE": SIDE, "JOB": JOB}.items():
            patch.setattr(views_session, name, value)
        views_session._rendered.cache_clear()
        yield
    views_session._rendered.cache_clear()


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    return serve(TITLE, build)


@pytest.fixture(scope="module")
def directly(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, dict[str, Any]], Path]:
    """What the adapter writes for an example and prompts in its first view."""

    def run(name: str, prompts: dict[str, Any]) -> Path:
        folder = tmp_path_factory.mktemp("direct") / "out"
        scene = open_scene(example_folder(name))
        (wanted,) = prompts_from_json(prompts, scene.views[0].hw)
        prompt = wanted.as_prompt(1.0, scene.views[0].hw)
        run_prompted(
            scene, lambda: load_predictor("zim_tiny"), [prompt], 0, Place(folder, progress=False), JOB, model="zim_tiny"
        )
        return folder

    return run


@pytest.fixture
def zipped(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "my scene.zip"
    folder = example_folder("solid")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in folder.rglob("*"):
            packed.write(file, f"solid/{file.relative_to(folder)}")
    yield path


def alphas_of(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as packed:
        return {name: np.asarray(Image.open(io.BytesIO(packed.read(name)))) for name in packed.namelist()}


def test_example_box_search_views_viewer_and_downloads(
    address: str, new_page: Any, stage_of: Any, downloaded: Any, directly: Any
) -> None:
    page = new_page(address)
    stage = stage_of(page, "views")
    stage.after(lambda: page.click("#views-example-solid"))
    page.locator("#views-gallery img").nth(VIEWS - 1).wait_for()
    assert stage.photo_size() == (SIDE, SIDE)
    stage.after(lambda: page.click("#views-find"))
    assert "expected a point, a box or a stroke on a view, got none" in stage.message

    stage.tool("box")
    stage.canvas.scroll_into_view_if_needed()
    stage.drag(*BOX)
    page.click("#views-find")
    page.locator("#views-summary strong").first.wait_for()
    page.wait_for_function("() => document.querySelector('#views-stage .stage-view').value === 'picture:object found'")
    report = json.loads(downloaded(page, "#views-get-report").read_text())
    assert np.abs(np.subtract(report["prompts"]["box"], [*BOX[0], *BOX[2]])).max() <= 1
    assert report["seconds"] > 0 and "/tmp" not in json.dumps(report)
    wanted = directly("solid", report["prompts"])
    points = downloaded(page, "#views-get-points")
    assert points.read_bytes() == (wanted / "points.ply").read_bytes()
    assert downloaded(page, "#views-get-mesh").read_bytes() == (wanted / "mesh.glb").read_bytes()
    alphas = alphas_of(downloaded(page, "#views-get-alphas"))
    assert len(alphas) == VIEWS
    for name, alpha in alphas.items():
        assert np.array_equal(alpha, np.asarray(Image.open(wanted / "masks" / name)))
        assert alpha.shape == (SIDE, SIDE)

    first = stage.pixels()
    stage.after(lambda: page.locator("#views-gallery button").nth(3).click())
    assert "View 0003" in stage.message
    second = stage.pixels()
    assert not np.array_equal(first, second)
    page.locator("#views-viewer canvas").wait_for()
    stage.after(lambda: page.locator("#views-gallery button").nth(0).click())
    stage.tool("background")
    stage.click(20, 20)
    assert stage.root.locator(".stage-view").input_value() == "matte"


def test_uploads_that_are_no_scene_are_told_and_the_scene_stays(
    address: str, new_page: Any, stage_of: Any, zipped: Path, tmp_path: Path
) -> None:
    page = new_page(address)
    stage = stage_of(page, "views")
    stage.upload(zipped)
    assert f"{VIEWS} views" in stage.message
    wrong = {
        "text.zip": "a .zip file, and text.zip is none",
        "outside.zip": "names of files inside",
        "bare.zip": "no cameras",
    }
    (tmp_path / "text.zip").write_text("nothing")
    for name, inside in (("outside.zip", "../evil.png"), ("bare.zip", "a/picture.png")):
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8)).save(buffer, "PNG")
            packed.writestr(inside, buffer.getvalue())
    for name, message in wrong.items():
        stage.upload(tmp_path / name)
        assert message in stage.message
        assert "/tmp/" not in stage.message
        assert stage.photo_size() == (SIDE, SIDE)


def test_api_gives_what_the_adapter_gives(address: str, zipped: Path, directly: Any) -> None:
    client_of = pytest.importorskip("gradio_client")
    client = client_of.Client(address, verbose=False)
    prompts = {"box": [*BOX[0], *BOX[2]]}
    scene = client_of.handle_file(str(zipped))
    points, report = client.predict(scene, "0000", prompts, api_name="/multiview_3d")
    data = Path(points).read_bytes()
    assert data == (directly("solid", prompts) / "points.ply").read_bytes()
    head = data.partition(b"end_header\n")[0].decode()
    assert f"element vertex {report['objects'][0]['points']}\n" in head and "property float alpha" in head
    assert len(data) - len(head) - 11 == report["objects"][0]["points"] * struct.calcsize("<6f3Bf")
    refused = {
        "view: expected a name such as 0000": ("../../etc", prompts),
        "expected at most 64": ("0", {"points": [[1, 1, 1]] * 10_000}),
        "expected one object, got 2": ("0", {"objects": [prompts, prompts]}),
        "expected a finite number": ("0", {"box": [1, 2, None, 4]}),
    }
    for message, values in refused.items():
        with pytest.raises(Exception, match=message):
            client.predict(scene, *values, api_name="/multiview_3d")


def test_without_open3d_the_page_says_how_to_install_it(
    serve: Any, new_page: Any, zipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiview_3d, "has_open3d", lambda: False)
    without = serve(TITLE, build)
    page = new_page(without)
    page.locator("#views-missing").get_by_text(INSTALL).wait_for()
    assert page.locator("#views-find").count() == 0
    client_of = pytest.importorskip("gradio_client")
    client = client_of.Client(without, verbose=False)
    with pytest.raises(Exception, match="need open3d, which is not installed"):
        client.predict(client_of.handle_file(str(zipped)), "0", {}, api_name="/multiview_3d")
