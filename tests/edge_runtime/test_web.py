"""The live page's server: what it answers, and to whom it does not."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.imageio import encode_jpeg, read_image
from imago.edge_runtime.types import Frame
from imago.edge_runtime.web import assets, server
from imago.edge_runtime.web.guard import GUESSES, Guard
from imago.edge_runtime.web.hub import FrameHub
from imago.edge_runtime.web.page import Address

from events_support import LABELS, picture, visit
from page_support import SPEC, Camera, predict, seen, until
from support import ROOT

TOKEN = "open sesame, please"  # noqa: S105
POST = "POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    with Camera(folder=tmp_path_factory.mktemp("page")) as made:
        for n in range(30):
            made.visit(visit(n, unknown=n % 5 == 0, crop=n != 29))
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Camera]:
    """A page for the whole network."""
    with Camera("0.0.0.0:0", token=TOKEN) as made:
        yield made


def test_pages_own_files_and_headers(camera: Camera) -> None:
    for path in (*assets.FILES, "/healthz", "/api/info", "/nothing", "/api/events/0/crop"):
        answer = camera.ask("GET", path)
        assert answer.status == (200 if path not in ("/nothing", "/api/events/0/crop") else 404), path
        for name, value in server.SECURITY.items():
            assert answer.headers[name] == value
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "imago"
        assert camera.ask("HEAD", path).body == b""
    again = camera.ask("GET", "/page.js", If_None_Match=camera.ask("GET", "/page.js").headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_every_file_of_the_page_is_served_and_needs_no_other_site() -> None:
    folder = ROOT / "edge_runtime" / "web" / "static"
    assert {path.name for path in folder.iterdir()} == {
        Path(name).name for name, _ in assets.FILES.values() if name.startswith("static/")
    }
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|<script(?! type=\"module\" src)| style=| on\w+=\"", text), (
            path
        )


def test_every_text_of_the_page_has_its_chinese() -> None:
    folder = ROOT / "edge_runtime" / "web" / "static"
    spoken: set[str] = set()
    for script in folder.glob("*.js"):
        spoken |= set(re.findall(r'\bt\("([^"]+)"', script.read_text(encoding="utf-8")))
    page = (folder / "index.html").read_text(encoding="utf-8")
    spoken |= {found.strip() for found in re.findall(r"data-t(?: hidden)?>([^<]+)<", page)}
    spoken |= set(re.findall(r'aria-label="([^"]+)" data-label', page))
    from imago.edge_runtime.system import THROTTLE_BITS

    spoken |= set(THROTTLE_BITS.values())
    known = json.loads((ROOT / "edge_runtime" / "locale" / "zh.web.json").read_text(encoding="utf-8"))
    assert len(spoken) > 50
    assert spoken == set(known)
    assert page.count("data-t>") + page.count("data-t hidden>") == len(re.findall(r"\bdata-t\b", page))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("192.168.7.7:99", 200),
        (socket.gethostname(), 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8080", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example#localhost", 421),
        ("", 421),
        ("localhost:8080@evil.example", 421),
    ],
)
def test_dns_rebinding_gets_nothing(camera: Camera, host: str, status: int) -> None:
    assert camera.ask("GET", "/api/info", host=host or " ").status == status


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "http://localhost:8081"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "same-site"}, False),
    ],
)
def test_other_sites_get_nothing(camera: Camera, headers: dict[str, str], allowed: bool) -> None:
    event = camera.ask("GET", "/api/events?limit=1").json["events"][0]["id"]
    got = camera.ask("GET", "/api/frame", host="localhost:8080", **headers)
    assert (got.status == 200) == allowed
    marked = camera.ask(
        "POST",
        f"/api/events/{event}/mark",
        b'{"wrong": false}',
        host="localhost:8080",
        Content_Type="application/json",
        **headers,
    )
    assert marked.status == (200 if allowed else 403)


def test_a_form_of_another_site_cannot_post_even_without_origin(camera: Camera) -> None:
    jpeg = encode_jpeg(picture(1))
    event = camera.ask("GET", "/api/events?limit=1").json["events"][0]["id"]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert camera.ask("POST", "/api/predict", jpeg, Content_Type=kind).status == 415
        mark = camera.ask("POST", f"/api/events/{event}/mark", b'{"wrong": true}', Content_Type=kind)
        assert mark.status == 415
    assert camera.ask("POST", "/api/predict", jpeg).status == 415


def test_token(guarded: Camera) -> None:
    for path in (
        "/api/info",
        "/api/status",
        "/api/frame",
        "/stream.mjpg",
        "/api/events",
        "/metrics",
        "/nothing",
    ):
        assert guarded.ask("GET", path).status == 401, path
    assert (
        guarded.ask("POST", "/api/predict", encode_jpeg(picture(1)), Content_Type="image/jpeg").status == 401
    )
    for path in ("/", "/page.js", "/healthz"):
        assert guarded.ask("GET", path).status == 200, path
    assert guarded.ask("GET", "/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    login = guarded.post_json("/api/login", {"token": TOKEN})
    cookie = login.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert guarded.ask("GET", "/api/info", Cookie=f"other=1; {cookie.split(';')[0]}").status == 200
    assert guarded.ask("GET", "/api/info", Cookie="imago=; imago=x").status == 401
    assert guarded.page.urls()[0].endswith(f"#token={TOKEN}")


def test_guessing_tokens_ends_soon(guarded: Camera) -> None:
    answers = [guarded.ask("GET", "/api/info", Authorization=f"Bearer guess {n}").status for n in range(8)]
    assert answers == [401] * (GUESSES - 1) + [429] * (9 - GUESSES)
    assert guarded.ask("GET", "/api/info", Authorization=f"Bearer {TOKEN}").status == 429  # tells nothing now
    login = guarded.post_json("/api/login", {"token": TOKEN})
    assert (login.status, login.headers["Retry-After"]) == (429, "60")
    assert guarded.ask("GET", "/").status == 200


def test_guard_counts_a_house_as_one_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard(TOKEN)
    for n in range(GUESSES):
        assert not guard.check("wrong", f"2001:db8::{n}")
    assert guard.locked("2001:db8::ffff")
    assert not guard.locked("2001:db8:0:1::1")
    assert guard.check(TOKEN, "192.168.1.9")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert not guard.locked("2001:db8::1")
    for n in range(3000):
        guard.check("wrong", f"10.0.{n // 250}.{n % 250}")
    assert len(guard._failures) <= 1024
    for bad in ("short", "x" * 15, "line\nbreak and more text"):
        with pytest.raises(InputError, match="at least 16"):
            Guard(bad)


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/static/../../records/sink.py",
        "/page.js/../../page.py",
        "//etc/passwd",
        "/api/events/../../../../etc/passwd/crop",
        "/api/events/%2e%2e%2f%2e%2e%2f/crop",
        "/api/events/00000000000000000000%00/crop",
        "/crops/2025-11-24",
        "/events.sqlite",
        "/web-token",
    ],
)
def test_no_way_to_other_files(camera: Camera, path: str) -> None:
    answer = camera.ask("GET", path)
    assert answer.status == 404
    assert answer.json == {"error": "no such page"}


def test_predict_answers_like_the_model(camera: Camera) -> None:
    jpeg = encode_jpeg(Frame(np.full((60, 80, 3), 200, np.uint8), "rgb"))
    answer = camera.ask("POST", "/api/predict", jpeg, Content_Type="image/jpeg")
    wanted = predict(read_image(jpeg, SPEC.input)).top(5)
    assert answer.status == 200
    assert [(s["label"], s["index"]) for s in answer.json["top"]] == [(s.label, s.index) for s in wanted]
    assert answer.json["confidence"] == pytest.approx(wanted[0].confidence, abs=1e-6)


def test_predict_is_bounded(camera: Camera) -> None:
    import io

    from PIL import Image

    def ask(body: bytes, **headers: str) -> int:
        return camera.ask("POST", "/api/predict", body, Content_Type="image/png", **headers).status

    wide = io.BytesIO()
    Image.new("L", (16_001, 1_000)).save(wide, "PNG")  # 16 million pixels in 16 kB
    assert len(wide.getvalue()) < 40_000
    assert ask(wide.getvalue()) == 400
    assert ask(b"") == 400
    assert ask(b"GIF89a") == 400
    assert ask(encode_jpeg(picture(1))[:200]) == 400
    assert ask(b"", Content_Length=str(16 * 2**20 + 1)) == 413  # said before anything is sent
    for length in ("-1", "1e3", "0x10", "9" * 40, "１"):
        with socket.create_connection(("127.0.0.1", camera.page.port)) as raw:
            raw.sendall(f"{POST}Content-Length: {length}\r\n\r\n".encode())
            assert raw.recv(100).split()[1] in (b"411", b"413")


def test_events_page_by_page(camera: Camera) -> None:
    found: list[dict[str, object]] = []
    before = ""
    for _ in range(9):
        page = camera.ask("GET", f"/api/events?limit=7{before}").json
        found += page["events"]
        if not page["more"]:
            break
        before = f"&before={found[-1]['id']}"
    assert len(found) == 30
    assert [f["label"] for f in found] == [LABELS[n % 3] for n in range(29, -1, -1)]
    assert len(camera.ask("GET", "/api/events?unknown=1&limit=50").json["events"]) == 6
    assert {e["label"] for e in camera.ask("GET", "/api/events?label=wasp").json["events"]} == {"wasp"}
    newest, second = found[0], found[1]
    assert newest["crop"] is None
    assert camera.ask("GET", f"/api/events/{newest['id']}/crop").status == 404
    jpeg = camera.ask("GET", f"/api/events/{second['id']}/crop")
    assert read_image(jpeg.body).image.shape == (48, 64, 3)
    for bad in ("limit=x", "before=1", "before=../..", "limit=-1", "label=%ff", "&".join(["a=1"] * 30)):
        assert camera.ask("GET", f"/api/events?{bad}").status == 400, bad


def test_marking(camera: Camera) -> None:
    event = camera.ask("GET", "/api/events?limit=3").json["events"][2]
    path = f"/api/events/{event['id']}/mark"
    assert camera.post_json(path, {"wrong": True, "label": "wasp"}).status == 200
    now = camera.ask("GET", "/api/events?limit=3").json["events"][2]
    assert (now["wrong"], now["correction"]) == (True, "wasp")
    assert camera.post_json(path, {"wrong": False}).status == 200
    for bad in ({}, [], 1, {"wrong": 1}, {"wrong": True, "label": 3}, {"wrong": True, "label": "x" * 201}):
        assert camera.post_json(path, bad).status == 400
    assert camera.post_json("/api/events/" + "0" * 20 + "/mark", {"wrong": True}).status == 400


def test_without_records_the_newest_events_are_remembered() -> None:
    with Camera() as camera:
        for n in range(100):
            camera.visit(visit(n, unknown=n == 98, crop=n != 99))
        page = camera.ask("GET", "/api/events?limit=50").json
        assert (len(page["events"]), page["more"]) == (50, True)
        first, second = page["events"][:2]
        assert first["crop"] is None
        assert second["unknown"]
        assert camera.ask("GET", f"/api/events/{second['id']}/crop").headers["Content-Type"] == "image/jpeg"
        assert [e["id"] for e in camera.ask("GET", "/api/events?unknown=1").json["events"]] == [second["id"]]
        assert camera.post_json(f"/api/events/{second['id']}/mark", {"wrong": True}).status == 400


def test_frames_come_newest_first_and_only_when_asked_for(camera: Camera) -> None:
    before = camera.ask("GET", "/api/status").json["encoded"]
    time.sleep(0.3)
    assert camera.ask("GET", "/api/status").json["encoded"] == before  # nobody looks
    first = camera.ask("GET", "/api/frame?after=0")
    second = camera.ask("GET", f"/api/frame?after={first.headers['X-Imago-Number']}")
    assert int(second.headers["X-Imago-Number"]) > int(first.headers["X-Imago-Number"])
    answer = json.loads(second.headers["X-Imago-Answer"])
    assert (answer["top"][0]["label"], answer["width"], answer["height"]) == ("bee", 320, 240)
    kept = read_image(second.body).image.astype(int)
    assert np.abs(kept - picture(answer["frame"], 320, 240).image).mean() < 8  # the words fit the picture


def test_many_viewers_cost_one_encoding() -> None:
    hub, shots = FrameHub(max_fps=1000), [[] for _ in range(8)]  # type: ignore[var-annotated]
    assert not hub.wants()

    def look(mine: list[int]) -> None:
        while len(mine) < 10:
            shot = hub.wait(mine[-1] if mine else 0, 10)
            assert shot is not None
            mine.append(shot.number)

    threads = [threading.Thread(target=look, args=(mine,)) for mine in shots]
    for thread in threads:
        thread.start()
    index = 0
    while any(thread.is_alive() for thread in threads):
        until(lambda: hub.viewers == sum(map(threading.Thread.is_alive, threads)))
        if hub.wants():
            hub.show(picture(index), seen(index))
            index += 1
        time.sleep(0.002)
    assert hub.encoded <= 20  # eighty pictures were looked at
    assert not hub.wants()
    hub.close()
    assert hub.wait(0, 10) is not None  # the last one, at once


def test_the_cameras_memory_is_not_kept_and_large_pictures_are_thinned() -> None:
    hub = FrameHub()
    waiting: list[object] = []
    thread = threading.Thread(target=lambda: waiting.append(hub.wait(0, 20)))
    thread.start()
    until(hub.wants)
    borrowed = np.full((1500, 2600, 3), 90, np.uint8)
    borrowed[:, :, 2] = 200
    hub.show(Frame(borrowed, "bgr"), seen(0))
    borrowed[:] = 0  # the camera takes the next picture into the same memory
    thread.join()
    shot = waiting[0]
    assert (shot.answer["width"], shot.answer["height"]) == (867, 500)  # type: ignore[attr-defined]
    assert shot.answer["subjects"][0]["box"] == [3, 2, 6, 5]  # type: ignore[attr-defined]
    pixels = read_image(shot.jpeg).image.reshape(-1, 3).mean(0)  # type: ignore[attr-defined]
    assert np.abs(pixels - (200, 90, 90)).max() < 4
    hub.close()


def test_mjpeg_for_other_programs(camera: Camera) -> None:
    with socket.create_connection(("127.0.0.1", camera.page.port), timeout=20) as raw:
        raw.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream = raw.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n")).decode()
        boundary = head.split("boundary=")[1].split()[0]
        for _ in range(3):
            assert stream.readline() == f"--{boundary}\r\n".encode()
            part = b"".join(iter(stream.readline, b"\r\n")).decode()
            length = int(part.split("Content-Length: ")[1].split()[0])
            assert read_image(stream.read(length)).image.shape == (240, 320, 3)
            stream.readline()
        stream.close()


def test_metrics_are_what_prometheus_reads(camera: Camera) -> None:
    text = camera.ask("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    status = camera.ask("GET", "/api/status").json
    frames = families["imago_frames"].samples[0].value
    assert 0 < frames <= status["frames"]
    for name in ("imago_inference_seconds", "imago_frame_age_seconds"):
        samples = {s.name + s.labels.get("le", ""): s.value for s in families[name].samples}
        assert samples[f"{name}_count"] == samples[f"{name}_bucket+Inf"]
        values = [s.value for s in families[name].samples if s.name.endswith("_bucket")]
        assert values == sorted(values)
    latency = families["imago_inference_seconds"]
    assert next(s.value for s in latency.samples if s.labels.get("le") == "0.002") == 0
    total = next(s.value for s in latency.samples if s.name.endswith("_sum"))
    assert total / frames == pytest.approx(0.0021, rel=0.1)
    labels = {s.labels["label"]: s.value for s in families["imago_events"].samples}
    assert labels == {"bee": 8, "fly": 8, "wasp": 8, "unknown": 6}
    assert families["imago_records_kept"].samples[0].value == 30


def test_health_says_when_frames_stop() -> None:
    with Camera(stale_s=0.5) as camera:
        assert camera.ask("GET", "/healthz").status == 200
        camera.stop.set()
        until(lambda: camera.ask("GET", "/healthz").status == 503)
        assert camera.ask("GET", "/healthz").json["healthy"] is False
        assert not camera.ask("GET", "/api/status").json["healthy"]


def test_a_drip_of_bytes_is_cut_off(monkeypatch: pytest.MonkeyPatch, camera: Camera) -> None:
    """One byte now and then keeps a plain read alive for ever."""
    monkeypatch.setattr(server, "HEAD_S", 1.0)
    with socket.create_connection(("127.0.0.1", camera.page.port)) as raw:
        raw.settimeout(0.1)
        began = time.monotonic()
        closed = False
        while not closed and time.monotonic() - began < 20:
            try:
                raw.sendall(b"X")
                closed = raw.recv(10) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
        assert closed


def test_connections_are_bounded_and_come_back(camera: Camera) -> None:
    crowd = [socket.create_connection(("127.0.0.1", camera.page.port)) for _ in range(server.MAX_PER_ADDRESS)]
    try:
        for one in crowd:
            one.sendall(b"GET ")
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", camera.page.port), timeout=10) as late:
            assert late.recv(100).startswith(b"HTTP/1.1 503")
    finally:
        for one in crowd:
            one.close()
    until(lambda: camera.ask("GET", "/healthz").status == 200)


def test_one_connection_many_requests(camera: Camera) -> None:
    with socket.create_connection(("127.0.0.1", camera.page.port), timeout=20) as raw:
        stream = raw.makefile("rb")
        for _ in range(5):
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = b"".join(iter(stream.readline, b"\r\n")).decode()
            assert head.startswith("HTTP/1.1 200")
            stream.read(int(head.split("Content-Length: ")[1].split()[0]))
        # A body that nobody wants ends the connection, else it would be taken for the next request.
        raw.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nGET ")
        assert "Connection: close" in b"".join(iter(stream.readline, b"\r\n")).decode()
        stream.read()
        stream.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"501"),
        (
            POST.encode() + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"501",
        ),
        (b"GET /\r\n\r\n", b"505"),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", b"505"),
    ],
)
def test_odd_requests(camera: Camera, request_: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", camera.page.port), timeout=20) as raw:
        raw.sendall(request_)
        answer = raw.makefile("rb").read()
    assert answer.split()[1] == status
    assert b"nosniff" in answer
    assert b"nonsense" not in answer


def test_expect_continue_is_said_only_to_a_body_that_is_wanted(camera: Camera) -> None:
    jpeg = encode_jpeg(picture(2))
    head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", camera.page.port), timeout=20) as raw:
        raw.sendall(head + b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(jpeg)
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", camera.page.port), timeout=20) as raw:
        raw.sendall(head + b"Content-Type: image/jpeg\r\nContent-Length: 99999999\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("text", "wanted", "local"),
    [
        ("8080", ("localhost", 8080), True),
        ("localhost:1", ("localhost", 1), True),
        ("127.0.0.1:80", ("127.0.0.1", 80), True),
        ("[::1]:99", ("::1", 99), True),
        ("0.0.0.0", ("0.0.0.0", 8080), False),  # noqa: S104
        ("0.0.0.0:0", ("0.0.0.0", 0), False),  # noqa: S104
        ("trap.local:8000", ("trap.local", 8000), False),
        (":7000", ("localhost", 7000), True),
    ],
)
def test_addresses(text: str, wanted: tuple[str, int], local: bool) -> None:
    address = Address.parse(text)
    assert ((address.host, address.port), address.local) == (wanted, local)


@pytest.mark.parametrize("text", ["", "a:b", "1:2:3", "x:99999", "http://x:1", "[::1", "999999"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(InputError, match=r"HOST:PORT|no address"):
        Address.parse(text)


def test_a_taken_port_is_a_clear_word(camera: Camera) -> None:
    with pytest.raises(InputError, match="cannot listen on"), Camera(f"localhost:{camera.page.port}"):
        pass


def test_a_token_is_made_once_and_kept_with_the_records(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        with Camera("0.0.0.0:0", folder=tmp_path, frames=False) as camera:
            tokens.append(camera.page.token)
    assert tokens[0] == tokens[1]
    assert len(tokens[0] or "") >= 22
    assert (tmp_path / "web-token").stat().st_mode & 0o077 == 0


def test_a_token_file_that_a_power_cut_left_empty_is_written_anew(tmp_path: Path) -> None:
    for left in (b"", bytes(23)):
        (tmp_path / "web-token").write_bytes(left)
        with Camera("0.0.0.0:0", folder=tmp_path) as made:
            token = made.page.token
        assert token
        assert (tmp_path / "web-token").read_text(encoding="utf-8").strip() == token


def test_a_picture_made_for_somebody_long_gone_is_not_shown_as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FrameHub(max_fps=1000)
    waiting = threading.Thread(target=hub.wait, args=(0, 10))
    waiting.start()
    until(lambda: hub.viewers)
    until(hub.wants)
    hub.show(picture(1), seen(1))
    waiting.join()
    assert hub.wait(0, 0) is not None
    monkeypatch.setattr("imago.edge_runtime.web.hub.FRESH_S", 0.0)
    assert hub.wait(0, 0.05) is None
    hub.close()


def test_camera_failures_are_in_status_and_metrics(camera: Camera) -> None:
    facts = {"down": True, "failures": 3, "stalls": 1, "reopened": 2, "downtime_s": 4.5}
    camera.page.status.provide("camera", lambda: facts)
    assert camera.ask("GET", "/api/status").json["camera"] == facts
    text = camera.ask("GET", "/metrics").body.decode()
    assert "imago_camera_down 1\n" in text
    assert "imago_camera_failures_total 3\n" in text
