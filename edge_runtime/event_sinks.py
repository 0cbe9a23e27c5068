"""Simple places for events: a file of JSON lines, the console."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TextIO

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.events import Event
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.sinks import printable
from imago.edge_runtime.spec import ModelSpec


class EventLinesSink:
    """Appends one JSON object per event to a file, which is kept from run to run.

    Each line is written at once and on disk before ``event`` returns. A line that a power cut or a full disk
    broke off is ended before the next one is written, so that it stays the only one that cannot be read.
    Raises StorageError where the file cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
            self._file = os.open(self._path, flags, 0o644)
            self._broken = _ends_within_a_line(self._path)
        except OSError as error:
            raise self._failed(error) from error

    def event(self, event: Event) -> None:
        """See ``EventSink.event``."""
        if self._file < 0:
            return
        line = json.dumps(event.to_dict(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._write(b"\n" + line if self._broken else line)
            os.fsync(self._file)
        except OSError as error:
            if not _cannot_sync(error):
                raise self._failed(error) from error

    def _write(self, data: bytes) -> None:
        while data:
            written = os.write(self._file, data)
            self._broken = written < len(data)
            data = data[written:]

    def close(self) -> None:
        """See ``EventSink.close``."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            "cannot write {path}: {reason}; free some space or choose another place",
            path=self._path,
            reason=error.strerror or error,
        )


def _ends_within_a_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _cannot_sync(error: OSError) -> bool:
    """Pipes and terminals are written to, not synchronised."""
    import errno

    return error.errno in (errno.EINVAL, errno.ENOTSUP)


class EventConsole:
    """One line for every event."""

    def __init__(self, spec: ModelSpec, stream: TextIO) -> None:
        self._stream = stream
        self._names = [printable(spec.display(index, language())) for index in range(len(spec.labels))]

    def event(self, event: Event) -> None:
        """See ``EventSink.event``."""
        label = self._names[event.top[0].index]
        told = tr("unknown (perhaps {label})", label=label) if event.unknown else label
        line = tr(
            "visit: {label}, {percent:.0f} %, {seconds:.1f} s",
            label=told,
            percent=100 * event.confidence,
            seconds=event.duration_s,
        )
        wipe = "\r\x1b[K" if self._stream.isatty() else ""
        self._stream.write(f"{wipe}{line}\n")
        self._stream.flush()

    def close(self) -> None:
        """See ``EventSink.close``."""
