"""What ``benchmarks/fuzz.py`` throws bytes at: everything that reads what strangers made.

A target takes bytes and returns; ImagoError is the answer to nonsense, any other exception is a finding. So
is a process that dies, and one that takes seconds over a small input.
"""

from __future__ import annotations

import io
import json
import socket
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Target:
    """run: one execution. seeds: well-formed inputs to start from."""

    run: Callable[[bytes], object]
    seeds: list[bytes]


def contract_text() -> Target:
    """The contract of a model file, as text."""
    from imago.edge_runtime.spec import InputSpec, ModelSpec

    plain = ModelSpec(labels=("bee", "fly"), input=InputSpec(32, 32), name="a")
    rich = ModelSpec(
        labels=("bee", "fly"), input=InputSpec(8, 8, 1, "gray"), display_names={"zh": ("蜜蜂", "苍蝇")}
    )
    return Target(
        lambda data: ModelSpec.from_json(data.decode("utf-8", "replace")),
        [spec.to_json().encode() for spec in (plain, rich)],
    )


def onnx_model() -> Target:
    """A .onnx file with a contract: opened, held against its contract, and run once."""
    from imago.edge_runtime.classifier import Classifier

    place = Path(tempfile.mkdtemp()) / "m.onnx"

    def run(data: bytes) -> None:
        place.write_bytes(data)
        with Classifier(place) as classifier:
            size = classifier.spec.input
            if size.width * size.height <= 256 * 256:
                classifier.engine.run(np.zeros(size.shape, np.uint8))

    return Target(run, [tiny_onnx()])


def tflite_archive() -> Target:
    """The archive behind a .tflite: its entries, the contract, the network's checksum."""
    import zipfile

    from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY, spec_from_metadata
    from imago.edge_runtime.engines.tflite_file import CRC_KEY, checksum, examine, network_of
    from imago.edge_runtime.spec import InputSpec, ModelSpec

    network = b"\x1c\0\0\0TFL3" + bytes(range(64))
    spec = ModelSpec(labels=("bee", "fly"), input=InputSpec(8, 8), name="a")
    seeds = [network]
    for texts in ({CONTRACT_KEY: spec.to_json(), SCHEMA_KEY: "1", CRC_KEY: checksum(network)}, {"x": "y"}):
        out = io.BytesIO(network)
        out.seek(0, io.SEEK_END)
        with zipfile.ZipFile(out, "a") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
        seeds.append(out.getvalue())

    def run(data: bytes) -> None:
        spec_from_metadata(examine(data, trusted=True))
        network_of(data)

    return Target(run, seeds)


def picture() -> Target:
    """A picture file of any kind, also at reduced scale, within the page's bounds."""
    from PIL import Image

    from imago.edge_runtime.imageio import read_image
    from imago.edge_runtime.spec import InputSpec

    seeds = []
    image = Image.fromarray((np.arange(48 * 64 * 3) % 251).astype(np.uint8).reshape(48, 64, 3))
    kinds = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "MPO")
    for kind, mode in [*((k, "RGB") for k in kinds), ("PNG", "RGBA"), ("PNG", "P"), ("TIFF", "I;16")]:
        out = io.BytesIO()
        (Image.fromarray(np.zeros((8, 8), np.uint16)) if mode == "I;16" else image.convert(mode)).save(
            out, kind
        )
        seeds.append(out.getvalue())
    target = InputSpec(16, 16)
    return Target(lambda data: read_image(data, target, max_pixels=1_000_000), seeds)


def event_query() -> Target:
    """Filters of ``imago events`` against a real database: times, labels, confidences, identifiers."""
    from imago.cli.events_cmd import moment
    from imago.edge_runtime.records.query import EventQuery, mark, read_events
    from imago.edge_runtime.records.schema import open_for_reading

    folder = some_records()

    def run(data: bytes) -> None:
        parts = data.decode("utf-8", "replace").split("\n")
        since, until, label, before, number, *rest = [*parts, "", "", "", "", ""]
        with suppress(ValueError, OverflowError):
            query = EventQuery(
                since=moment(since) if since else None,
                until=moment(until, end=True) if until else None,
                labels=(label,) if label else (),
                before=before or None,
                min_confidence=float(number) if number else 0.0,
                limit=len(rest) or None,
            )
            with closing(open_for_reading(folder)) as database:
                list(read_events(database, folder, query))
        if rest and rest[0]:
            mark(folder, rest[0], wrong=True, correction=label or None)

    return Target(
        run, [b"2026-05-01\n24h\nbee\n\n0.5", b"\n\n\n0123456789abcdef0123\n1\n0123456789abcdef0123"]
    )


