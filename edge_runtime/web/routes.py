"""What the page's server answers, path by path.

GET  / and what ``assets.py`` lists   the page itself; for everybody
GET  /healthz                        200 while frames keep coming, else 503; for everybody
POST /api/login                      {"token": …} → a cookie
GET  /api/info /api/status           what runs, and how it is doing
GET  /api/frame?after=N              the newest picture after number N; waits for one
GET  /stream.mjpg                    the same as an endless MJPEG stream, for other programs
GET  /api/events?before=&limit=&label=&unknown=1
GET  /api/events/ID/crop             a picture
POST /api/events/ID/mark             {"wrong": true, "label": …}
POST /api/predict                    a picture → what is on it
GET  /metrics                        for Prometheus
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.records.query import EventQuery
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.status import LiveStatus
from imago.edge_runtime.types import Frame, Prediction
from imago.edge_runtime.web.assets import asset
from imago.edge_runtime.web.guard import Guard
from imago.edge_runtime.web.history import History
from imago.edge_runtime.web.hub import FrameHub, Shot
from imago.edge_runtime.web.metrics import KIND, render
from imago.edge_runtime.web.server import SEND_S, Handler, Refused

MAX_PICTURE = 16 * 2**20
MAX_PIXELS = 16_000_000
MAX_JSON = 4096
MAX_PAGE = 100
WAIT_S = 10.0
BOUNDARY = "imago-frame"
EVENT = re.compile(r"/api/events/([0-9a-f]{20})/(crop|mark)")


@dataclass
class Site:
    """All that the routes need."""

    guard: Guard
    status: LiveStatus
    hub: FrameHub
    history: History
    predict: Callable[[Frame], Prediction]
    target: InputSpec | None
    info: dict[str, Any]
    decoding: threading.Semaphore = field(default_factory=lambda: threading.BoundedSemaphore(1))


class PageHandler(Handler):
    """Routes one request. ``site`` is set by the class that the page makes of this one."""

    site: Site

    def answer(self) -> None:
        """See ``Handler.answer``."""
        guard = self.site.guard
        if not guard.host_allowed(self.headers.get("Host")):
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "call this machine by its address or own name")
        path, query = _split(self.path)
        file = asset(path)
        if file is not None and self.command != "POST":
            self._file(file.body, file.kind, file.etag)
            return
        if not guard.same_origin(self.headers):
            raise Refused(HTTPStatus.FORBIDDEN, "requests from other sites are not answered")
        if path == "/healthz":
            self._health()
            return
        if path == "/api/login":
            self._login()
            return
        self._authorize()
        try:
            self._route(path, query)
        except InputError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        except ImagoError as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error

    def _route(self, path: str, query: dict[str, str]) -> None:
        if self.command == "POST":
            self._post(path)
        elif path == "/api/info":
            self.reply_json(self.site.info)
        elif path == "/api/status":
            self.reply_json({**self.site.status.snapshot(), "encoded": self.site.hub.encoded})
        elif path == "/api/frame":
            self._frame(_number(query.get("after", "0")))
        elif path == "/stream.mjpg":
            self._stream()
        elif path == "/api/events":
            self._events(query)
        elif path == "/metrics":
            self.reply(render(self.site.status, self.site.hub.viewers).encode(), KIND)
        else:
            self._crop(path)

    def _post(self, path: str) -> None:
        if path == "/api/predict":
            self._predict()
            return
        match = EVENT.fullmatch(path)
        if match is None or match[2] != "mark":
            raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        data = self._json()
        label = data.get("label")
        if not isinstance(data.get("wrong"), bool) or not (label is None or isinstance(label, str)):
            raise Refused(HTTPStatus.BAD_REQUEST, 'expected {"wrong": true or false, "label": text or null}')
        self.site.history.mark(match[1], wrong=data["wrong"], correction=label)
        self.reply_json({"marked": match[1]})

    def _authorize(self) -> None:
        guard, address = self.site.guard, self.client_address[0]
        if guard.authorized(self.headers, address):
            return
        if self.headers.get("Authorization") and guard.locked(address):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens; wait", Retry_After="60")
        raise Refused(HTTPStatus.UNAUTHORIZED, "the token is needed", WWW_Authenticate="Bearer")

    def _login(self) -> None:
        if self.command != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "POST the token", Allow="POST")
        given, address = self._json().get("token"), self.client_address[0]
        guard = self.site.guard
        if guard.locked(address):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens; wait", Retry_After="60")
        if guard.token is not None and not (isinstance(given, str) and guard.check(given, address)):
            raise Refused(HTTPStatus.UNAUTHORIZED, "that is not the token")
        self.reply_json({"ok": True}, Set_Cookie=guard.cookie())

    def _file(self, body: bytes, kind: str, etag: str) -> None:
        if self.headers.get("If-None-Match") == etag:
            self.reply(b"", kind, HTTPStatus.NOT_MODIFIED, ETag=etag, Cache_Control="no-cache")
        else:
            self.reply(body, kind, ETag=etag, Cache_Control="no-cache")

    def _health(self) -> None:
        status = self.site.status
        code = HTTPStatus.OK if status.healthy else HTTPStatus.SERVICE_UNAVAILABLE
        seconds = round(status.last_frame_s, 1)
        self.reply_json({"healthy": status.healthy, "last_frame_s": seconds, "frames": status.frames}, code)

    def _frame(self, after: int) -> None:
        shot = self.site.hub.wait(after, WAIT_S)
        if shot is None:
            self.reply(b"", "image/jpeg", HTTPStatus.NO_CONTENT)
            return
        self.reply(
            shot.jpeg, "image/jpeg", X_Imago_Number=str(shot.number), X_Imago_Answer=json.dumps(shot.answer)
        )

    def _stream(self) -> None:
        self.close_connection = True
        self.connection.settimeout(SEND_S)
        self.send_response(HTTPStatus.OK)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        self.send_headers({"Content_Type": kind, "Cache_Control": "no-store", "Connection": "close"})
        shot: Shot | None = None
        quiet = time.monotonic() + 3 * WAIT_S
        while self.command != "HEAD" and time.monotonic() < quiet:  # a dead camera holds nobody's thread
            new = self.site.hub.wait(0 if shot is None else shot.number, WAIT_S)
            if new is not None:
                shot, quiet = new, time.monotonic() + 3 * WAIT_S
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shot.jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + shot.jpeg + b"\r\n")

    def _events(self, query: dict[str, str]) -> None:
        limit = min(_number(query.get("limit", "24")), MAX_PAGE) or 1
        asked = EventQuery(
            before=query.get("before"),
            labels=(query["label"],) if query.get("label") else (),
            unknown=True if query.get("unknown") == "1" else None,
            limit=limit + 1,
            newest_first=True,
        )
        found = self.site.history.find(asked)
        self.reply_json({"events": found[:limit], "more": len(found) > limit})

    def _crop(self, path: str) -> None:
        match = EVENT.fullmatch(path)
        jpeg = self.site.history.crop(match[1]) if match and match[2] == "crop" else None
        if jpeg is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no such page")
        self.reply(jpeg, "image/jpeg", Cache_Control="private, max-age=86400, immutable")

    def _predict(self) -> None:
        kind = (self.headers.get_content_type() or "").lower()
        if not (kind.startswith("image/") or kind == "application/octet-stream"):
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "send a picture with its own Content-Type, such as image/jpeg",
            )
        if not self.site.decoding.acquire(timeout=WAIT_S):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "busy with another picture", Retry_After="1")
        try:  # one at a time, body included: a board has memory for one
            data = self.body(MAX_PICTURE)
            began = time.perf_counter()
            prediction = self.site.predict(read_image(data, self.site.target, max_pixels=MAX_PIXELS))
        finally:
            self.site.decoding.release()
        top = [
            {"label": s.label, "index": s.index, "confidence": round(s.confidence, 6)}
            for s in prediction.top(5)
        ]
        took = round(1e3 * (time.perf_counter() - began), 2)
        self.reply_json({**top[0], "top": top, "took_ms": took})

    def _json(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":  # no form of another site can send this
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        try:
            data = json.loads(self.body(MAX_JSON))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "that is no JSON") from error
        if not isinstance(data, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        return data


def _split(target: str) -> tuple[str, dict[str, str]]:
    try:
        parts = urlsplit(target)
        query = parse_qs(parts.query, max_num_fields=20, errors="strict")
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "that is no address") from error
    return parts.path, {key: values[-1] for key, values in query.items()}


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refused(HTTPStatus.BAD_REQUEST, "expected a whole number")
    return int(text)
