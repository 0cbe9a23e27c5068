"""The loop: order, dropping, every stop condition, and that frames are always given back."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.cameras.synthetic import SyntheticSource
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.fake import FakeEngine
from imago.edge_runtime.errors import CameraError, InputError, StorageError
from imago.edge_runtime.loop import Loop, LoopOptions, Slot
from imago.edge_runtime.sinks import ConsoleSink, JsonLinesSink, Seen
from imago.edge_runtime.types import Frame, Prediction

import onnx_models

SPEC = onnx_models.spec_of()


class Numbered:
    """A source of ``count`` small frames that counts what is given back; may fail or fall silent last."""

    description = "numbered"

    def __init__(
        self, count: int, *, live: bool, error: Exception | None = None, silent: bool = False
    ) -> None:
        self.live, self._count, self._error, self._silent = live, count, error, silent
        self.released: list[int] = []
        self.produced, self.closed = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            image = np.full((32, 32), index % 256, np.uint8)
            yield Frame(
                image, "gray", time.monotonic_ns(), index, on_release=lambda i=index: self.released.append(i)
            )
        self.produced.set()
        if self._error:
            raise self._error
        if self._silent:
            self.closed.wait()

    def close(self) -> None:
        self.closed.set()


class Waiting:
    """A predictor that is slow once: its first answer waits until all frames were produced."""

    def __init__(self, until: threading.Event) -> None:
        self._until = until
        self.seen: list[int] = []

    def predict(self, frame: Frame) -> Prediction:
        self._until.wait(20)
        self.seen.append(frame.index)
        return Prediction(np.array([1, 0, 0], np.float32), SPEC.labels)


class Collect:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.closed = 0

    def write(self, seen: Seen) -> None:
        self.seen.append(seen)

    def close(self) -> None:
        self.closed += 1


def fake() -> Classifier:
    return Classifier.from_engine(FakeEngine(SPEC.input, 3), SPEC)


def test_a_live_source_loses_old_frames_and_keeps_the_newest() -> None:
    source = Numbered(50, live=True)
    model = Waiting(source.produced)
    stats = Loop(model, source).run()
    assert model.seen[-1] == 49
    assert len(model.seen) <= 3
    assert stats.captured == 50
    assert stats.processed == len(model.seen)
    assert stats.dropped == 50 - stats.processed
    assert sorted(source.released) == list(range(50))
    assert stats.stopped_by == "end"


def test_a_file_loses_nothing_and_keeps_the_order() -> None:
    source, sink = Numbered(50, live=False), Collect()
    stats = Loop(fake(), source, [sink]).run()
    assert [seen.index for seen in sink.seen] == list(range(50))
    assert (stats.captured, stats.processed, stats.dropped) == (50, 50, 0)
    assert sorted(source.released) == list(range(50))
    assert sink.closed == 1
    assert source.closed.is_set()
    assert stats.latency is not None
    assert stats.latency.n == 50
    assert json.loads(json.dumps(stats.to_dict()))["latency"]["p99_us"] >= stats.latency.p50_us


def test_max_frames() -> None:
    source = Numbered(10**9, live=False)
    stats = Loop(fake(), source, [], LoopOptions(max_frames=7)).run()
    assert (stats.processed, stats.captured, stats.dropped, stats.stopped_by) == (7, 7, 0, "frames")
    assert not [thread for thread in threading.enumerate() if thread.name == "imago-capture"]


def test_max_seconds_with_a_source_that_says_nothing() -> None:
    source = Numbered(0, live=False, silent=True)
    stats = Loop(fake(), source, [], LoopOptions(max_seconds=0.05)).run()
    assert stats.stopped_by == "seconds"
    assert stats.processed == 0
    assert stats.latency is None
    assert source.closed.is_set()


def test_stop_from_another_thread() -> None:
    source = Numbered(3, live=True, silent=True)
    loop = Loop(fake(), source)
    threading.Timer(0.05, loop.stop, ["enough"]).start()
    assert loop.run().stopped_by == "enough"


def test_a_live_source_that_falls_silent_is_reported() -> None:
    source = Numbered(2, live=True, silent=True)
    with pytest.raises(CameraError, match="no picture for"):
        Loop(fake(), source, [], LoopOptions(stall_seconds=0.05)).run()
    assert source.closed.is_set()


def test_a_capture_error_comes_after_the_frames_before_it() -> None:
    sink = Collect()
    source = Numbered(3, live=False, error=CameraError("unplugged"))
    with pytest.raises(CameraError, match="unplugged"):
        Loop(fake(), source, [sink]).run()
    assert len(sink.seen) == 3
    assert sink.closed == 1


def test_a_failing_model_closes_everything() -> None:
    class Broken:
        def predict(self, frame: Frame) -> Prediction:
            raise ValueError("broken")

    source, sink = Numbered(10, live=False), Collect()
    with pytest.raises(ValueError, match="broken"):
        Loop(Broken(), source, [sink]).run()
    assert source.closed.is_set()
    assert sink.closed == 1
    assert 0 in source.released


def test_impossible_limits() -> None:
    for options in ({"max_frames": 0}, {"max_seconds": -1.0}, {"max_seconds": float("nan")}):
        with pytest.raises(InputError):
            LoopOptions(**options)


def test_slot_releases_what_nobody_took() -> None:
    released: list[int] = []
    slot = Slot(newest_only=True)
    for index in range(3):
        frame = Frame(np.zeros((1, 1), np.uint8), "gray", on_release=lambda i=index: released.append(i))
        assert slot.put(frame)
    slot.close()
    assert released == [0, 1, 2]
    assert not slot.put(Frame(np.zeros((1, 1), np.uint8), "gray", on_release=lambda: released.append(9)))
    assert released == [0, 1, 2, 9]


def test_jsonl_has_one_object_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "new" / "seen.jsonl"
    Loop(fake(), SyntheticSource((64, 48)), [JsonLinesSink(path)], LoopOptions(max_frames=5)).run()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [record["frame"] for record in records] == list(range(5))
    assert {record["label"] for record in records} <= set(SPEC.labels)
    assert all(0 < record["confidence"] <= 1 for record in records)


def test_jsonl_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        JsonLinesSink(tmp_path / "file" / "x.jsonl")
    if Path("/dev/full").exists():
        source = Numbered(10, live=False)
        with pytest.raises(StorageError, match="/dev/full"):
            Loop(fake(), source, [JsonLinesSink("/dev/full")]).run()
        assert source.closed.is_set()


def answer(index: int, label: int, name: str = "") -> Seen:
    row = np.full(3, 0.1, np.float32)
    row[label] = 0.8
    return Seen(index, name, index / 10, Prediction(row, SPEC.labels), 1500.0, 2000.0)


def test_console_prints_a_line_for_every_change() -> None:
    stream = io.StringIO()
    sink = ConsoleSink(SPEC, stream)
    for index, label in enumerate((0, 0, 1, 1, 1, 2)):
        sink.write(answer(index, label))
    sink.close()
    lines = stream.getvalue().splitlines()
    assert [line.split()[2] for line in lines] == ["ant", "bee", "wasp"]
    assert "10.0" in lines[1]
    assert "80.0 %" in lines[1]


def test_console_on_a_terminal_is_one_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    sink = ConsoleSink(SPEC, stream)
    for index in range(5):
        sink.write(answer(index, index % 3))
    sink.close()
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") >= 2


def test_console_shows_no_control_characters_of_file_names() -> None:
    stream = io.StringIO()
    ConsoleSink(SPEC, stream).write(answer(0, 0, name="a\x1b[31m\udce9.png"))
    assert "\x1b" not in stream.getvalue()
    stream.getvalue().encode("utf-8")
