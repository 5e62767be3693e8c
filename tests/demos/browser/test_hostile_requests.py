"""More than sixty requests that mean no good: a clear line answers each, and the app lives on in bounded memory."""

import json
import re
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from demos.common.photos import example_path

ROOT = Path(__file__).resolve().parents[3]
MEMORY_GIB = 1.5
SECONDS = 60


class Answer(NamedTuple):
    """Status and text of an answer."""

    status: int
    text: str


class Server(NamedTuple):
    """The app as a process of its own."""

    address: str
    pid: int

    def send(self, path: str, body: Any = None, *, kind: str = "application/json") -> Answer:
        """GET, or POST with a body (JSON unless it is bytes)."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": kind} if data is not None else {})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return Answer(answer.status, answer.read(2_000_000).decode(errors="replace"))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(100_000).decode(errors="replace"))

    def upload(self, name: str, content: bytes) -> Answer:
        """One file, as a browser uploads it."""
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        body = head + content + f"\r\n--{edge}--\r\n".encode()
        return self.send("/gradio_api/upload", body, kind=f"multipart/form-data; boundary={edge}")

    def matte(self, photo: Any, prompts: Any) -> Answer:
        """The API endpoint, without a client that would check anything."""
        given = photo if not isinstance(photo, str) else {"path": photo, "meta": {"_type": "gradio.FileData"}}
        return self.call({"data": [given, prompts]})

    def call(self, body: Any) -> Answer:
        """The API endpoint with any body."""
        started = self.send("/gradio_api/call/click_to_matte", body)
        if started.status != 200:
            return started
        return self.send(f"/gradio_api/call/click_to_matte/{json.loads(started.text)['event_id']}")

    @property
    def peak_gib(self) -> float:
        """Largest resident memory so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-u", str(ROOT / "demos" / "click_to_matte.py"), "--port", "7993"]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd="/", stdout=output, stderr=subprocess.STDOUT)
    end = time.monotonic() + SECONDS
    while "http://127.0.0.1:7993" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail("the app did not start: " + log.read_text())
        time.sleep(0.2)
    yield Server("http://127.0.0.1:7993", process.pid)
    process.terminate()
    process.wait(20)


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that promises a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


POINT = {"points": [[20, 20, 1]]}
CAT = example_path("cat").read_bytes()
FILES = {  # name of the upload -> content, what the answer says
    "empty.png": (b"", "is none or is damaged"),
    "text.png": (b"hello", "is none or is damaged"),
    "script.html": (b"<script>alert(1)</script>", "is none or is damaged"),
    "picture.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "is none or is damaged"),
    "print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is none or is damaged"),
    "program.exe": (b"MZ" + bytes(200), "is none or is damaged"),
    "cut.png": (CAT[:100_000], "cannot be decoded"),
    "header.png": (CAT[:8], "is none or is damaged"),
    "bomb.png": (png(30_000, 30_000, bytes(1000)), "at most 50 megapixels"),
    "zeros.png": (png(20_000, 20_000, bytes(20_000_000)), "at most 50 megapixels"),
    "large.png": (png(9_000, 9_000, bytes(1000)), "at most 50 megapixels"),
    "lying.png": (png(4000, 4000, b"abc"), "cannot be decoded"),
    "a.pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.", "is none or is damaged"),
    "zip.png": (b"PK\x03\x04" + bytes(100), "is none or is damaged"),
}
PROMPTS = {  # prompts on a good photo -> what the answer says
    "none": (None, "expected a JSON object"),
    "text": ('"points"', "expected a JSON object"),
    "number": (7, "expected a JSON object"),
    "list": ([1, 2, 3], "expected a JSON object"),
    "empty": ({}, "expected a point, a box or a stroke"),
    "no objects": ({"objects": []}, "at least one object"),
    "too many objects": ({"objects": [POINT] * 1000}, "at most 16"),
    "10,000 points": ({"points": [[1, 1, 1]] * 10_000}, "at most 64"),
    "10,000 strokes": ({"strokes": [{"label": 1, "points": [[1, 1]]}] * 10_000}, "at most 64"),
    "a long stroke": ({"strokes": [{"label": 1, "points": [[1, 1]] * 100_000}]}, "at most 512"),
    "outside": ({"points": [[99_999, 1, 1]]}, "expected a place in the photo"),
    "negative": ({"points": [[-1, 1, 1]]}, "expected a place in the photo"),
    "huge": ({"points": [[1e308, 1, 1]]}, "expected a place in the photo"),
    "text for a number": ({"points": [["1", 1, 1]]}, "expected a finite number"),
    "a list for a number": ({"points": [[[1], 1, 1]]}, "expected a finite number"),
    "a label of 7": ({"points": [[1, 1, 7]]}, "label: expected 1"),
    "two coordinates": ({"points": [[1, 1]]}, "expected [x, y, label]"),
    "a box of three": ({"box": [1, 2, 3]}, "expected [x1, y1, x2, y2]"),
    "an empty box": ({"box": [10, 10, 10, 10]}, "expected x1 < x2"),
    "a box outside": ({"box": [9000, 9000, 9999, 9999]}, "expected x1 < x2"),
    "a box of words": ({"box": ["a", "b", "c", "d"]}, "expected a finite number"),
    "unknown field": ({"__class__": "os.system", "points": [[1, 1, 1]]}, "expected points, box and strokes"),
    "deep": ({"objects": [{"points": [[{"a": {"a": {"a": {}}}}, 1, 1]]}]}, "expected a finite number"),
}
RAW_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999"]
PATHS = ["/etc/passwd", "../../../../etc/passwd", "/proc/self/environ", f"{ROOT}/pyproject.toml", "/dev/zero", "C:\\x"]
ADDRESSES = [
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/file=../../../../etc/passwd",
    "/gradio_api/file=%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/file=/etc/passwd",
    f"/gradio_api/file={ROOT}/pyproject.toml",
    "/gradio_api/call/no_such_endpoint",
    "/gradio_api/call/..%2f..%2fetc%2fpasswd",
    "/assets/../../../../etc/passwd",
    "/static/..%2f..%2f..%2fetc%2fpasswd",
    "/theme.css/../../etc/passwd",
]


