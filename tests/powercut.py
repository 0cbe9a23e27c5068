"""What a power cut may leave on a disk, worked out from the system calls that a program made.

The program runs under strace; its writes, syncs and renames are replayed into a model in which only what
was forced to disk is certain. At a chosen moment the model is laid out as real files: of what was written
since a file's last sync, each 4096-byte block is there or not by chance (disks reorder); of renames,
creations and deletions since the last sync of anything, a prefix by chance (journals keep their order).
The idea is ALICE's (Pillai et al., OSDI 2014).
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat"
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FD = re.compile(r"^(\d+)<([^>]*)>")
BLOCK = 4096


@dataclass(frozen=True)
class Call:
    """One system call on a file below the watched folder, or ``ack``: the program says that it is done."""

    name: str
    path: str
    data: bytes = b""
    offset: int = 0
    other: str = ""
    fresh: bool = False


@dataclass
class Inode:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(
        default_factory=list
    )  # (offset, data); offset -n-1: cut to n bytes


def trace(command: Sequence[str], folder: Path, acks: Path, log: Path, env: dict[str, str]) -> list[Call]:
    """Run ``command`` under strace and return what it did to files below ``folder``, and its acks."""
    tracer = ["strace", "-f", "-y", "-xx", "-s", "10000000", "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*tracer, *command], check=True, env=env, capture_output=True)
    calls: list[Call] = []
    offsets: dict[int, int] = {}
    for line in log.read_text(encoding="ascii", errors="replace").splitlines():
        match = LINE.match(line)
        if match and int(match[3]) >= 0:
            calls += _call(match[1], match[2], int(match[3]), str(folder), str(acks), offsets)
    return calls


def _text(arguments: str) -> list[str]:
    return [
        bytes.fromhex(raw.replace("\\x", "")).decode("utf-8", "replace") for raw in TEXT.findall(arguments)
    ]


def _call(
    name: str, arguments: str, result: int, folder: str, acks: str, offsets: dict[int, int]
) -> list[Call]:
    if name == "openat":
        path = _text(arguments)[-1]
        offsets[result] = 0
        changes = "O_CREAT" in arguments or "O_TRUNC" in arguments
        return (
            [Call("open", path, fresh="O_TRUNC" in arguments)] if changes and path.startswith(folder) else []
        )
    if name.startswith(("rename", "unlink")):
        paths = _text(arguments)
        kind = "rename" if name.startswith("rename") else "remove"
        return [Call(kind, paths[0], other=paths[-1])] if paths[0].startswith(folder) else []
    return _file_call(name, arguments, folder, acks, offsets)


def _file_call(name: str, arguments: str, folder: str, acks: str, offsets: dict[int, int]) -> list[Call]:
    handle = FD.match(arguments)
    if handle is None:
        return []
    number, path = int(handle[1]), _plain(handle[2])
    written = TEXT.findall(arguments)[:1] if "write" in name else []
    data = bytes.fromhex("".join(written).replace("\\x", ""))
    if path == acks:
        return [Call("ack", path, data)]
    last = arguments.rsplit(",", 1)[-1]
    change = Call("sync", path)
    if name == "write":
        change = Call("write", path, data, offsets.get(number, 0))
        offsets[number] = change.offset + len(data)
    elif name == "pwrite64":
        change = Call("write", path, data, int(last))
    elif name == "ftruncate":
        change = Call("cut", path, offset=int(last))
    return [change] if path.startswith(folder) else []


def _plain(path: str) -> str:
    if path.startswith("\\x"):
        path = bytes.fromhex(path.replace("\\x", "")).decode("utf-8", "replace")
    return path.removesuffix("(deleted)").strip()


class Disk:
    """The model. ``do`` every call in turn; ``lay_out`` what a cut now could leave."""

    def __init__(self) -> None:
        self.files: dict[str, Inode] = {}  # as programs see it
        self.certain: dict[str, Inode] = {}  # names that are on the disk for sure
        self.names: list[tuple[str, str, Inode | None]] = []  # changes of names since the last sync
        self.acked: list[str] = []

    def do(self, call: Call) -> None:
        if call.name == "ack":
            self.acked += call.data.decode().split()
        elif call.name == "open":
            if call.path not in self.files:
                self._name("set", call.path, Inode())
            elif call.fresh:
                self.files[call.path].pending.append((-1, b""))
        elif call.name == "rename":
            inode = self.files.get(call.path)
            if inode is not None:
                self._name("set", call.other, inode)
                self._name("del", call.path, None)
        elif call.name == "remove":
            self._name("del", call.path, None)
        elif call.path in self.files:
            self._change(self.files[call.path], call)

    def _name(self, what: str, path: str, inode: Inode | None) -> None:
        self.names.append((what, path, inode))
        _rename(self.files, what, path, inode)

    def _change(self, inode: Inode, call: Call) -> None:
        if call.name == "write":
            inode.pending.append((call.offset, call.data))
        elif call.name == "cut":
            inode.pending.append((-call.offset - 1, b""))
        elif call.name == "sync":
            for offset, data in inode.pending:
                _write(inode.durable, offset, data)
            inode.pending.clear()
            for change in self.names:
                _rename(self.certain, *change)
            self.names.clear()

    def lay_out(self, source: Path, target: Path, chance: random.Random) -> None:
        """Write what may be left into ``target``, whose paths are those below ``source``."""
        names = dict(self.certain)
        for change in self.names[: chance.randint(0, len(self.names))]:
            _rename(names, *change)
        for path, inode in names.items():
            if path.endswith("-shm"):  # rebuilt from the log
                continue
            content = bytearray(inode.durable)
            for offset, data in inode.pending:
                if offset < 0 or not data:
                    if chance.random() < 0.5:
                        _write(content, offset, data)
                    continue
                for start in range(0, len(data), BLOCK):
                    if chance.random() < 0.5:
                        _write(content, offset + start, data[start : start + BLOCK])
            place = target / Path(path).relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def _rename(names: dict[str, Inode], what: str, path: str, inode: Inode | None) -> None:
    if what == "set" and inode is not None:
        names[path] = inode
    else:
        names.pop(path, None)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if offset < 0:
        size = -offset - 1
        del content[size:]
        content.extend(bytes(size - len(content)))
        return
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data
