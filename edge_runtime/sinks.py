"""Where predictions go: the console, a file of JSON lines."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import Prediction, Subject

REDRAW_S = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """One processed frame, without its pixels (they may already be the camera's again).

    index, name: the frame's. time_s: since the loop began. latency_us: preprocessing and engine.
    age_us: from the moment the picture was taken until the answer was there. idle: nothing moved, the model
    was not asked, and prediction is the one that knows nothing (all classes alike). subjects: what is there,
    by the decisions.
    """

    index: int
    name: str
    time_s: float
    prediction: Prediction
    latency_us: float
    age_us: float
    idle: bool = False
    subjects: tuple[Subject, ...] = ()


def printable(text: str) -> str:
    """``text`` without what a terminal would obey or cannot show (file names may hold anything)."""
    return "".join(character if character.isprintable() else "?" for character in text)


class Sink(Protocol):
    """Takes every prediction; must be quick, since the loop waits for it."""

    def write(self, seen: Seen) -> None:
        """Take one prediction. Raises StorageError where it cannot be kept."""
        ...

    def close(self) -> None:
        """Finish; harmless when called twice."""
        ...


class ConsoleSink:
    """On a terminal one line that changes; elsewhere one line for every change of the likeliest class."""

    def __init__(self, spec: ModelSpec, stream: TextIO) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._names = [printable(spec.display(index, language())) for index in range(len(spec.labels))]
        self._label, self._drawn, self._period, self._last = -2, -math.inf, 0.0, -math.inf

    def write(self, seen: Seen) -> None:
        """See ``Sink.write``."""
        if self._last > -math.inf and seen.time_s > self._last:
            now = seen.time_s - self._last
            self._period = 0.9 * self._period + 0.1 * now if self._period else now
        self._last = seen.time_s
        index = -1 if seen.idle else seen.prediction.index
        if seen.name:  # a picture of a folder: each has its line
            self._put(f"{self._line(seen, index)}  {printable(Path(seen.name).name)}\n")
        elif self._terminal:
            if seen.time_s - self._drawn >= REDRAW_S:
                self._drawn = seen.time_s
                self._put(f"\r\x1b[K{self._line(seen, index)}")
        elif index != self._label:
            self._put(self._line(seen, index) + "\n")
        self._label = index

    def _line(self, seen: Seen, index: int) -> str:
        if index < 0:
            return tr(
                "{time:8.2f} s  nothing moves  ({rate:.1f} frames/s)",
                time=seen.time_s,
                rate=1 / self._period if self._period else 0.0,
            )
        return tr(
            "{time:8.2f} s  {label}  {percent:.1f} %  ({rate:.1f} frames/s, {latency:.2f} ms)",
            time=seen.time_s,
            label=self._names[index],
            percent=100 * float(seen.prediction.probabilities[index]),
            rate=1 / self._period if self._period else 0.0,
            latency=seen.latency_us / 1e3,
        )

    def _put(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def close(self) -> None:
        """See ``Sink.close``."""
        if self._terminal and self._drawn >= 0:
            self._put("\n")
            self._drawn = -math.inf


class JsonLinesSink:
    """One JSON object for every frame that the model was asked about, appended to a new file as it goes.

    Each line is whole on disk or absent.

    Raises StorageError where the file cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO | None = self._path.open(
                "w", encoding="utf-8", errors="backslashreplace", buffering=1
            )
        except OSError as error:
            raise self._failed(error) from error

    def write(self, seen: Seen) -> None:
        """See ``Sink.write``."""
        if self._file is None or seen.idle:
            return
        prediction = seen.prediction
        record = {
            "frame": seen.index,
            "name": seen.name,
            "time_s": round(seen.time_s, 4),
            "label": prediction.label,
            "index": prediction.index,
            "confidence": round(prediction.confidence, 6),
            "latency_us": round(seen.latency_us, 1),
            "age_us": round(seen.age_us, 1),
        }
        try:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """See ``Sink.close``."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                raise self._failed(error) from error

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            "cannot write {path}: {reason}; free some space or choose another place",
            path=self._path,
            reason=error.strerror or error,
        )