def addresses() -> Target:
    """What stands on the command line: broker, page address, region of interest."""
    from imago.edge_runtime.mqtt.options import parse_mqtt
    from imago.edge_runtime.roi import Roi
    from imago.edge_runtime.web.page import Address

    kinds: list[Callable[[str], object]] = [lambda t: parse_mqtt(t, environment={}), Address.parse, Roi.parse]

    def run(data: bytes) -> None:
        if data:
            kinds[data[0] % 3](data[1:].decode("utf-8", "replace"))

    seeds = [
        b"\0mqtt://host:1883/a/b",
        b"\1[::1]:8080",
        b"\0020.25,0.25,0.5,0.5",
        b"\0mqtts://h",
        b"\x020,0,9,9",
    ]
    return Target(run, seeds)


def http() -> Target:
    """Bytes on a connection of the live page: anything but a sensible answer is a finding."""
    from imago.edge_runtime.spec import InputSpec
    from imago.edge_runtime.status import LiveStatus
    from imago.edge_runtime.types import Prediction
    from imago.edge_runtime.web import routes
    from imago.edge_runtime.web.guard import Guard
    from imago.edge_runtime.web.history import RecordHistory
    from imago.edge_runtime.web.hub import FrameHub

    routes.WAIT_S = 0.001  # nobody shows a picture here
    answer = Prediction(np.array([0.7, 0.3], np.float32), ("bee", "fly"))
    handlers = []
    for token in (None, "0123456789abcdef"):
        site = routes.Site(
            guard=Guard(token, []),
            status=LiveStatus(model="m", source="s"),
            hub=FrameHub(),
            history=RecordHistory(some_records()),
            predict=lambda _frame: answer,
            target=InputSpec(8, 8),
            info={"model": "m"},
        )
        handlers.append(type("Bound", (routes.PageHandler,), {"site": site}))

    def run(data: bytes) -> None:
        if len(data) < 2:
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**21)
            with suppress(BlockingIOError):
                ours.setblocking(False)
                ours.send(data[1:])
            ours.setblocking(True)
            ours.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError, TimeoutError):
                handlers[data[0] % 2](theirs, ("127.0.0.1", 1), None)  # type: ignore[arg-type]
            with suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            said = ours.makefile("rb").read(64)
        if said and (not said.startswith(b"HTTP/1.1 ") or said[9:12] in (b"500", b"502")):
            raise AssertionError(f"answered {said!r}")

    seeds = [b"\0GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in PATHS]
    login = b'{"token": "0123456789abcdef"}'
    for path, kind, body in (
        (b"/api/login", b"application/json", login),
        (b"/api/predict", b"image/png", picture().seeds[1]),
        (b"/api/events/0123456789abcdef0123/mark", b"application/json", b'{"wrong": true, "label": "fly"}'),
    ):
        head = b"\1POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1:80\r\nOrigin: http://127.0.0.1:80\r\n"
        head += b"Authorization: Bearer 0123456789abcdef\r\nContent-Type: " + kind
        seeds.append(head + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
    return Target(run, seeds)


PATHS = (
    b"/",
    b"/healthz",
    b"/metrics",
    b"/api/status",
    b"/api/info",
    b"/api/frame?after=3",
    b"/stream.mjpg",
    b"/api/events?limit=3&before=0123456789abcdef0123&label=bee&unknown=1",
    b"/api/events/0123456789abcdef0123/crop",
)
TARGETS: dict[str, Callable[[], Target]] = {
    "contract text": contract_text,
    "ONNX model file": onnx_model,
    "TFLite archive": tflite_archive,
    "picture": picture,
    "event query": event_query,
    "HTTP request": http,
    "addresses": addresses,
}


def some_records() -> Path:
    """A records folder with three events."""
    from imago.edge_runtime.events import Event
    from imago.edge_runtime.records.options import RecordOptions
    from imago.edge_runtime.records.store import Store
    from imago.edge_runtime.types import Frame, Score

    folder = Path(tempfile.mkdtemp())
    store = Store(folder, RecordOptions(reserve_mb=0))
    crop = Frame(np.zeros((8, 8), np.uint8), "gray")
    for name in ("0123456789abcdef0123", "0123456789abcdef0124", "ffffffffffffffffffff"):
        top = (Score("bee", 0, 0.9), Score("fly", 1, 0.1))
        store.add(Event(name, "s", "m", 1.0, 2.0, 1.0, 9, top, crop=crop))
    store.close()
    return folder


def tiny_onnx() -> bytes:
    """A model of one pooling layer, with contract and self-test."""
    import onnx
    from onnx import TensorProto, helper

    from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY
    from imago.edge_runtime.spec import SCHEMA, InputSpec, ModelSpec

    nodes: list[Any] = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["float"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["probabilities"], axis=1),
    ]
    ends = (
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(
        helper.make_graph(nodes, "g", *ends), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    spec = ModelSpec(labels=("a", "b", "c"), input=InputSpec(8, 8), name="tiny")
    for key, text in ((CONTRACT_KEY, spec.to_json()), (SCHEMA_KEY, str(SCHEMA))):
        onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, key: text})
    assert json.loads(spec.to_json())
    return bytes(model.SerializeToString())
