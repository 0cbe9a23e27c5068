"""Who may talk to the page: host names, origins, the token, and how often one may guess it.

On this machine alone (localhost) nobody needs a token; anywhere else everything but the page's own files
and ``/healthz`` does. In both cases a foreign web page open in the same browser must get nothing: its
requests come with a foreign ``Host`` (DNS rebinding), ``Origin`` or ``Sec-Fetch-Site``.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from email.message import Message
from urllib.parse import urlsplit

from imago.edge_runtime.errors import InputError

MIN_TOKEN = 16
COOKIE = "imago"
GUESSES, GUESS_WINDOW_S, MAX_ADDRESSES = 5, 60.0, 1024
HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?")

Headers = Message


class Guard:
    """token: None where none is needed. names: host names by which this machine may be called."""

    def __init__(self, token: str | None, names: Iterable[str] = ()) -> None:
        if token is not None and (len(token) < MIN_TOKEN or not token.isprintable()):
            raise InputError("a token has at least {n} printable characters", n=MIN_TOKEN)
        self.token = token
        own = socket.gethostname()
        self._names = {name.lower() for name in ("localhost", own, f"{own}.local", *names)}
        self._cookie = (
            "" if token is None else hmac.new(token.encode(), b"imago page", hashlib.sha256).hexdigest()
        )
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def host_allowed(self, host: str | None) -> bool:
        """Whether ``Host`` is one of ours: an attacker's name that points here (DNS rebinding) is not.

        Any address is, since a name is what that attack needs. The port is not looked at (ssh -L).
        """
        match = HOST.fullmatch(host or "")
        if match is None:
            return False
        name = match[1].strip("[]").rstrip(".").lower()
        return name in self._names or _is_address(name)

    def same_origin(self, headers: Headers) -> bool:
        """Whether a request comes from our own page, or from no page at all (curl, Prometheus)."""
        site = headers.get("Sec-Fetch-Site")
        if site not in (None, "same-origin", "none"):
            return False
        origin = headers.get("Origin")
        return origin is None or (urlsplit_safe(origin) == (headers.get("Host") or "").lower() != "")

    def authorized(self, headers: Headers, address: str) -> bool:
        """Whether the request carries the token, or the cookie given for it."""
        if self.token is None:
            return True
        kind, _, given = (headers.get("Authorization") or "").partition(" ")
        if kind.lower() == "bearer" and given:
            return self.check(given.strip(), address)
        return any(_same(value, self._cookie) for value in _cookies(headers.get_all("Cookie") or ()))

    def check(self, given: str, address: str) -> bool:
        """Whether ``given`` is the token, in constant time; a wrong one counts against ``address``."""
        right = self.token is not None and _same(given, self.token)
        if self.locked(address):
            return False
        if not right:
            self._fail(address)
        return right

    def locked(self, address: str) -> bool:
        """Whether ``address`` has guessed too often of late."""
        with self._lock:
            return len(self._recent(_network(address))) >= GUESSES

    def cookie(self) -> str:
        """The ``Set-Cookie`` value for whoever gave the token: not for scripts, not from other sites."""
        return f"{COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000"

    def _fail(self, address: str) -> None:
        with self._lock:
            network = _network(address)
            self._failures[network] = [*self._recent(network), time.monotonic()]
            self._failures.move_to_end(network)
            while len(self._failures) > MAX_ADDRESSES:
                self._failures.popitem(last=False)

    def _recent(self, network: str) -> list[float]:
        oldest = time.monotonic() - GUESS_WINDOW_S
        return [moment for moment in self._failures.get(network, ()) if moment > oldest]


def new_token() -> str:
    """128 bits of chance."""
    return secrets.token_urlsafe(16)


def urlsplit_safe(origin: str) -> str:
    """Host and port of an ``Origin``, in lower case; empty where it has none (``null``)."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _cookies(headers: Iterable[str]) -> list[str]:
    pairs = (pair.strip().partition("=") for header in headers for pair in header[:4096].split(";"))
    return [value for name, _, value in pairs if name == COOKIE]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _network(address: str) -> str:
    """An IPv6 house has 2⁶⁴ addresses to guess from; they count as one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
