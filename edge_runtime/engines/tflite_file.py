"""A .tflite file from outside: the contract appended to it, and whether it is safe to open.

Layout: the network (a flatbuffer, identifier ``TFL3`` at byte 4), then a zip archive with stored entries, the
way TFLite's own metadata tools append files. imago's entries carry the names that ONNX models have in their
metadata: ``imago.contract``, ``imago.schema``; and ``imago.crc32``, of all bytes before the archive.

``python -m imago.edge_runtime.engines.tflite_file FILE`` opens a file and runs it once, for its exit code.
"""

from __future__ import annotations

import io
import mmap
import re
import sys
import zlib
from functools import lru_cache
from pathlib import Path

from imago.edge_runtime.engines.base import check_file
from imago.edge_runtime.errors import ImagoError, ModelError
from imago.edge_runtime.messages import tr

IDENTIFIER = b"TFL3"
PREFIX = "imago."
CRC_KEY = "imago.crc32"
MAX_ENTRY = 64_000_000  # bytes of one entry; the contract's own bound is lower
MAX_ENTRIES = 16
TRY_SECONDS = 120.0  # an emulated Pi Zero takes a few
LOCAL_HEADER = re.compile(rb"PK\x03\x04.{26}imago\.", re.DOTALL)


def is_tflite(head: bytes) -> bool:
    """Whether a file that begins with these (at least 8) bytes is a TFLite model."""
    return head[4:8] == IDENTIFIER


def examine(model: Path | str | bytes, *, trusted: bool = False) -> dict[str, str]:
    """imago's entries in the appended archive (none for a foreign model), once the file has proved usable.

    A file with imago's checksum is held against it. Any other is opened in a process of its own first,
    unless ``trusted``. Raises ModelError for what is no .tflite, is damaged, or takes the interpreter down.
    """
    shown = tr("model") if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes):
        check_file(Path(model))
    head = model[:8] if isinstance(model, bytes) else _head(Path(model))
    if not is_tflite(head):
        raise _damaged(shown, tr("it does not begin as one"))
    found, start = _entries(model)
    if CRC_KEY in found:
        if found[CRC_KEY] != checksum(_bytes(model, start)):
            raise _damaged(shown, tr("its checksum does not fit"))
    elif not trusted and not isinstance(model, bytes):
        path = Path(model).resolve()
        facts = path.stat()
        reason = _tried(str(path), facts.st_size, facts.st_mtime_ns)
        if reason:
            raise _damaged(shown, reason)
    return found


def network_of(model: Path | str | bytes) -> bytes:
    """The network alone, without the archive behind it."""
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    found, start = _entries(data)
    return data[:start] if found else data


def checksum(network: bytes) -> str:
    """CRC-32 in hexadecimal: against a damaged copy, not against forgery."""
    return f"{zlib.crc32(network):08x}"


def _entries(model: Path | str | bytes) -> tuple[dict[str, str], int]:
    """imago's entries, and where the archive begins (the file's length where there is none)."""
    source = io.BytesIO(model) if isinstance(model, bytes) else Path(model)
    shown = tr("model") if isinstance(model, bytes) else str(model)
    import zipfile  # 2 MB of compression libraries that an .onnx does not need

    try:
        with zipfile.ZipFile(source) as archive:
            mine = [i for i in archive.infolist() if i.filename.startswith(PREFIX)]
            if not mine:
                return {}, 0
            plain = all(i.compress_type == zipfile.ZIP_STORED and i.file_size <= MAX_ENTRY for i in mine)
            if not plain or len(mine) > MAX_ENTRIES:
                raise _damaged(shown, tr("its contract is packed in a way that imago does not write"))
            found = {i.filename: archive.read(i).decode("utf-8") for i in mine}
            return found, min(i.header_offset for i in archive.infolist())
    except zipfile.BadZipFile as error:
        if _had_contract(model):
            raise _damaged(shown, tr("its contract cannot be read")) from error
        return {}, 0
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise _damaged(shown, tr("its contract cannot be read")) from error


def _had_contract(model: Path | str | bytes) -> bool:
    """Whether the beginning of one of imago's entries is left in a file whose archive is broken."""
    if isinstance(model, bytes):
        return LOCAL_HEADER.search(model) is not None
    with Path(model).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return LOCAL_HEADER.search(view) is not None


def _bytes(model: Path | str | bytes, end: int) -> bytes:
    if isinstance(model, bytes):
        return model[:end]
    with Path(model).open("rb") as file:
        return file.read(end)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


@lru_cache(maxsize=32)
def _tried(path: str, size: int, changed_ns: int) -> str:
    """What a process of its own makes of the file: empty, or why it is not usable.

    size and changed_ns: so that a file that was replaced is tried again.
    """
    import subprocess  # 1 MB that imago's own files do not need

    root = str(Path(__file__).absolute().parents[3])
    code = "import sys; sys.path.append(sys.argv.pop(1)); from " + __name__ + " import main; sys.exit(main())"
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            [sys.executable, "-P", "-c", code, root, path],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return tr("the interpreter does not come back from it")
    if done.returncode == 0:
        return ""
    if done.returncode == REFUSED:
        return done.stdout.strip()
    return tr("the interpreter crashes on it")


REFUSED = 3


def main() -> int:
    """Open and run ``sys.argv[1]`` once on zeros; exit code 3, and why, where the interpreter refuses it."""
    import numpy as np

    from imago.edge_runtime.engines.litert import LiteRtEngine

    try:
        engine = LiteRtEngine(sys.argv[1], trusted=True)
        if None not in engine.input_shape:
            engine.run(np.zeros(engine.input_shape, engine.input_dtype))  # type: ignore[arg-type]
    except ImagoError as error:
        reason = error.values.get("reason")
        sys.stdout.write(str(reason if reason is not None else error) + "\n")
        return REFUSED
    return 0


def _damaged(shown: str, reason: str) -> ModelError:
    return ModelError(
        "{path} is not a usable TFLite model ({reason}); "
        "the file is damaged or cut short: copy or export it again",
        path=shown,
        reason=reason,
    )


if __name__ == "__main__":
    sys.exit(main())
