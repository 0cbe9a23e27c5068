"""Whatever is in a file or on a command line: an answer, or one clear error (benchmarks/fuzz.py goes on)."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.cli.events_cmd import moment
from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY, spec_from_metadata
from imago.edge_runtime.engines.tflite_file import CRC_KEY, checksum, examine, network_of
from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.mqtt.options import parse_mqtt
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.query import EventQuery, mark, read_events
from imago.edge_runtime.records.schema import open_for_reading
from imago.edge_runtime.records.store import Store
from imago.edge_runtime.roi import Roi
from imago.edge_runtime.web.page import Address

from events_support import visit
from onnx_models import spec_of

MANY = int(os.environ.get("IMAGO_FUZZ", "1"))  # times as many examples
NETWORK = b"\x1c\0\0\0TFL3" + bytes(range(64))


def archived() -> bytes:
    """A network with imago's archive behind it."""
    out = io.BytesIO(NETWORK)
    out.seek(0, io.SEEK_END)
    texts = {CONTRACT_KEY: spec_of().to_json(), SCHEMA_KEY: "1", CRC_KEY: checksum(NETWORK)}
    with zipfile.ZipFile(out, "a") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return out.getvalue()


WHOLE = archived()
CHANGES = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8)


@settings(deadline=None, max_examples=200 * MANY)
@given(CHANGES, st.integers(0, len(WHOLE)), st.binary(max_size=8))
def test_tflite_archive(changes: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    changed = bytes(data if cut % 3 else data[:cut]) + tail
    with contextlib.suppress(ImagoError):
        spec_from_metadata(examine(changed, trusted=True))
    with contextlib.suppress(ImagoError):
        assert changed.startswith(network_of(changed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("records")
    store = Store(place, RecordOptions(reserve_mb=0))
    for number in range(5):
        store.add(visit(number, crop=False))
    store.close()
    return place


TIMES = st.none() | st.floats() | st.integers(-(10**13), 10**13).map(float)


@settings(deadline=None, max_examples=200 * MANY)
@given(TIMES, TIMES, st.lists(st.text(max_size=9), max_size=3), st.none() | st.text(max_size=22), st.floats())
def test_event_queries(
    folder: Path, since: float | None, until: float | None, labels: list[str], before: str | None, sure: float
) -> None:
    with contextlib.suppress(InputError):
        query = EventQuery(
            since=since, until=until, labels=tuple(labels), before=before, min_confidence=sure, limit=3
        )
        with closing(open_for_reading(folder)) as database:
            assert len(list(read_events(database, folder, query))) <= 3
    with contextlib.suppress(InputError):
        mark(folder, before or "", wrong=True, correction="".join(labels))


@settings(deadline=None, max_examples=200 * MANY)
@given(
    st.sampled_from(["", "mqtt://", "2026-05-", "[::", "0.5,", "localhost:"]),
    st.text(max_size=20) | st.text("0123456789.,:-+TZwhd", max_size=20),
)
def test_words_on_the_command_line(start: str, rest: str) -> None:
    readers: list[Callable[[str], object]] = [
        lambda text: parse_mqtt(text, environment={}),
        Address.parse,
        Roi.parse,
        moment,
    ]
    for reader in readers:
        with contextlib.suppress(InputError):
            reader(start + rest)