def test_the_app_survives_and_says_why(server: Server, tmp_path: Path) -> None:
    count, problems = 0, []

    def expect(what: str, answer: Answer, wanted: str | None = None) -> None:
        nonlocal count
        count += 1
        refused = answer.status >= 400 or "event: error" in answer.text
        if not refused:
            problems.append(f"{what}: it was accepted: {answer}"[:400])
        elif "Traceback" in answer.text or "root:x:" in answer.text or "Something went wrong" in answer.text:
            problems.append(f"{what}: {answer}"[:400])
        elif wanted is not None and wanted not in answer.text:
            problems.append(f"{what}: expected {wanted!r} in {answer}"[:400])

    good = json.loads(server.upload("cat.png", CAT).text)[0]
    for name, (content, wanted) in FILES.items():
        expect(name, server.matte(json.loads(server.upload(name, content).text)[0], POINT), wanted)
    expect("21 MB", server.upload("heavy.png", CAT + bytes(21 * 1024 * 1024)))
    for name, (prompts, wanted) in PROMPTS.items():
        expect(name, server.matte(good, prompts), wanted)
    for number in RAW_NUMBERS:
        photo = json.dumps({"path": good, "meta": {"_type": "gradio.FileData"}})
        body = f'{{"data": [{photo}, {{"points": [[{number}, 1, 1]]}}]}}'.encode()
        expect(number, server.call(body))
    for path in PATHS:
        expect(f"photo at {path}", server.matte(path, POINT))
    for url in ("http://127.0.0.1:7993/config", "file:///etc/passwd", "http://[::1]:22/"):
        given = {"path": "x.png", "url": url, "meta": {"_type": "gradio.FileData"}}
        expect(f"photo from {url}", server.matte(given, POINT))
    for photo in (None, 7, [], {"path": None}, {"path": ["a"]}):
        expect(f"photo {photo}", server.matte(photo, POINT))
    for address in ADDRESSES:
        expect(address, server.send(address))
    for body in (b"", b"not json", b"[]", b'{"data": 7}', b'{"data": []}', b"{" * 100_000):
        expect(f"body {body[:20]!r}", server.call(body))
    for name in ("../../evil.png", "..\\..\\evil.png", "/etc/cron.d/evil", "a" * 5000 + ".png", "\x00.png"):
        stored = server.upload(name, CAT)
        count += 1
        if stored.status == 200:
            place = Path(json.loads(stored.text)[0]).resolve()
            if not any("gradio" in part for part in place.parts[:-1]) or not place.is_file():
                problems.append(f"upload as {name!r} went to {place}")
    assert count >= 60
    assert not problems, "\n".join(problems)
    assert server.peak_gib < MEMORY_GIB, server.peak_gib

    client = Client(server.address, verbose=False)
    alpha, _ = client.predict(handle_file(example_path("cat")), {"box": [0, 0, 402, 299]}, api_name="/click_to_matte")
    assert np.asarray(Image.open(alpha)).shape == (300, 451)


def test_events_of_the_page_with_values_of_a_wrong_kind(server: Server) -> None:
    config = json.loads(server.send("/config").text)
    session = "hostile"
    for dependency in config["dependencies"]:
        count = len(dependency["inputs"])
        for value in (None, "x" * 1000, -1, {"a": [1] * 1000}, [[float(1)] * 10]):
            body = {
                "data": [value] * count,
                "fn_index": dependency["id"],
                "session_hash": session,
                "event_data": {"kind": value, "view": value, "x": value, "box": value, "points": value},
            }
            assert server.send("/gradio_api/queue/join", body).status < 600
    client = Client(server.address, verbose=False)
    alpha, _ = client.predict(handle_file(example_path("cat")), POINT, api_name="/click_to_matte")
    assert np.asarray(Image.open(alpha)).shape == (300, 451)
    assert server.peak_gib < MEMORY_GIB, server.peak_gib


def test_the_largest_photo_that_is_taken_stays_within_memory(server: Server, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.fromarray(np.zeros((7000, 7000, 3), np.uint8)).save(large)
    client = Client(server.address, verbose=False)
    peaks = []
    for _ in range(3):  # what else the machine does moves the peak by a tenth
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
        alpha, cut = client.predict(handle_file(large), {"box": [100, 100, 6900, 6900]}, api_name="/click_to_matte")
        assert Image.open(alpha).size == Image.open(cut).size == (7000, 7000)
        peaks.append(server.peak_gib)
        if peaks[-1] < MEMORY_GIB:
            return
    pytest.fail(f"peaks of three tries: {peaks} GiB")
