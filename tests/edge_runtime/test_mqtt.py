"""MQTT against a real Mosquitto: at least once, in order, whatever the broker does meanwhile."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.mqtt.discovery import MAX_TYPES, discovery_messages, event_payload
from imago.edge_runtime.mqtt.options import MqttOptions, parse_mqtt, read_credentials
from imago.edge_runtime.mqtt.outbox import Outbox
from imago.edge_runtime.mqtt.publisher import Publisher
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.sink import Records

from broker import Broker, Listener, free_port, until
from events_support import LABELS, visit

pytest.importorskip("paho.mqtt")
FREE = RecordOptions(reserve_mb=0)
EVENTS = "trap/events"


class Camera:
    """Records and publisher as ``imago run --records --mqtt`` joins them."""

    def __init__(self, folder: Path, options: MqttOptions, **more: Any) -> None:
        self.publisher = Publisher(folder, options, model="tiny", labels=LABELS, version="1", **more)
        self.records = Records(folder, FREE, outbox=True, on_commit=self.publisher.wake)

    def close(self) -> None:
        self.records.close()
        self.publisher.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    """Cameras that are closed at the end; all share one folder, as starts of one program do."""
    made: list[Camera] = []
    folder = tmp_path / "records"
    Records(folder, FREE).close()

    def one(options: MqttOptions, **more: Any) -> Camera:
        made.append(Camera(folder, options, **more))
        return made[-1]

    yield one
    for camera in made:
        camera.close()


def seen(listener: Listener) -> list[str]:
    """Identifiers in order of arrival, repetitions of the one before left out."""
    ids = [json.loads(payload)["id"] for payload in listener.of(EVENTS)]
    return [one for n, one in enumerate(ids) if n == 0 or ids[n - 1] != one]


def test_events_arrive_and_home_assistant_is_told(tmp_path: Path, make: Callable[..., Camera]) -> None:
    with Broker(tmp_path) as broker:
        listener = Listener(broker.port)
        state = {"temperature_c": 41.5, "fps": 9.8, "healthy": True}
        camera = make(MqttOptions("127.0.0.1", broker.port, "trap"), state=lambda: state)
        events = [visit(n, unknown=n == 1) for n in range(5)]
        for event in events:
            camera.records.event(event)
        until(
            lambda: len(listener.of(EVENTS)) >= 5 and listener.of("trap/crop") and listener.of("trap/state")
        )
        payloads = [json.loads(payload) for payload in listener.of(EVENTS)]
        assert [p["id"] for p in payloads] == [event.id for event in events]
        assert [p["event_type"] for p in payloads] == ["bee", "unknown", "wasp", "bee", "fly"]
        assert {k: v for k, v in payloads[0].items() if k != "event_type"} == events[0].to_dict()
        assert json.loads(listener.of("trap/last")[-1])["id"] == events[-1].id
        assert read_image(listener.of("trap/crop")[-1]).image.shape == (48, 64, 3)
        assert json.loads(listener.of("trap/state")[0]) == state
        configs = {t: json.loads(p) for t, p, _ in listener.messages if t.startswith("homeassistant/")}
        assert set(configs) == {
            t for t, _ in discovery_messages(camera.publisher.options, "tiny", LABELS, "1")
        }
        event = configs["homeassistant/event/trap/visit/config"]
        assert event["state_topic"] == EVENTS
        assert {p["event_type"] for p in payloads} <= set(event["event_types"])
        assert {c["device"]["identifiers"][0] for c in configs.values()} == {"imago-trap"}
        assert len({c["unique_id"] for c in configs.values()}) == len(configs)
        camera.close()
        until(lambda: listener.of("trap/status") == [b"online", b"offline"])
        assert camera.publisher.state().waiting == 0
        late = Listener(broker.port, "homeassistant/#")  # Home Assistant starts later: retained
        until(lambda: len(late.messages) == len(configs))
        late.close()
        listener.close()


def test_a_broker_that_is_away_loses_nothing(tmp_path: Path, make: Callable[..., Camera]) -> None:
    """Away at the start; killed in the middle of deliveries, again and again; the camera restarts, too."""
    chance = random.Random(3)
    broker = Broker(tmp_path)
    options = MqttOptions("127.0.0.1", broker.port, "trap")
    events = [visit(n) for n in range(120)]
    camera = make(options)
    for event in events[:40]:
        camera.records.event(event)
    until(lambda: camera.publisher.state().waiting == 40)
    assert not camera.publisher.state().connected
    camera.close()  # the program ends with the broker still away
    assert Outbox(tmp_path / "records").waiting() == 40
    broker.start()
    listener = Listener(broker.port, EVENTS)
    time.sleep(1.5)  # its session is on the broker's disk
    camera = make(options)
    for kill in range(3):
        for event in events[40 + 20 * kill : 60 + 20 * kill]:
            camera.records.event(event)
        until(lambda: camera.publisher.state().connected, 40)
        time.sleep(chance.uniform(0.0, 0.05))
        listener.ready.clear()
        broker.stop(kill=kill < 2)
        until(lambda: not camera.publisher.state().connected)
        broker.start()
        assert listener.ready.wait(20)
    for event in events[100:]:
        camera.records.event(event)
    until(lambda: camera.publisher.state().waiting == 0 and len(set(seen(listener))) == 120, 60)
    order = [event.id for event in events]
    ids = [json.loads(payload)["id"] for payload in listener.of(EVENTS)]
    first = list(dict.fromkeys(ids))
    assert first == order
    listener.close()
    broker.stop()


def test_a_kill_of_the_camera_delivers_again_rather_than_never(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    records = Records(folder, FREE, outbox=True)
    for n in range(7):
        records.event(visit(n))
    records.close()
    outbox = Outbox(folder)
    first = outbox.next()
    assert [record.event.label for _, record in first if record is not None][:3] == ["bee", "fly", "wasp"]
    again = Outbox(folder).next()  # as after a kill: nothing was said to be done
    assert [seq for seq, _ in again] == [seq for seq, _ in first]
    outbox.done(first[3][0])
    assert (outbox.waiting(), [seq for seq, _ in outbox.next()]) == (3, [seq for seq, _ in first[4:]])
    outbox.done(first[-1][0])
    assert (outbox.waiting(), outbox.next()) == (0, [])


# paho leaves the socket of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_password_and_encryption(tmp_path: Path, make: Callable[..., Camera]) -> None:
    openssl = shutil.which("openssl")
    passwd = shutil.which("mosquitto_passwd")
    if openssl is None or passwd is None:
        pytest.skip("openssl or mosquitto_passwd is missing")
    ca, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split(),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(ca)),
        ],
        check=True,
        capture_output=True,
    )
    users = tmp_path / "users"
    users.write_text("trap:sesame\n", encoding="utf-8")
    subprocess.run([passwd, "-U", str(users)], check=True, capture_output=True)
    plain = free_port()
    more = ("allow_anonymous false", f"password_file {users}", f"certfile {ca}", f"keyfile {key}")
    with Broker(tmp_path, *more, f"listener {plain} 127.0.0.1") as broker:
        secret = tmp_path / "secret"
        secret.write_text("trap\nsesame\n", encoding="utf-8")
        secret.chmod(0o600)
        url = f"mqtts://localhost:{broker.port}/trap"
        listener = Listener(plain, EVENTS, user="trap", password="sesame")  # noqa: S106
        for bad in (
            parse_mqtt(url, ca=ca, environment={}),  # no password
            parse_mqtt(
                url, ca=ca, environment={"IMAGO_MQTT_USER": "trap", "IMAGO_MQTT_PASSWORD": "simsalabim"}
            ),
            parse_mqtt(url, credentials=secret, environment={}),  # a certificate that nobody vouches for
        ):
            refused = make(bad)
            until(lambda: refused.publisher.state().trouble is not None)  # noqa: B023
            assert not refused.publisher.state().connected
            refused.close()
        camera = make(parse_mqtt(url, ca=ca, credentials=secret, environment={}))
        camera.records.event(visit(0))
        until(lambda: len(listener.of(EVENTS)) == 1)
        assert "sesame" not in repr(camera.publisher.options) + camera.publisher.state().address
        listener.close()
        camera.close()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mqtt://broker", ("broker", 1883, False)),
        ("mqtts://broker", ("broker", 8883, True)),
        ("mqtt://[::1]:99/a/b", ("::1", 99, False)),
    ],
)
def test_addresses(url: str, wanted: tuple[object, ...]) -> None:
    options = parse_mqtt(url, environment={})
    assert (options.host, options.port, options.tls) == wanted
    assert options.prefix == ("a/b" if "/a/b" in url else options.prefix)
    assert options.node.replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("broker:1883", "no broker's address"),
        ("http://broker", "no broker's address"),
        ("mqtt://", "no broker's address"),
        ("mqtt://b:0", "no broker's address"),
        ("mqtt://b:99999", "no broker's address"),
        ("mqtt://[", "no broker's address"),
        ("mqtt://me:secret@b", "no password on the command line"),
        ("mqtt://b/a/+/c", "cannot be a topic"),
        ("mqtt://b/a%23", "cannot be a topic"),
    ],
)
def test_bad_addresses(url: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_mqtt(url, environment={})
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX permissions")
def test_credentials_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(InputError, match="cannot read"):
        read_credentials(path)
    path.write_text("me\npässword\n", encoding="utf-8")
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_credentials(path)
    path.chmod(0o600)
    assert read_credentials(path) == ("me", "pässword")
    path.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="empty"):
        read_credentials(path)


def test_a_thousand_classes_are_one_kind_of_event() -> None:
    labels = [f"species {n}" for n in range(MAX_TYPES + 1)]
    options = MqttOptions("b", prefix="t")
    configs = {topic: json.loads(text) for topic, text in discovery_messages(options, "m", labels, "1")}
    assert configs["homeassistant/event/t/visit/config"]["event_types"] == ["seen", "unknown"]
    assert json.loads(event_payload(visit(0), labels))["event_type"] == "seen"
