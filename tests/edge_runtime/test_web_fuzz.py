"""Whatever is sent to the live page: it answers something sensible, and goes on."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.edge_runtime.imageio import encode_jpeg

from events_support import picture, visit
from page_support import Camera

MANY = int(os.environ.get("IMAGO_FUZZ", "1"))  # times as many examples
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    with Camera(folder=tmp_path_factory.mktemp("page")) as made:
        for n in range(5):
            made.visit(visit(n))
        yield made


@pytest.fixture(autouse=True)
def no_complaints(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The server says every error that it did not expect on standard error."""
    yield
    assert capfd.readouterr().err == ""


METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "get", ""]) | st.text(max_size=5)
PATHS = st.sampled_from(
    [
        "/",
        "/page.js",
        "/api/info",
        "/api/status",
        "/api/events",
        "/api/login",
        "/api/predict",
        "/metrics",
        "/healthz",
        "*",
        "http://localhost/",
        "/api/events/00000000000000000000/crop",
        "/api/events/00000000000000000000/mark",
    ]
)
QUERIES = st.dictionaries(
    st.sampled_from(["limit", "before", "label", "unknown", "x"]), st.text(max_size=12), max_size=3
).map(lambda pairs: "&".join(f"{key}={value}" for key, value in pairs.items()))
NAMES = [
    "Host",
    "Origin",
    "Cookie",
    "Authorization",
    "Content-Type",
    "Content-Length",
    "Expect",
    "Connection",
    "Transfer-Encoding",
    "If-None-Match",
    "Sec-Fetch-Site",
    "X",
]
VALUES = [
    "",
    "Bearer x",
    *[
        "localhost",
        "application/json",
        "image/jpeg",
        "chunked",
        "0",
        "5",
        "-1",
        "imago=y",
        "100-continue",
        "close",
        "cross-site",
    ],
]
HEADERS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(max_size=20)), max_size=6
)
Pairs = list[tuple[str, str]]
HOST = st.sampled_from([[("Host", "localhost")], []])  # without one of ours, little is looked at
STATUSES = {100, 200, 304, 400, 401, 403, 404, 405, 411, 413, 414, 415, 421, 431, 501, 503, 505}


def exchange(port: int, data: bytes) -> bytes:
    """All that the server answers to ``data`` and a closed sending side."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            with raw.makefile("rb") as stream:
                return stream.read()
        except ConnectionError:
            return b""


def sensible(answer: bytes) -> None:
    if answer:
        version, status = answer.split()[:2]
        assert version == b"HTTP/1.1"
        assert int(status) in STATUSES
        assert int(status) == 100 or b"nosniff" in answer
        assert b"Traceback" not in answer


@settings(quick, max_examples=150 * MANY)
@given(st.binary(max_size=300))
def test_any_bytes(camera: Camera, data: bytes) -> None:
    sensible(exchange(camera.page.port, data))
    assert camera.ask("GET", "/healthz").status == 200


@settings(quick, max_examples=250 * MANY)
@given(METHODS, PATHS | st.text(max_size=20), QUERIES, st.tuples(HOST, HEADERS), st.binary(max_size=60))
def test_any_request(
    camera: Camera,
    method: str,
    path: str,
    query: str,
    headers: tuple[list[tuple[str, str]], ...],
    body: bytes,
) -> None:
    lines = [f"{method} {path}?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in chain(*headers))]
    sensible(exchange(camera.page.port, "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body))
    assert camera.ask("GET", "/healthz").status == 200


KEYS = st.sampled_from(["wrong", "label", "token"]) | st.text(max_size=3)


def _nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)


@settings(quick, max_examples=100 * MANY)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), _nested, max_leaves=6))
def test_any_json(camera: Camera, data: object) -> None:
    event = camera.ask("GET", "/api/events?limit=1").json["events"][0]["id"]
    assert camera.post_json(f"/api/events/{event}/mark", data).status in (200, 400)
    assert camera.post_json("/api/login", data).status in (200, 400)


def _seeds() -> list[bytes]:
    made = [encode_jpeg(picture(1))]
    for kind in ("PNG", "GIF", "BMP", "WEBP", "TIFF"):
        out = io.BytesIO()
        Image.fromarray(picture(2).image).save(out, kind)
        made.append(out.getvalue())
    return made


SEEDS = _seeds()


@settings(quick, max_examples=250 * MANY)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=20),
    st.integers(0, 10_000),
)
def test_any_picture(camera: Camera, seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    body = bytes(data[: max(1, cut)])
    answer = camera.ask("POST", "/api/predict", body, Content_Type="application/octet-stream")
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert 0 <= answer.json["confidence"] <= 1


def test_the_page_is_still_there(camera: Camera) -> None:
    assert camera.ask("GET", "/").status == 200
    assert Path(camera.folder or "", "events.sqlite").exists()
