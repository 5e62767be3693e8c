"""Downloads from a server on this machine that can break off, refuse ranges, lie or have nothing."""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from zim.cli import app
from zim.downloads import catalogue
from zim.downloads.catalogue import CATALOGUE, HubFolder, PublishedFile
from zim.downloads.http_file import fetch
from zim.downloads.hub_folder import fetch_folder
from zim.errors import DataError

BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Server:
    """What the server has and how it behaves; `ranges` are the Range headers that it was sent."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)  # bytes that each next answer sends before it breaks off
    knows_ranges: bool = True
    status: int = 200
    etag: str | None = None
    ranges: list[str | None] = field(default_factory=list)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            server.ranges.append(self.headers.get("Range"))
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            body = server.files.get(self.path)
            if body is None or server.status >= 400:
                self.send_error(404 if body is None else server.status)
                return
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(match[1]) if match and server.knows_ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("ETag", f'"{server.etag or hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if with_body:
                limit = server.break_after.pop(0) if server.break_after else len(body)
                self.wfile.write(body[start : start + limit])
                self.close_connection = True

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    behaviour = Server(files={"/model.bin": BODY})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(behaviour))
    behaviour.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield behaviour
    huggingface_hub.close_session()  # its connections outlive its calls
    listening.shutdown()
    listening.server_close()
    thread.join()


def _fetch(server: Server, path: Path, sha256: str = SHA256, size: int = len(BODY)) -> Path:
    return fetch(f"{server.url}/model.bin", path, sha256=sha256, size=size, wait=lambda seconds: None)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_whole_file_arrives_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    path = _fetch(server, tmp_path / "deep" / "model.bin")
    assert path.read_bytes() == BODY
    assert _names(path.parent) == ["model.bin"]
    _fetch(server, path)
    assert server.ranges == [None]


def test_broken_connections_are_continued_where_they_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000, 50_000]
    assert _fetch(server, tmp_path / "model.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_an_interrupted_call_is_continued_by_the_next(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000, 0, 0, 0, 0, 0]
    with pytest.raises(DataError, match=r"ended early; 100000 of 300000 bytes are kept in .*run it again"):
        _fetch(server, tmp_path / "model.bin")
    assert _names(tmp_path) == ["model.bin.part"]
    server.ranges.clear()
    assert _fetch(server, tmp_path / "model.bin").read_bytes() == BODY
    assert server.ranges == ["bytes=100000-"]
    assert _names(tmp_path) == ["model.bin"]


def test_server_without_ranges_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.break_after = [100_000]
    assert _fetch(server, tmp_path / "model.bin").read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-"]


def test_server_without_ranges_that_always_breaks_is_given_up(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.break_after = [100_000] * 20
    with pytest.raises(DataError, match="ended early"):
        _fetch(server, tmp_path / "model.bin")
    assert len(server.ranges) == 6


def test_wrong_hash_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files["/model.bin"] = BODY[:-1] + bytes([BODY[-1] ^ 1])
    with pytest.raises(DataError, match=f"expected sha256 {SHA256}, got .*removed"):
        _fetch(server, tmp_path / "model.bin")
    assert _names(tmp_path) == []


def test_a_part_of_something_else_does_not_survive(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match="expected sha256"):
        _fetch(server, tmp_path / "model.bin")
    assert _fetch(server, tmp_path / "model.bin").read_bytes() == BODY


def test_damaged_file_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * len(BODY))
    assert _fetch(server, tmp_path / "model.bin").read_bytes() == BODY


def test_other_size_than_published_is_refused_before_it_is_read(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 299999 bytes, the server offers 300000"):
        _fetch(server, tmp_path / "model.bin", size=len(BODY) - 1)
    assert _names(tmp_path) == []


def test_missing_file_and_dead_server_are_told_apart(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file, got 404"):
        fetch(f"{server.url}/other.bin", tmp_path / "other.bin", sha256=SHA256, size=1, wait=lambda seconds: None)
    server.status = 503
    with pytest.raises(DataError, match="answered 503"):
        _fetch(server, tmp_path / "model.bin")
    assert server.ranges.count(None) == 6
    waits: list[float] = []
    with pytest.raises(DataError, match="0 of 9 bytes"):  # port 9 of this machine: nobody listens
        fetch("http://127.0.0.1:9/model.bin", tmp_path / "m.bin", sha256=SHA256, size=9, wait=waits.append)
    assert waits == [1, 2, 4, 8]


def _hub(server: Server) -> HubFolder:
    for name in ("encoder", "decoder"):
        server.files[f"/owner/model/resolve/main/v1/{name}.onnx"] = BODY + name.encode()
    return HubFolder(repository="owner/model", folder="v1", files=("encoder.onnx", "decoder.onnx"), licence="two")


def test_hub_folder_is_laid_out_as_it_is_there(server: Server, tmp_path: Path) -> None:
    folder = fetch_folder(_hub(server), tmp_path, endpoint=server.url)
    assert folder == tmp_path / "v1"
    assert (folder / "encoder.onnx").read_bytes() == BODY + b"encoder"
    assert (folder / "decoder.onnx").read_bytes() == BODY + b"decoder"


def test_hub_file_of_another_hash_than_published_is_removed(server: Server, tmp_path: Path) -> None:
    server.etag = "ab" * 32
    with pytest.raises(DataError, match=f"expected sha256 {'ab' * 32}, got "):
        fetch_folder(_hub(server), tmp_path, endpoint=server.url)
    assert _names(tmp_path / "v1") == []


def test_hub_without_the_file(server: Server, tmp_path: Path) -> None:
    source = HubFolder(repository="owner/none", folder="v1", files=("encoder.onnx",), licence="two")
    with pytest.raises(DataError, match="owner/none/resolve/main/v1/encoder.onnx: expected a file on the hub"):
        fetch_folder(source, tmp_path, endpoint=server.url)


def _zim(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_prints_the_path_and_says_the_licence(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = PublishedFile(url=f"{server.url}/model.bin", sha256=SHA256, size=len(BODY), licence="a licence")
    monkeypatch.setitem(CATALOGUE, "sam_vit_b", entry)
    result = _zim("download", "sam_vit_b", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'model.bin'}\n"
    assert "licence of sam_vit_b: a licence" in result.stderr
    assert (tmp_path / "model.bin").read_bytes() == BODY
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert _zim("download", "sam_vit_b").stdout == f"{tmp_path / 'cache' / 'zim' / 'model.bin'}\n"


def test_command_reports_misuse_and_failure(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    misused = _zim("download", "sam_vit_x", "-o", tmp_path)
    assert misused.exit_code == 2
    assert "expected one of zim_vit_b, zim_vit_l, sam_vit_b" in misused.stderr
    entry = PublishedFile(url=f"{server.url}/none.bin", sha256=SHA256, size=1, licence="a licence")
    monkeypatch.setitem(CATALOGUE, "sam_vit_b", entry)
    failed = _zim("download", "sam_vit_b", "-o", tmp_path)
    assert failed.exit_code == 1
    assert "zim: error: " in failed.stderr and "404" in failed.stderr


def test_catalogue_holds_what_is_published() -> None:
    """SAM's file names carry the first digits of their hash (of the md5); the sizes are the published ones."""
    sizes = {"sam_vit_b": 375_042_383, "sam_vit_l": 1_249_524_607, "sam_vit_h": 2_564_550_879}
    for name, size in sizes.items():
        entry = CATALOGUE[name]
        assert isinstance(entry, PublishedFile) and entry.size == size
        assert re.fullmatch(rf"{name}_[0-9a-f]{{6}}\.pth", entry.name) and re.fullmatch("[0-9a-f]{64}", entry.sha256)
    for name in ("zim_vit_b", "zim_vit_l"):
        assert "CC BY-NC 4.0" in CATALOGUE[name].licence and "cc-by-4.0" in CATALOGUE[name].licence
    assert set(CATALOGUE) == {*sizes, "zim_vit_b", "zim_vit_l"}
    assert catalogue.source_of("sam_vit_h") is CATALOGUE["sam_vit_h"]
