"""A live page in this process, fed by a thread as the loop would, and the plainest of clients."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from imago.edge_runtime.events import Event
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.sink import Records
from imago.edge_runtime.sinks import Seen
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.edge_runtime.status import LiveStatus
from imago.edge_runtime.types import Frame, Prediction, Score, Subject
from imago.edge_runtime.web.page import Address, LivePage

from events_support import LABELS, picture

SPEC = ModelSpec(
    labels=LABELS, input=InputSpec(32, 32), name="tiny", display_names={"zh": ("蜜蜂", "苍蝇", "黄蜂")}
)


def predict(frame: Frame) -> Prediction:
    """The brighter, the more a bee."""
    bright = float(frame.image.mean()) / 255
    return Prediction(np.array([bright, (1 - bright) * 0.7, (1 - bright) * 0.3], np.float32), LABELS)


def seen(index: int, *, idle: bool = False, box: bool = True) -> Seen:
    """What the loop says about frame ``index``."""
    subject = Subject(Score("bee", 0, 0.91), box=(10 + index % 5, 8, 20, 16) if box else None)
    answer = Prediction(np.array([0.91, 0.06, 0.03], np.float32), LABELS)
    return Seen(index, "", index / 20, answer, 2100.0, 15300.0, idle, () if idle else (subject,))


@dataclass
class Camera:
    """A page that is fed 20 frames a second. ``address`` as after ``--web``."""

    address: str = "localhost:0"
    folder: Path | None = None
    token: str | None = None
    stale_s: float = 10.0
    frames: bool = True
    spec: ModelSpec = SPEC
    page: LivePage = field(init=False)
    records: Records | None = field(init=False, default=None)

    def __enter__(self) -> Camera:
        status = LiveStatus(model=self.spec.name, source="a test picture", stale_s=self.stale_s)
        if self.folder is not None:
            self.records = records = Records(self.folder, RecordOptions(reserve_mb=0))
            status.provide("records", lambda: records.state().to_dict())
        self.page = LivePage(
            Address.parse(self.address),
            spec=self.spec,
            status=status,
            predict=predict,
            records=self.folder,
            token=self.token,
            version="9",
        )
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()
        return self

    def _feed(self) -> None:
        index = 0
        while self.frames and not self.stop.wait(0.05):
            shown = seen(index)
            self.page.write(shown)
            if self.page.wants():
                self.page.show(picture(index, 320, 240), shown)
            index += 1

    def visit(self, event: Event) -> None:
        if self.records is not None:
            self.records.event(event)
        self.page.event(event)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.page.port}/"

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._thread.join()
        self.page.close()
        if self.records is not None:
            self.records.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, host: str | None = None, **headers: str
    ) -> Answer:
        """One request on a connection of its own; headers: ``Content_Type`` for Content-Type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
            if host:
                connection.putheader("Host", host)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None and "Content_Length" not in headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def post_json(self, path: str, data: Any, **headers: str) -> Answer:
        return self.ask("POST", path, json.dumps(data).encode(), Content_Type="application/json", **headers)


@dataclass(frozen=True)
class Answer:
    """status, headers, body of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def until(condition: Any, seconds: float = 30) -> None:
    """Wait for ``condition``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
