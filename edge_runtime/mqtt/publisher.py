"""Delivers the outbox to an MQTT broker: every event at least once, in order, however long it takes.

One thread takes the oldest event, publishes it with QoS 1 and waits for the broker's word before the
next; paho-mqtt's own thread reconnects with growing pauses and repeats what was under way. Only what the
broker has confirmed leaves the outbox. A receiver may see an event twice (same ``id``), never out of order.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import InputError, MissingDependency, StorageError
from imago.edge_runtime.events import Event
from imago.edge_runtime.mqtt.discovery import Topics, discovery_messages, event_payload
from imago.edge_runtime.mqtt.options import MqttOptions
from imago.edge_runtime.mqtt.outbox import Outbox

if TYPE_CHECKING:
    from paho.mqtt.client import Client

KEEPALIVE_S = 30
LONGEST_PAUSE_S = 60
LOOK_S = 5.0
STATE_S = 60.0
CLOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class MqttState:
    """How delivery is doing. trouble: why there is no connection, as the broker or the system says it."""

    address: str
    connected: bool
    delivered: int
    waiting: int
    trouble: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for JSON."""
        return asdict(self)


class Publisher:
    """Sends what ``Records(…, outbox=True)`` in ``folder`` lines up. ``wake`` says that there is more.

    model, labels: what Home Assistant is told. state: figures for the state topic, asked once a minute.

    Raises MissingDependency without paho-mqtt, InputError where the certificate cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        options: MqttOptions,
        *,
        model: str,
        labels: Sequence[str],
        version: str = "",
        state: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.options = options
        self._labels, self._state = labels, state
        self._discovery = list(discovery_messages(options, model, labels, version))
        self._topics = Topics(options.prefix)
        self._outbox = Outbox(folder)
        self._wake, self._connected = threading.Event(), threading.Event()
        self._deadline = math.inf  # of closing
        self._delivered, self._waiting = 0, self._outbox.waiting()
        self._trouble: str | None = None
        self._stated = -STATE_S
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._work, name="imago-mqtt", daemon=True)
        self._thread.start()

    def event(self, _event: Event) -> None:
        """As an ``EventSink`` beside ``Records``, which has put the event in line or soon will."""
        self._wake.set()

    def wake(self) -> None:
        """There may be something new; may be called from any thread."""
        self._wake.set()

    def state(self) -> MqttState:
        """How it goes; may be called from any thread."""
        up = self._connected.is_set()
        return MqttState(self.options.address, up, self._delivered, self._waiting, self._trouble)

    def close(self) -> None:
        """Deliver what waits, for some seconds where the broker is there; harmless when called twice."""
        self._deadline = min(self._deadline, time.monotonic() + CLOSE_S)
        self._wake.set()
        self._thread.join(CLOSE_S + LOOK_S)

    def _make_client(self) -> Client:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise MissingDependency(
                "this needs {package}, which is not installed: pip install 'imago-edge[{extra}]'",
                package="paho-mqtt",
                extra="mqtt",
            ) from error
        options = self.options
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"imago-{options.node}")
        client.will_set(self._topics.status, "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, LONGEST_PAUSE_S)
        if options.user is not None:
            client.username_pw_set(options.user, options.password)
        if options.tls:
            client.tls_set_context(tls_context(options.ca))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        return client

    # paho calls these three from its own thread.
    def _on_connect(self, client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        if reason.is_failure:
            self._trouble = str(reason)
            return
        self._trouble = None
        for topic, payload in self._discovery:
            client.publish(topic, payload, qos=1, retain=True)
        client.publish(self._topics.status, "online", qos=1, retain=True)
        self._connected.set()
        self._wake.set()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: Any, _more: object
    ) -> None:
        self._connected.clear()
        self._trouble = self._trouble or str(reason)

    def _on_connect_fail(self, _client: Client, _data: object) -> None:
        self._connected.clear()
        self._trouble = "no connection"

    def _work(self) -> None:
        self._client.connect_async(self.options.host, self.options.port, KEEPALIVE_S)
        self._client.loop_start()
        while True:
            closing = self._deadline < math.inf  # looked at first: what came before it is delivered below
            if not closing:
                self._wake.wait(LOOK_S)
            self._wake.clear()
            try:
                self._deliver_all()
            except StorageError as error:  # the disk is full or the database damaged: others mend it
                self._trouble = str(error)
            if closing:
                break
            self._say_state()
        if self._connected.is_set():
            info = self._client.publish(self._topics.status, "offline", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                info.wait_for_publish(1)
        self._client.disconnect()
        self._client.loop_stop()

    def _deliver_all(self) -> None:
        self._waiting = self._outbox.waiting()
        while self._connected.is_set() and not self._over and (batch := self._outbox.next()):
            done, last = 0, None
            for seq, record in batch:
                if record is not None:
                    if not self._confirmed(self._topics.events, event_payload(record.event, self._labels)):
                        break
                    self._delivered += 1
                    last = record
                self._waiting = max(0, self._waiting - 1)
                done = seq
            if done:
                self._outbox.done(done)
            self._waiting = self._outbox.waiting()
            if last is not None and not self._waiting:
                self._show_last(last.crop, event_payload(last.event, self._labels))

    def _confirmed(self, topic: str, payload: str) -> bool:
        """Publish and wait, for as long as it takes, until the broker has it; False: closed before that."""
        info = self._client.publish(topic, payload, qos=1)
        while not self._over:
            try:
                info.wait_for_publish(0.5)
                if info.is_published():
                    return True
            except RuntimeError:  # lost the connection in this very moment: it is sent again later
                time.sleep(0.2)
                return False
        return False

    @property
    def _over(self) -> bool:
        return time.monotonic() > self._deadline

    def _show_last(self, crop: Path | None, payload: str) -> None:
        self._client.publish(self._topics.last, payload, qos=1, retain=True)
        if crop is not None:
            with contextlib.suppress(OSError):
                self._client.publish(self._topics.crop, crop.read_bytes(), qos=1, retain=True)

    def _say_state(self) -> None:
        if self._state is None or not self._connected.is_set():
            return
        if time.monotonic() - self._stated >= STATE_S:
            self._stated = time.monotonic()
            self._client.publish(self._topics.state, json.dumps(dict(self._state())), retain=True)


def tls_context(ca: Path | None) -> Any:
    """TLS that trusts ``ca``, or the system's authorities. Raises InputError."""
    import ssl

    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            "{path} is no certificate that can be used ({reason})", path=ca, reason=error
        ) from error
