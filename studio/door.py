"""Who comes in, before NiceGUI sees anything: host names, origins, the token, and how much may be sent.

NiceGUI itself accepts web sockets from any origin; so this stands in front of both kinds of requests. The
rules are those of the board's live page (``edge_runtime/web/guard.py``).
"""

from __future__ import annotations

import json
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from imago.edge_runtime.messages import tr
from imago.edge_runtime.web.guard import Guard

MAX_BODY = 64 * 1024  # of anything that is not an upload
UPLOADS = "/api/upload/"
DOOR = "/door"
OPEN = (DOOR, f"{DOOR}.js", f"{DOOR}.css")  # what a visitor without the token may load
SECURITY = {
    # NiceGUI and Vue need inline scripts and eval; nothing may come from, or go to, anywhere else.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Door:
    """An ASGI application around another. max_upload: bytes of one upload's body."""

    def __init__(self, inner: ASGIApp, guard: Guard, max_upload: int) -> None:
        self._inner, self._guard, self._max_upload = inner, guard, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or answer in one line."""
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await self._refuse(scope, send, *refusal)
        elif scope["type"] == "websocket":
            await self._inner(scope, receive, send)
        elif scope["path"] == DOOR and scope["method"] == "POST":
            await self._knock(scope, receive, _secured(send))
        else:
            limit = self._max_upload if scope["path"].startswith(UPLOADS) else MAX_BODY
            await self._bounded(scope, headers, receive, _secured(send), limit)

    def _refusal(self, scope: Scope, headers: Message) -> tuple[HTTPStatus, str] | None:
        if not self._guard.host_allowed(headers.get("Host")):
            return HTTPStatus.MISDIRECTED_REQUEST, tr("this name is not one of this machine's")
        changing = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        navigating = headers.get("Sec-Fetch-Mode") == "navigate" and not changing
        if not navigating and not self._guard.same_origin(headers):
            return HTTPStatus.FORBIDDEN, tr("a page of another origin asked")
        if scope["path"] in OPEN or self._guard.authorized(headers, _address(scope)):
            return None
        return HTTPStatus.UNAUTHORIZED, tr("the token is missing; open the address that the terminal shows")

    async def _refuse(self, scope: Scope, send: Send, status: HTTPStatus, reason: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        wants_page = status == HTTPStatus.UNAUTHORIZED and scope["method"] == "GET" and _wants_page(scope)
        if wants_page:
            await _answer(_secured(send), HTTPStatus.SEE_OTHER, b"", [(b"location", DOOR.encode())])
            return
        await _json(_secured(send), status, {"error": reason})

    async def _knock(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``token=…`` in the body: the right one gets the cookie."""
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if event["type"] == "http.disconnect" or len(body) > MAX_BODY:
                return
            if not event.get("more_body"):
                break
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        address = _address(scope)
        if self._guard.check(given, address):
            await _json(send, HTTPStatus.OK, {}, [(b"set-cookie", self._guard.cookie().encode())])
        elif self._guard.locked(address):
            await _json(
                send, HTTPStatus.TOO_MANY_REQUESTS, {"error": tr("too many wrong tokens; wait a minute")}
            )
        else:
            await _json(send, HTTPStatus.UNAUTHORIZED, {"error": tr("that is not the token")})

    async def _bounded(
        self, scope: Scope, headers: Message, receive: Receive, send: Send, limit: int
    ) -> None:
        """Let the body through up to ``limit`` bytes, whatever the header announces."""
        announced = headers.get("Content-Length") or "0"
        if not announced.isdigit() or int(announced) > limit:
            text = tr("this is too large: at most {mb} MB at once", mb=max(1, limit // 1_000_000))
            await _json(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": text})
            return
        left = limit

        async def counted() -> Event:
            nonlocal left
            event = await receive()
            left -= len(event.get("body", b""))
            return {"type": "http.disconnect"} if left < 0 else event

        await self._inner(scope, counted, send)


def _headers(scope: Scope) -> Message:
    message = Message()
    for name, value in scope["headers"]:
        message[name.decode("latin-1")] = value.decode("latin-1")
    return message


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _wants_page(scope: Scope) -> bool:
    return "text/html" in (_headers(scope).get("Accept") or "")


def _secured(send: Send) -> Send:
    """Every answer carries the security headers."""

    async def sending(event: Event) -> None:
        if event["type"] == "http.response.start":
            given = {name.lower() for name, _ in event.get("headers", ())}
            more = [(k.encode(), v.encode()) for k, v in SECURITY.items() if k.encode() not in given]
            event = {**event, "headers": [*event.get("headers", ()), *more]}
        await send(event)

    return sending


async def _json(
    send: Send, status: HTTPStatus, data: dict[str, Any], headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps(data, ensure_ascii=False).encode()
    kind = (b"content-type", b"application/json; charset=utf-8")
    await _answer(send, status, body, [kind, (b"cache-control", b"no-store"), *(headers or [])])


async def _answer(send: Send, status: HTTPStatus, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    size = (b"content-length", str(len(body)).encode())
    close = [(b"connection", b"close")] if status >= HTTPStatus.BAD_REQUEST else []
    await send({"type": "http.response.start", "status": int(status), "headers": [*headers, size, *close]})
    await send({"type": "http.response.body", "body": body})
