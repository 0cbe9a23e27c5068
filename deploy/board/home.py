"""What the board sends home: its records, and its figures."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from typing import Any, BinaryIO

from imago.deploy.board import runner
from imago.deploy.board.envs import python_of
from imago.deploy.board.layout import Root, check_space
from imago.deploy.board.say import say, step
from imago.deploy.board.service import Service
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.records.schema import FILE

CROP = re.compile(r"crops/\d{4}-\d\d-\d\d/[0-9a-f]{20}\.jpg")
SNAPSHOT = "records.sqlite"  # in run/
BATCH = 200  # files at a time, all of them open, so that the quota cannot take one away halfway


def snapshot(root: Root) -> list[list[Any]]:
    """``[name, bytes]`` of the database (a copy made by SQLite itself, while the program writes on) and of
    every crop. Raises DeployError where there are no records."""
    folder = root / "state" / runner.RECORDS
    if not (folder / FILE).is_file():
        raise DeployError("this board keeps no records; deploy a bundle made with --records")
    check_space(root.path, (folder / FILE).stat().st_size)
    copy = root / "run" / SNAPSHOT
    copy.unlink(missing_ok=True)
    uri = f"{(folder / FILE).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    found: list[list[Any]] = [[FILE, copy.stat().st_size]]
    for path in sorted(folder.glob("crops/*/*.jpg")):
        name = path.relative_to(folder).as_posix()
        if CROP.fullmatch(name):
            found.append([name, path.stat().st_size])
    return found


def send(root: Root, names: Any) -> None:
    """Write the files one behind the other, after a line with their sizes; -1: it is gone (the quota)."""
    known = isinstance(names, list) and all(
        isinstance(n, str) and (n == FILE or CROP.fullmatch(n)) for n in names
    )
    if not known or len(names) > BATCH:
        raise InputError("the plan cannot be read ({reason})", reason="names")
    with ExitStack() as stack:
        opened: list[BinaryIO | None] = []
        for name in names:
            path = root / "run" / SNAPSHOT if name == FILE else root / "state" / runner.RECORDS / name
            try:
                opened.append(stack.enter_context(path.open("rb")))
            except FileNotFoundError:
                opened.append(None)
        say("raw", sizes=[-1 if file is None else os.fstat(file.fileno()).st_size for file in opened])
        for file in opened:
            if file is not None:
                shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def measure(root: Root, service: Service) -> dict[str, Any]:
    """``imago bench`` of the current release, in its own environment. Raises DeployError."""
    name = root.current
    if name is None:
        raise DeployError("nothing is deployed on this board yet")
    folder = root.release(name).resolve()
    words = [
        str(python_of(folder / "env")),
        "-I",
        "-m",
        "imago.cli.main",
        "bench",
        str(folder),
        "--json",
        "-",
    ]
    step("bench", tr("measuring on the board; the service pauses meanwhile"))
    service.pause()
    try:
        done = subprocess.run(  # noqa: S603  argument list, no shell
            words, capture_output=True, text=True, errors="replace", check=False, cwd=root / "run",
            stdin=subprocess.DEVNULL, env={**os.environ, **runner.environment()}, timeout=1800,
        )  # fmt: skip
    finally:
        service.restart()
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
        raise DeployError("the bench on the board failed: {reason}", reason=reason[:300]) from None
    return report
