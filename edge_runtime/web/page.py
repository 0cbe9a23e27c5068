"""The live page of a run: what the loop feeds, and a server that shows it.

http.server of the standard library is enough here: about ten requests a second per viewer, a thread for
each of at most 48 connections, nothing to install on a board, and all that it lacks in front of strangers
is in ``server.py`` and ``guard.py`` (docs/decisions.md says why no framework).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.events import Event
from imago.edge_runtime.files import replacing
from imago.edge_runtime.sinks import Seen
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.status import LiveStatus
from imago.edge_runtime.types import Frame, Prediction
from imago.edge_runtime.web.address import ANYWHERE, Address
from imago.edge_runtime.web.guard import Guard, new_token
from imago.edge_runtime.web.history import MemoryHistory, RecordHistory
from imago.edge_runtime.web.hub import FrameHub
from imago.edge_runtime.web.routes import PageHandler, Site
from imago.edge_runtime.web.server import Server

__all__ = ["Address", "LivePage"]
TOKEN = "IMAGO_WEB_TOKEN"  # noqa: S105  name of a variable


class LivePage:
    """A ``Sink``, ``EventSink`` and ``Viewer`` that serves the page from the moment it is made.

    predict: answers pictures that visitors send; must be safe beside the loop. records: the folder of
    ``Records``, for the history; without one the newest 60 events are kept in memory. token: None: one is
    made (and kept in the records folder) where the address is not localhost.

    Raises InputError where the address cannot be used.
    """

    def __init__(
        self,
        address: Address,
        *,
        spec: ModelSpec,
        status: LiveStatus,
        predict: Callable[[Frame], Prediction],
        records: Path | None = None,
        token: str | None = None,
        version: str = "",
    ) -> None:
        self.status, self._address = status, address
        self.token = None if address.local else (token or _kept_token(records))
        self._hub = FrameHub()
        self._memory = MemoryHistory() if records is None else None
        site = Site(
            guard=Guard(self.token, [address.host]),
            status=status,
            hub=self._hub,
            history=self._memory or RecordHistory(records or Path()),
            predict=predict,
            target=spec.input,
            info=_info(spec, status, version, marks=records is not None),
        )
        handler = type("BoundHandler", (PageHandler,), {"site": site})
        try:
            self._server = Server((_bind(address.host), address.port), handler)
        except BaseException:
            self._hub.close()
            raise
        self._thread = threading.Thread(target=self._server.serve_forever, name="imago-page", daemon=True)
        self._thread.start()
        self._closed = False

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return self._server.server_port

    def urls(self) -> list[str]:
        """Addresses to open in a browser; the token stands behind #, which is never sent or logged."""
        tail = "" if self.token is None else f"#token={self.token}"
        return [f"http://{_bracket(host)}:{self.port}/{tail}" for host in _reachable(self._address.host)]

    def write(self, seen: Seen) -> None:
        """See ``Sink.write``."""
        self.status.write(seen)

    def event(self, event: Event) -> None:
        """See ``EventSink.event``."""
        self.status.event(event)
        if self._memory is not None:
            self._memory.event(event)

    def wants(self) -> bool:
        """See ``Viewer.wants``."""
        return self._hub.wants()

    def show(self, frame: Frame, seen: Seen) -> None:
        """See ``Viewer.show``."""
        self._hub.show(frame, seen)

    def close(self) -> None:
        """Stop serving; harmless when called twice."""
        if not self._closed:
            self._closed = True
            self._hub.close()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(2)


def _info(spec: ModelSpec, status: LiveStatus, version: str, *, marks: bool) -> dict[str, Any]:
    return {
        "model": status.model,
        "source": status.source,
        "version": version,
        "precision": spec.precision,
        "input": list(spec.input.size),
        "labels": list(spec.labels[:1000]),
        "display": {lang: list(names[:1000]) for lang, names in spec.display_names.items()},
        "marks": marks,
    }


def _kept_token(folder: Path | None) -> str:
    """From the environment, else from the records folder (made there at first): bookmarks keep working."""
    given = os.environ.get(TOKEN)
    if given or folder is None:
        return given or new_token()
    path = folder / "web-token"
    try:
        with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
            if kept := path.read_text(encoding="utf-8").strip("\0 \r\n"):
                return kept  # empty: a power cut has been there before it was written
    except OSError as error:
        raise StorageError("cannot read {path}: {reason}", path=path, reason=error.strerror) from error
    token = new_token()
    with replacing(path) as temporary:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(token + "\n")
    return token


def _bind(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _reachable(host: str) -> Iterable[str]:
    if host not in ANYWHERE:
        return [host]
    found = [address] if (address := _own_address()) else []
    return [*found, socket.gethostname()]


def _own_address() -> str | None:
    """This machine's address in its network. Nothing is sent: connecting a UDP socket only picks a route."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return None


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host
