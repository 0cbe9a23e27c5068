"""The standard library's HTTP server, with what it lacks for an open door.

A bounded number of connections, in all and per address; a deadline for the whole of a request's head and
body (not per read, which a slow sender can stretch for ever); no body without an announced, bounded
length; every answer with the security headers; errors as one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from imago.edge_runtime.errors import InputError

MAX_CONNECTIONS, MAX_PER_ADDRESS = 48, 24
HEAD_S, BODY_S, SEND_S = 10.0, 60.0, 10.0
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers


class Server(ThreadingHTTPServer):
    """One thread per connection, so many and no more."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._open: Counter[str] = Counter()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        try:
            super().__init__(address, handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                "cannot listen on {host}, port {port} ({reason}); choose another with --web HOST:PORT",
                host=address[0],
                port=address[1],
                reason=getattr(error, "strerror", None) or error,
            ) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, or turn the connection away."""
        with self._lock:
            full = sum(self._open.values()) >= MAX_CONNECTIONS
            if not full and self._open[client_address[0]] < MAX_PER_ADDRESS:
                try:
                    super().process_request(request, client_address)
                except RuntimeError:  # no thread can be had
                    full = True
                else:
                    self._open[client_address[0]] += 1
                    self._sockets.add(request)
                    return
        with contextlib.suppress(OSError):
            request.settimeout(0.1)
            request.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection's whole life."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._sockets.discard(request)
                self._open[client_address[0]] -= 1
                if not self._open[client_address[0]]:
                    del self._open[client_address[0]]

    def server_close(self) -> None:
        """Stop listening, and end the connections that are open."""
        super().server_close()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who went away is no news; anything else is one line, for the log."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            sys.stderr.write(f"imago: web page: {type(error).__name__}: {error}\n")

    def server_bind(self) -> None:
        """As the parent, without asking the network for this machine's name (it may take half a minute)."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if sys.platform != "win32":  # there the option lets two programs share a port
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment, however the bytes drip in."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """One connection; ``answer`` is for the routes to fill in."""

    protocol_version = "HTTP/1.1"
    _expected = False

    def answer(self) -> None:
        """Answer the request whose head was read, or raise Refused."""
        raise NotImplementedError

    def setup(self) -> None:
        """See the standard library."""
        super().setup()
        self.rfile.close()
        self._reader = _DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """See the standard library."""
        self._reader.deadline = time.monotonic() + HEAD_S
        self._expected = False
        super().handle_one_request()

    def do_GET(self) -> None:
        """See the standard library."""
        try:
            self._check_framing()
            self.answer()
        except Refused as refused:
            self.reply_error(refused.status, refused.reason, **refused.headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_POST = do_GET  # noqa: N815

    def handle_expect_100(self) -> bool:
        """Say "go on" only once somebody wants the body."""
        self._expected = True
        return True

    def body(self, limit: int) -> bytes:
        """The request's body of at most ``limit`` bytes. Raises Refused."""
        length = self.headers.get("Content-Length")
        if length is None or not length.isascii() or not length.isdigit() or len(length) > 12:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed")
        if int(length) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {limit} bytes")
        if self._expected:
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        self._reader.deadline = time.monotonic() + BODY_S
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is shorter than announced")
        self._unread = 0
        return data

    def reply(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        """Send one whole answer. headers: ``Cache_Control`` for Cache-Control, and so on."""
        if self._unread:  # a body that nobody read: the next request cannot be told from it
            self.close_connection = True
        self.connection.settimeout(SEND_S)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        headers = {"Cache_Control": "no-store", **headers}
        if self.close_connection:
            headers["Connection"] = "close"
        self.send_headers(headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, data: Any, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        """Send one JSON value."""
        body = json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        self.reply(body, "application/json; charset=utf-8", status, **headers)

    def reply_error(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        """Send an error as JSON."""
        self.reply_json({"error": reason}, status, **headers)

    def send_headers(self, headers: dict[str, str]) -> None:
        """All remaining headers, the security ones among them."""
        for name, value in {**SECURITY, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library says of requests that it cannot read; never echoes them."""
        status = HTTPStatus(code)
        self.close_connection = True
        self.request_version = "HTTP/1.1"
        self.command = getattr(self, "command", None) or "GET"
        self._unread = 0
        self.reply_error(status, status.phrase)

    def version_string(self) -> str:
        """Not more than a name for ``Server``."""
        return "imago"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a log that grows with every request is no friend of an SD card."""

    def _check_framing(self) -> None:
        """One way only to say where a request ends, so that nobody in between can see it otherwise."""
        self._unread = 1  # until a body is known to be absent or read
        if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            self.request_version = "HTTP/1.0"
            self.close_connection = True
            raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1, please")
        lengths = self.headers.get_all("Content-Length") or []
        if self.headers.get("Transfer-Encoding") is not None or len(lengths) > 1:
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, "send one Content-Length and no Transfer-Encoding")
        if not lengths or lengths == ["0"]:
            self._unread = 0
