"""``--records``, ``--mqtt`` and ``--web`` of ``imago run``: what keeps, sends and shows events."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output
from imago.cli.model_args import positive_number
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.events import EventSink, Viewer
    from imago.edge_runtime.mqtt.options import MqttOptions
    from imago.edge_runtime.mqtt.publisher import Publisher
    from imago.edge_runtime.sinks import Sink
    from imago.edge_runtime.spec import ModelSpec
    from imago.edge_runtime.status import LiveStatus
    from imago.edge_runtime.types import Frame, Prediction
    from imago.edge_runtime.watch import Predictor
    from imago.edge_runtime.web.page import LivePage

DEFAULT_WEB = "localhost:8080"


class Shared:
    """One model for the loop and for visitors of the page, who take turns."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor, self._lock = predictor, threading.Lock()

    def predict(self, frame: Frame) -> Prediction:
        """See ``Predictor``."""
        with self._lock:
            return self._predictor.predict(frame)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    group = parser.add_argument_group(tr("records, MQTT and live page"))
    group.add_argument(
        "--records", type=Path, metavar="DIR", help=tr("keep every visit in DIR (imago events DIR reads it)")
    )
    group.add_argument(
        "--records-quota",
        type=positive_number,
        metavar="MB",
        help=tr("megabytes of pictures in DIR at most; the oldest go first (1000)"),
    )
    group.add_argument(
        "--mqtt", metavar="URL", help=tr("send every visit to mqtt://HOST[:PORT][/TOPIC], or mqtts:// (TLS)")
    )
    group.add_argument(
        "--mqtt-credentials",
        type=Path,
        metavar="FILE",
        help=tr("user and password, a line each (or IMAGO_MQTT_USER and IMAGO_MQTT_PASSWORD)"),
    )
    group.add_argument(
        "--mqtt-ca", type=Path, metavar="FILE", help=tr("certificate that vouches for the broker")
    )
    group.add_argument(
        "--web",
        nargs="?",
        const=DEFAULT_WEB,
        metavar="HOST:PORT",
        help=tr("show a live page at HOST:PORT (localhost:8080); other hosts than localhost need a token"),
    )


def shared(args: argparse.Namespace, predictor: Predictor) -> Predictor:
    """``predictor``, made safe for visitors of the page where there is one."""
    return Shared(predictor) if args.web is not None else predictor


def open_outputs(
    args: argparse.Namespace,
    predictor: Predictor,
    spec: ModelSpec,
    source: str,
    *,
    camera: Callable[[], dict[str, Any]],
    out: Output,
) -> tuple[list[Sink], list[EventSink], list[Viewer]]:
    """What the flags ask for; the loop closes them, in this order. camera: how it is doing."""
    broker = _broker(args)
    if args.records is None and args.web is None:
        return [], [], []
    from imago.edge_runtime.status import LiveStatus

    sinks: list[Sink] = []
    events: list[EventSink] = []
    viewers: list[Viewer] = []
    status = LiveStatus(model=spec.name, source=source)
    status.provide("camera", camera)
    if args.records is not None:
        _open_records(args, broker, spec, status, events=events, out=out)
    if args.web is not None:
        page = _open_page(args, predictor, spec, status, out)
        sinks.append(page)
        events.append(page)
        viewers.append(page)
    else:
        sinks.append(status)
        events.append(status)
    return sinks, events, viewers


def _broker(args: argparse.Namespace) -> MqttOptions | None:
    if args.mqtt is None:
        return None
    if args.records is None:
        raise InputError("--mqtt needs --records DIR: what the broker has not got yet is kept there")
    from imago.edge_runtime.mqtt.options import parse_mqtt

    return parse_mqtt(args.mqtt, ca=args.mqtt_ca, credentials=args.mqtt_credentials)


def _open_records(
    args: argparse.Namespace,
    broker: MqttOptions | None,
    spec: ModelSpec,
    status: LiveStatus,
    *,
    events: list[EventSink],
    out: Output,
) -> None:
    from imago.edge_runtime.records.options import RecordOptions
    from imago.edge_runtime.records.sink import Records

    options = RecordOptions(quota_mb=args.records_quota) if args.records_quota else RecordOptions()
    publisher: Publisher | None = None

    def wake() -> None:
        if publisher is not None:
            publisher.wake()

    records = Records(args.records, options, outbox=broker is not None, on_commit=wake, say=out.say)
    status.provide("records", lambda: records.state().to_dict())
    events.append(records)
    if broker is not None:
        from imago.cli.main import VERSION
        from imago.edge_runtime.mqtt.publisher import Publisher as MqttPublisher

        publisher = MqttPublisher(
            args.records, broker, model=spec.name, labels=spec.labels, version=VERSION, state=status.brief
        )
        status.provide("mqtt", lambda: publisher.state().to_dict() if publisher else {})
        events.append(publisher)


def _open_page(
    args: argparse.Namespace, predictor: Predictor, spec: ModelSpec, status: LiveStatus, out: Output
) -> LivePage:
    from imago.cli.main import VERSION
    from imago.edge_runtime.web.page import Address, LivePage

    page = LivePage(
        Address.parse(args.web),
        spec=spec,
        status=status,
        predict=predictor.predict,
        records=args.records,
        version=VERSION,
    )
    for url in page.urls():
        out.say(tr("live page: {url}", url=url))
    return page
