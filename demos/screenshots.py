"""Pictures of the running apps, for the documentation and to look at.

    python demos/screenshots.py --out DIR [--apps NAME ...] [--phone] [--jpeg SIDE]

Starts each app on this machine, does with a real browser what a person would do (example, prompt, run) and takes the
whole page: NAME.png at 1280 pixels' width and, with --phone, NAME_phone.png at 390.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image
from tqdm import tqdm

from demos.common.browsing import DESKTOP, PHONE, WAIT_MS, StageDriver, chromium, open_app
from demos.common.serving import blocks, launch, parser_of, services_of
from zim.errors import ConfigError, ZimError
from zim.files import atomic_write

CAT, CAT_FACE = ((6, 4), (402, 298)), (235, 150)
JOB_MS = 300_000


def _on_the_cat(prefix: str) -> Callable[[Any], StageDriver]:
    def walk(page: Any) -> StageDriver:
        stage = StageDriver(page, prefix)
        stage.example("cat")
        stage.tool("box")
        stage.drag(*CAT)
        return stage

    return walk


def _click_to_matte(page: Any) -> None:
    stage = _on_the_cat("click")(page)
    stage.view("compare")


def _matte_anything(page: Any) -> None:
    stage = _on_the_cat("matting")(page)
    stage.after(lambda: page.click("#matting-go"))


def _hq_sam(page: Any) -> None:
    _on_the_cat("hq")(page).view("compare")


def _inpaint_anything(page: Any) -> None:
    stage = StageDriver(page, "inpaint")
    stage.example("coffee")
    stage.tool("box")
    stage.drag((120, 40), (500, 330))
    stage.after(lambda: page.click("#inpaint-remove"))


def _everything(page: Any) -> None:
    stage = StageDriver(page, "everything")
    stage.example("coffee")
    stage.after(lambda: page.click("#everything-start"))


def _medical_volume(page: Any) -> None:
    stage = StageDriver(page, "medical")
    stage.after(lambda: page.locator("[id^=medical-example-]").first.click())
    width, height = stage.photo_size()
    stage.tool("box")
    stage.drag((0.09 * width, 0.46 * height), (0.5 * width, 0.93 * height))  # the bright one of the made-up organs
    stage.after(lambda: page.click("#medical-follow"))
    page.locator("#medical-surface canvas").wait_for()
    page.wait_for_timeout(2000)


def _multiview_3d(page: Any) -> None:
    stage = StageDriver(page, "views")
    stage.after(lambda: page.click("#views-example-solid"))
    width, height = stage.photo_size()
    stage.tool("box")
    stage.drag((0.2 * width, 0.25 * height), (0.8 * width, 0.9 * height))
    page.set_default_timeout(JOB_MS)
    page.click("#views-find")
    page.locator("#views-viewer canvas").wait_for(timeout=JOB_MS)
    page.wait_for_timeout(2000)


def _compare(page: Any) -> None:
    _on_the_cat("compare")(page).view("compare")


def _gallery(page: Any) -> None:
    stage = _on_the_cat("click")(page)
    stage.view("cutout")


WALKS: dict[str, Callable[[Any], None]] = {
    "click_to_matte": _click_to_matte,
    "matte_anything": _matte_anything,
    "hq_sam": _hq_sam,
    "inpaint_anything": _inpaint_anything,
    "everything": _everything,
    "medical_volume": _medical_volume,
    "multiview_3d": _multiview_3d,
    "compare": _compare,
    "gallery": _gallery,
}
"""What is done in each app before its picture is taken."""


def take(browser: Any, address: str, name: str, viewport: dict[str, int], path: Path) -> None:
    """Open an app, do what its walk does, and save the whole page."""
    page = open_app(browser, address, viewport)
    page.set_default_timeout(WAIT_MS)
    try:
        WALKS[name](page)
        page.mouse.move(1, 1)
        page.wait_for_timeout(400)
        with atomic_write(path) as temporary:
            temporary.write_bytes(page.screenshot(full_page=True, type="png"))
    finally:
        page.context.close()


def shrink(path: Path, side: int) -> None:
    """A JPEG of that width beside a PNG, which is removed."""
    with Image.open(path) as picture:
        height = round(picture.height * side / picture.width)
        small = picture.convert("RGB").resize((side, height), Image.Resampling.LANCZOS)
    with atomic_write(path.with_suffix(".jpg")) as temporary:
        small.save(temporary, "JPEG", quality=82, optimize=True)
    path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the pictures. Returns 0, or 1 after an error of one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--apps", nargs="+", default=list(WALKS), metavar="NAME")
    parser.add_argument("--phone", action="store_true", help="at a phone's width, too")
    parser.add_argument("--jpeg", type=int, metavar="WIDTH", help="as JPEG of this width")
    options = parser.parse_args(arguments)
    try:
        unknown = [name for name in options.apps if name not in WALKS]
        if unknown:
            raise ConfigError(f"--apps: expected names of {', '.join(WALKS)}, got {unknown[0]!r}")
        options.out.mkdir(parents=True, exist_ok=True)
        services = services_of(parser_of("").parse_args([]))
        with chromium() as browser:
            for name in tqdm(options.apps, unit="app"):
                module = importlib.import_module(f"demos.{name}")
                app = blocks(module.TITLE, module.build, services)
                address = launch(app, wait=False)
                shots = {name: DESKTOP} | ({f"{name}_phone": PHONE} if options.phone else {})
                for file, viewport in shots.items():
                    path = options.out / f"{file}.png"
                    take(browser, address, name, viewport, path)
                    if options.jpeg:
                        shrink(path, options.jpeg)
                app.close(verbose=False)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
