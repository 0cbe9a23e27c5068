"""What strangers and accidents send: refused in one line, and nothing of it is left."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from imago.studio.door import SECURITY

from browser import a_page
from picture_support import save
from studio_support import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(tmp_path_factory.mktemp("picture") / "one.png", 1).read_bytes()


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, body in members:
            made.writestr(name, body)
    return out.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def left(studio: Studio) -> list[str]:
    """Files outside the studio's own bookkeeping."""
    everything = (p.relative_to(studio.folder).as_posix() for p in studio.folder.rglob("*"))
    return sorted(p for p in everything if p.startswith(("data/", ".incoming/")))


def huge_png(side: int = 60_000) -> bytes:
    """A few kB that say they are a picture of 3.6 gigapixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out


HOSTILE = {
    "a path out of the folder": lambda one: archive(("a/../../../../evil.png", one), ("b/2.png", one)),
    "an absolute path": lambda one: archive(("/tmp/evil.png", one), ("b/2.png", one)),  # noqa: S108
    "a Windows path": lambda one: archive(("C:\\evil.png", one), ("b/2.png", one)),
    "a link": lambda one: archive(link("a/passwd.png", "/etc/passwd"), ("b/2.png", one)),
    "a bomb": lambda one: archive(("a/1.png", b"\0" * 80_000_000), ("b/2.png", one)),
    "no zip at all": lambda one: b"PK\x03\x04" + b"nonsense" * 100,
    "cut in the middle": lambda one: archive(("a/1.png", one), ("b/2.png", one))[:-40],
    "no pictures": lambda one: archive(("readme.txt", b"hello")),
    "nothing": lambda one: archive(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_leave_nothing(studio: Studio, picture: bytes, name: str) -> None:
    before = left(studio)
    status, answer = studio.send_zip("set.zip", HOSTILE[name](picture))
    assert status == 400, answer
    assert set(answer) == {"error"}
    assert ".incoming" not in answer["error"]
    assert "Traceback" not in answer["error"]
    assert left(studio) == before
    assert not list(studio.folder.parent.rglob("evil*"))


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("a/x.png", b"<script>alert(1)</script>", "not a picture"),
        ("a/x.png", huge_png(), "megapixels"),
        ("a/x.exe", b"MZ", "neither a picture nor a list"),
        ("a/x.svg", b"<svg onload=alert(1)/>", "neither a picture nor a list"),
        ("..", b"x", "no name"),
        ("a/b/c/d/e/f.png", b"x", "no name"),
    ],
)
def test_hostile_files_are_refused(studio: Studio, path: str, body: bytes, why: str) -> None:
    _, begun = studio.send("/api/upload/begin?name=mine")
    before = left(studio)
    status, answer = studio.send(f"/api/upload/file?set={quote(begun['set'])}&path={quote(path)}", body)
    assert status == 400
    assert why in answer["error"]
    assert left(studio) == before


def test_a_path_stays_inside_its_set(studio: Studio, picture: bytes) -> None:
    _, begun = studio.send("/api/upload/begin?name=inside")
    path = quote("../../../bee/../x.png")
    status, _ = studio.send(f"/api/upload/file?set={begun['set']}&path={path}", picture)
    assert status == 200
    assert (studio.folder / "data" / begun["set"] / "bee" / "x.png").read_bytes() == picture
    for name in ("../runs", "..", "a/b", "missing"):
        status, answer = studio.send(f"/api/upload/file?set={quote(name, safe='')}&path=a/x.png", picture)
        assert status == 400, answer


def test_a_picture_never_replaces_another(studio: Studio, picture: bytes) -> None:
    _, begun = studio.send("/api/upload/begin?name=twice")
    sent = [studio.send(f"/api/upload/file?set={begun['set']}&path=a/x.png", picture) for _ in range(2)]
    assert [answer["file"] for _, answer in sent] == ["x.png", "x-2.png"]


def test_too_much_is_cut_off_early(studio: Studio) -> None:
    """Announced sizes are refused before a byte is read; unannounced ones when the bound is reached."""
    status, _, _ = studio.ask("/api/upload/zip?name=x", b"x", "POST", Content_Length="9000000000")
    assert status == 413
    status, _, _ = studio.ask("/api/upload/predict?model=x", b"0" * 33_000_000, "POST")
    assert status == 400
    status, _, _ = studio.ask("/somewhere", b"0" * 100_000, "POST")
    assert status in (0, 413)
    assert not [name for name in left(studio) if name.startswith(".incoming/")]


def test_models_and_downloads_come_from_runs_only(studio: Studio, picture: bytes) -> None:
    (studio.folder / "runs" / "own").mkdir()
    (studio.folder / "runs" / "own" / "secret.txt").write_text("x")
    for path in ("../../etc/passwd", "studio.json", "runs/own/secret.txt", "runs/../studio.json", "runs"):
        status, _, body = studio.ask(f"/api/download/{quote(path, safe='')}")
        assert status in (400, 404), path
        assert b"root:" not in body
        status, _ = studio.send(f"/api/upload/predict?model={quote(path, safe='')}", picture)
        assert status == 400


def test_names_are_text_and_never_markup(studio: Studio, browser: Browser, picture: bytes) -> None:
    members = [(f"{EVIL.replace('/', '')}/{n}.png", picture) for n in range(2)]
    other = save(studio.folder.parent / "other.png", 2).read_bytes()
    status, answer = studio.send_zip(f"{EVIL}.zip", archive(*members, ("bee/1.png", other)))
    assert status == 200, answer
    with a_page(browser) as page:
        page.goto(f"{studio.url}/data")
        page.locator(f"[data-set={_quoted(answer['set'])}]").click()
        page.locator(".class").nth(1).wait_for()
        assert EVIL in page.locator(".classes").inner_text()
        page.locator(".findings .note").first.wait_for()
        assert page.locator("img[src=x]").count() == 0
        assert page.title() != "owned"


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_foreign_page_gets_nothing(studio: Studio) -> None:
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        status, _, body = studio.ask("/api/upload/begin?name=stolen", b"", "POST", **headers)
        assert status in (403, 421), headers
        assert b"stolen" not in body
    assert not (studio.folder / "data" / "stolen").exists()
    socket = f"/_nicegui_ws/socket.io/?EIO=4&transport=polling&t={1}"
    status, _, _ = studio.ask(socket, Origin="http://evil.example")
    assert status == 403
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    status, _, _ = studio.ask(path, Origin="http://evil.example", **upgrade, **key)
    assert status == 403


def test_every_answer_carries_the_headers(studio: Studio) -> None:
    for path in ("/", "/static/studio.css", "/api/download/x", "/nothing/here"):
        _, headers, _ = studio.ask(path)
        lower = {name.lower(): value for name, value in headers.items()}
        for name in ("x-content-type-options", "x-frame-options", "content-security-policy"):
            assert name in lower, path
        assert "frame-ancestors 'none'" in SECURITY["content-security-policy"]


def test_other_addresses_need_the_token(tmp_path: Path, browser: Browser) -> None:
    token = "a long enough token"  # noqa: S105
    with Studio(tmp_path / "w", "--host", "0.0.0.0", IMAGO_STUDIO_TOKEN=token) as studio:  # noqa: S104
        assert f"#token={quote(token)}" in studio.address
        for path, method in (
            ("/", "GET"),
            ("/api/upload/begin?name=x", "POST"),
            ("/static/studio.js", "GET"),
        ):
            status, headers, _ = studio.ask(path, b"", method)
            assert status == 401, path
        status, headers, _ = studio.ask("/", Accept="text/html")
        assert (status, headers["location"]) == (303, "/door")
        status, _, _ = studio.ask("/door", b"token=wrong", "POST")
        assert status == 401
        status, headers, _ = studio.ask("/door", f"token={quote(token)}".encode(), "POST")
        assert status == 200
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert studio.ask("/", Cookie=cookie.split(";")[0])[0] == 200
        with a_page(browser, complaints=[]) as page:
            page.goto(f"{studio.url}/door")
            page.fill("#token", "wrong, wrong, wrong")
            page.press("#token", "Enter")
            page.locator("#said", has_text="not the token").wait_for()
            page.fill("#token", token)
            page.press("#token", "Enter")
            page.locator("h1", has_text="What shall the computer learn?").wait_for()
        with a_page(browser, complaints=[]) as page:
            page.goto(f"{studio.url}/door#token={quote(token)}")
            page.locator("h1", has_text="What shall the computer learn?").wait_for()
            assert "token" not in page.url


def test_one_studio_per_workspace(studio: Studio) -> None:
    from support import imago

    done = imago("studio", "--no-browser", "--port", "0", "--folder", str(studio.folder), timeout=60)
    assert done.returncode == 2
    assert "another studio uses" in done.stderr
    done = imago("studio", "--no-browser", "--port", str(studio.port), "--folder", f"{studio.folder}2")
    assert done.returncode == 2
    assert "cannot listen on localhost" in done.stderr
