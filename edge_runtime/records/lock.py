"""One writer per records folder: the lock goes with the process, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from imago.edge_runtime.errors import StorageError


class FolderLock:
    """Held from construction to ``release``. Raises StorageError where another process holds it."""

    def __init__(self, folder: Path) -> None:
        try:
            self._handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                "cannot write {path}: {reason}; free some space or choose another place",
                path=folder,
                reason=error.strerror or error,
            ) from error
        try:
            _lock(self._handle)
        except OSError as error:
            os.close(self._handle)
            raise StorageError(
                "another imago run is writing records to {path}; end it, or choose another folder",
                path=folder,
            ) from error

    def release(self) -> None:
        """Let others write; harmless when called twice."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


if sys.platform == "win32":

    def _lock(handle: int) -> None:
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:

    def _lock(handle: int) -> None:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
