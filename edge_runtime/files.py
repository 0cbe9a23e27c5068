"""Writing files so that a kill at any moment leaves either the old file or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import StorageError


@contextmanager
def replacing(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success it takes ``target``'s place in one rename.

    The temporary name keeps the suffix, since image libraries choose the format by it. Whatever
    was written is removed when the block fails. OSError becomes one clear StorageError.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.stem}.{os.urandom(4).hex()}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except OSError as error:
        raise StorageError(
            "cannot write {path}: {reason}; free some space or choose another place",
            path=target,
            reason=error.strerror or error,
        ) from error
    finally:
        if temporary.is_dir():
            import shutil  # with its packers half a megabyte, which imago run does not need

            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(target: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path | str, data: Any) -> None:
    """Write pretty JSON atomically (keys in the order given; non-ASCII kept readable)."""
    write_text(target, json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def _sync(path: Path) -> None:
    """Force file contents to disk before the rename; a power cut must not leave an empty new file."""
    if not path.is_file():
        return
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
