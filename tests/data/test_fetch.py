"""Downloading, against a real HTTP server that breaks in every way that servers do."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.train.data.download import download, md5_is
from imago.train.data.fetch import SOURCES, Source, fetch, unzip
from imago.train.data.layouts import load_dataset

from picture_support import idx_set, pixels
from support import imago

BODY = bytes(range(256)) * 2000  # 512,000 bytes: several blocks


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cut_after``: bytes after which each connection breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.lying_range = False
        self.cut_after = 0
        self.redirect = ""
        self.log: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the test."""


class Handler(BaseHTTPRequestHandler):
    """GET with Range, and with the server's faults."""

    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.log.append((self.path, wanted))
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        body = self.server.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if begin >= len(body) > 0 and wanted:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if begin:
            first = 0 if self.server.lying_range else begin
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        rest = body[begin:]
        self.wfile.write(rest[: self.server.cut_after] if self.server.cut_after else rest)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def get(server: Server, target: Path, *, names: tuple[str, ...] = ("a.bin",), limit: int = 1 << 20) -> None:
    urls = [server.url + name for name in names]
    download(urls, target, sound=md5_is(md5(BODY)), limit=limit, progress=False, pause_s=0)


def test_whole_file(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    get(server, tmp_path / "deep" / "a.bin")
    assert (tmp_path / "deep" / "a.bin").read_bytes() == BODY
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.bin"]
    get(server, tmp_path / "deep" / "a.bin")
    assert len(server.log) == 1, "a sound file was fetched again"


def test_resumed_after_a_cut(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"], server.cut_after = BODY, 200_000
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert [wanted for _, wanted in server.log] == [None, "bytes=200000-", "bytes=400000-"]


def test_resumed_in_a_later_run(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY[:300_000])
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert server.log == [("/a.bin", "bytes=300000-")]


def test_a_whole_part_needs_only_its_name(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(BODY)
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("leftover", [b"x" * 1000, BODY + b"more"])
def test_a_wrong_part_is_thrown_away(server: Server, tmp_path: Path, leftover: bytes) -> None:
    server.files["a.bin"] = BODY
    (tmp_path / "a.bin.part").write_bytes(leftover)
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_server_that_ignores_range(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"], server.ranges = BODY, False
    (tmp_path / "a.bin.part").write_bytes(BODY[:300_000])
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_server_that_continues_elsewhere(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"], server.lying_range = BODY, True
    (tmp_path / "a.bin.part").write_bytes(BODY[:300_000])
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_second_mirror(server: Server, tmp_path: Path) -> None:
    server.files["b.bin"] = BODY
    get(server, tmp_path / "a.bin", names=("gone.bin", "b.bin"))
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("body", "limit", "message"),
    [
        (None, 1 << 20, "HTTP 404"),
        (BODY[:-1] + b"!", 1 << 20, "wrong checksum"),
        (BODY, 1000, "larger than expected"),
    ],
)
def test_no_mirror_delivers(
    server: Server, tmp_path: Path, body: bytes | None, limit: int, message: str
) -> None:
    if body is not None:
        server.files["a.bin"] = body
    with pytest.raises(DataError, match=message) as caught:
        get(server, tmp_path / "a.bin", limit=limit)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.bin").exists()


def test_no_server_at_all(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(DataError, match="cannot download"):
        download(
            [url + "a.bin"], tmp_path / "a.bin", sound=lambda _: True, limit=9, progress=False, pause_s=0
        )


def test_other_schemes_are_not_followed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(BODY)
    secret = (tmp_path / "secret").as_uri()
    server.redirect = secret
    for url in (secret, server.url + "a.bin"):
        with pytest.raises(DataError):
            download(
                [url], tmp_path / "a.bin", sound=lambda _: True, limit=1 << 20, progress=False, pause_s=0
            )
    assert not (tmp_path / "a.bin").exists()


def test_unwritable_target(server: Server, tmp_path: Path) -> None:
    server.files["a.bin"] = BODY
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        get(server, tmp_path / "file" / "a.bin")


def idx_source(server: Server, folder: Path) -> Source:
    idx_set(folder, {"train": 60, "t10k": 12})
    server.files.update({path.name: path.read_bytes() for path in folder.iterdir()})
    sums = {name: md5(data) for name, data in server.files.items()}
    return Source("small", "CC0", (server.url,), sums, classes=("zero", "one", "two"))


def test_an_idx_set_is_ready_to_train(server: Server, tmp_path: Path) -> None:
    source = idx_source(server, tmp_path / "original")
    out = fetch("small", tmp_path / "out", False, source=source, pause_s=0)
    assert load_dataset(out).classes == ("zero", "one", "two")


def zipped(names: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return stream.getvalue()


def photos(counts: dict[str, int]) -> dict[str, bytes]:
    names = {"hymenoptera_data/.DS_Store": b"x", "__MACOSX/hymenoptera_data/._a.jpg": b"x"}
    seed = 0
    for folder, count in counts.items():
        for index in range(count):
            stream = io.BytesIO()
            Image.fromarray(pixels(seed)).save(stream, "PNG")
            names[f"hymenoptera_data/{folder}/{index}.png"] = stream.getvalue()
            seed += 1
    return names


COUNTS = {"train/ants": 5, "train/bees": 6, "val/ants": 2, "val/bees": 2}
ZIP = Source("ants and bees", "", (), {"h.zip": ""}, counts=COUNTS)


def test_a_zip_is_unpacked_checked_and_removed(server: Server, tmp_path: Path) -> None:
    server.files["h.zip"] = zipped(photos(COUNTS))
    out = fetch("h", tmp_path / "out", False, [server.url], source=ZIP, pause_s=0)
    assert load_dataset(out).classes == ("ants", "bees")
    assert [p.name for p in tmp_path.iterdir() if p.name != "imago-cache"] == ["out"]
    fetch("h", tmp_path / "out", False, [server.url], source=ZIP, pause_s=0)
    assert len(server.log) == 1


def test_an_incomplete_zip(server: Server, tmp_path: Path) -> None:
    server.files["h.zip"] = zipped(photos({**COUNTS, "val/bees": 1}))
    with pytest.raises(DataError, match="not complete \\(val/bees: 1 / 2\\)"):
        fetch("h", tmp_path / "out", False, [server.url], source=ZIP, pause_s=0)
    assert not (tmp_path / "out").exists()


def test_a_damaged_zip(server: Server, tmp_path: Path) -> None:
    data = bytearray(zipped(photos(COUNTS)))
    data[len(data) // 2] ^= 0xFF
    server.files["h.zip"] = bytes(data)
    with pytest.raises(DataError, match="damaged archive"):
        fetch("h", tmp_path / "out", False, [server.url], source=ZIP, pause_s=0)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_stays(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds something else"):
        fetch("h", tmp_path / "out", False, [server.url], source=ZIP, pause_s=0)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"
    assert server.log == []


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:\\evil.png", "a\\..\\..\\evil.png"]
)
def test_paths_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped({name: b"x"}))
    with pytest.raises(DataError, match="leads out of the data set"):
        unzip(archive, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("*.png"))


def test_links_and_bombs_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as made:
        link = zipfile.ZipInfo("top/link.png")
        link.external_attr = 0o120777 << 16
        made.writestr(link, "/etc")
    with pytest.raises(DataError, match="holds links or is far too large"):
        unzip(archive, tmp_path / "out")
    archive.write_bytes(zipped({"top/a.png": bytes(2_000_000)}))
    with pytest.raises(DataError, match="holds links or is far too large"):
        unzip(archive, tmp_path / "out", limit=1_000_000)
    with pytest.raises(DataError, match="holds links or is far too large"):
        unzip(archive, tmp_path / "out", files=0)


def test_built_in_sources() -> None:
    for source in SOURCES.values():
        assert all(url.startswith("https://") and url.endswith("/") for url in source.base_urls)
    with pytest.raises(InputError, match="there are mnist, fashion-mnist, hymenoptera"):
        fetch("imagenet", Path("x"))


def test_command(server: Server, tmp_path: Path) -> None:
    failed = imago("data", "fetch", "nothing-such", "--out", str(tmp_path / "x"))
    assert failed.returncode == 2
    assert "no data set called nothing-such" in failed.stderr
    counts = dict(SOURCES["hymenoptera"].counts)
    server.files["hymenoptera_data.zip"] = zipped(photos(counts))
    good = imago("data", "fetch", "hymenoptera", "--out", str(tmp_path / "h"), "--from", server.url)
    assert good.returncode == 0, good.stderr
    assert "no checksum is published" in good.stdout
    assert len(list((tmp_path / "h").rglob("*.png"))) == sum(counts.values())
