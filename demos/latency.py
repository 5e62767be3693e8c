"""How long a person waits for an answer: real clicks in a real browser, timed until the new matte is on the screen.

    python demos/latency.py [--clicks 30] [--side 1024] [--json FILE]

Starts click_to_matte on this machine, opens Chromium (ZIM_CHROMIUM names another), uploads a photograph of scikit-image
at that size and clicks, the first time while the photo is still being embedded.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from demos.click_to_matte import TITLE, build
from demos.common.browsing import chromium, open_app
from demos.common.photos import example_path
from demos.common.serving import blocks, launch, parser_of, services_of
from zim.errors import ZimError
from zim.evaluation.machine import describe_machine, machine_line
from zim.files import write_json_atomic

SHOWN = "document.querySelector('#click-stage .stage').dataset"
ANSWERED = f"Number({SHOWN}.revision) > before && Number({SHOWN}.prompts) === points && {SHOWN}.busy === 'false'"


def measure(page: Any, photo: Path, clicks: int) -> list[float]:
    """Seconds from the mouse button to the picture: the first click on a new photo, then `clicks` more."""
    page.locator("#click-stage canvas").wait_for()
    with page.expect_file_chooser() as chooser:
        page.click("#click-upload")
    chooser.value.set_files(str(photo))
    page.wait_for_function(f"() => Number({SHOWN}.revision) > 0 && {SHOWN}.photo === 'true'")
    box = page.locator("#click-stage canvas").bounding_box()
    place = random.Random(0)
    seconds: list[float] = []
    for _ in range(clicks + 1):
        before = page.evaluate(f"() => Number({SHOWN}.revision)")
        x, y = place.uniform(0.3, 0.7), place.uniform(0.3, 0.9)
        start = time.perf_counter()
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_function(f"([before, points]) => {ANSWERED}", arg=[before, len(seconds) + 1])
        seconds.append(time.perf_counter() - start)
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns 0, or 1 after an error of one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--side", type=int, default=1024, help="long side of the photo")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    try:
        services = services_of(parser_of("").parse_args([]))
        address = launch(blocks(TITLE, build, services), wait=False)
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            photo = Path(folder) / "photo.png"
            with Image.open(example_path("astronaut")) as picture:
                picture.resize((options.side, options.side), Image.Resampling.LANCZOS).save(photo)
            first, *others = measure(open_app(browser, address), photo, options.clicks)
    except (ZimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = {
        "photo": [options.side, options.side],
        "first_s": round(first, 3),
        "clicks": options.clicks,
        "median_s": round(float(np.median(others)), 3),
        "p95_s": round(float(np.percentile(others, 95)), 3),
        "machine": describe_machine(),
    }
    rest = f"{options.clicks} more: median {found['median_s']} s, 95% {found['p95_s']} s"
    print(f"first click {found['first_s']} s; {rest}; {machine_line(describe_machine())}")
    if options.json is not None:
        write_json_atomic(options.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
