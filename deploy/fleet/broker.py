"""What boards told an MQTT broker: the way that works through firewalls, and for boards that sleep."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imago.deploy.fleet.inventory import Board
from imago.deploy.fleet.state import NOT_WELL, WELL, BoardState, away
from imago.edge_runtime.errors import DeployError, MissingDependency
from imago.edge_runtime.messages import tr
from imago.edge_runtime.mqtt.discovery import Topics
from imago.edge_runtime.mqtt.options import MqttOptions

MAX_PAYLOAD = 1 << 20


@dataclass
class _Heard:
    """What came from the broker; paho's thread writes, we read when the time is up."""

    status: dict[str, str] = field(default_factory=dict)
    device: dict[str, dict[str, Any]] = field(default_factory=dict)
    state: dict[str, dict[str, Any]] = field(default_factory=dict)
    trouble: str = ""
    connected: threading.Event = field(default_factory=threading.Event)


def listen(boards: Sequence[Board], broker: MqttOptions, timeout_s: float) -> list[BoardState]:
    """What the boards told the broker: on or off line and model are kept there, frames come once a minute.

    Raises DeployError where the broker does not answer, MissingDependency without paho-mqtt.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingDependency(
            "this needs {package}, which is not installed: pip install 'imago-edge[{extra}]'",
            package="paho-mqtt",
            extra="mqtt",
        ) from error
    from imago.edge_runtime.mqtt.publisher import tls_context

    heard, complete = _Heard(), threading.Event()
    topics = {board.name: Topics(board.topic) for board in boards}
    nodes = {MqttOptions("", prefix=board.topic).node: board.name for board in boards}
    client = Client(CallbackAPIVersion.VERSION2)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        client.tls_set_context(tls_context(broker.ca))

    def on_connect(_client: Any, _data: object, _flags: object, reason: Any, _more: object) -> None:
        if reason.is_failure:
            heard.trouble = str(reason)
        else:
            mine = [(topic, 0) for t in topics.values() for topic in (t.status, t.state)]
            found = [(f"{broker.discovery}/+/{node}/+/config", 0) for node in nodes]
            client.subscribe(mine + found)
        heard.connected.set()

    def on_message(_client: Any, _data: object, message: Any) -> None:
        _take(heard, message.topic, bytes(message.payload), topics, nodes)
        if all(name in heard.status and name in heard.device for name in topics):
            complete.set()

    client.on_connect, client.on_message = on_connect, on_message
    try:
        client.connect(broker.host, broker.port)
    except OSError as error:
        raise DeployError(
            "the broker {address} does not answer ({reason})", address=broker.address, reason=error
        ) from error
    client.loop_start()
    try:
        answered = heard.connected.wait(timeout_s)
        if heard.trouble or not answered:
            raise DeployError(
                "the broker {address} does not answer ({reason})",
                address=broker.address,
                reason=heard.trouble or tr("no connection"),
            )
        complete.wait(timeout_s)
    finally:
        client.disconnect()
        client.loop_stop()
    return [_told(board.name, heard) for board in boards]


def _take(
    heard: _Heard, topic: str, payload: bytes, topics: Mapping[str, Topics], nodes: Mapping[str, str]
) -> None:
    for name, known in topics.items():
        if topic == known.status:
            heard.status[name] = payload.decode("utf-8", "replace")
            return
        if topic == known.state:
            heard.state[name] = _object(payload)
            return
    words = topic.split("/")
    if len(words) >= 3 and (found := nodes.get(words[-3])):
        device = _object(payload).get("device")
        heard.device[found] = device if isinstance(device, dict) else {}


def _object(payload: bytes) -> dict[str, Any]:
    try:
        data = json.loads(payload[:MAX_PAYLOAD])
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _told(name: str, heard: _Heard) -> BoardState:
    word = heard.status.get(name)
    if word is None:
        return away(name, tr("the broker has heard nothing of it"))
    device, state = heard.device.get(name, {}), heard.state.get(name, {})
    if word != "online":
        return away(name, tr("it has left the broker"))
    return BoardState(
        name,
        WELL if state.get("healthy", True) else NOT_WELL,
        bundle=device.get("model"),
        imago=device.get("sw_version"),
        frames=state.get("frames"),
    )
