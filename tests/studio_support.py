"""A real studio in a process of its own, and small data sets to give it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from support import ROOT

CLASSES = ("bee", "beetle", "ladybird")


class Studio:
    """``with Studio(folder) as studio``: ``imago studio`` on a free port; ended by Ctrl-C."""

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        self.folder, self._options = folder, options
        self._env = {"PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "OMP_NUM_THREADS": "1", **env}
        self.said: list[str] = []

    def __enter__(self) -> Studio:
        words = ["studio", "--no-browser", "--port", "0", "--folder", str(self.folder), *self._options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "imago.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=self.folder.parent,
            env={**os.environ, **self._env},
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            found = re.search(r"open at (http://\S+?:(\d+)/\S*)", line)
            if found:
                self.address, self.port = found[1], int(found[2])
                self.url = f"http://localhost:{self.port}"
                return self
        raise AssertionError("".join(self.said))

    def end(self, number: int = signal.SIGINT) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.said += self.process.stdout.readlines()
        return code

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end()
        if self.process.stdout is not None:
            self.process.stdout.close()
        assert "Traceback" not in "".join(self.said), "".join(self.said)

    def send(self, path: str, body: bytes = b"", method: str = "POST", **headers: str) -> tuple[int, Any]:
        """One request, as the page's script sends it; status and JSON (or bytes)."""
        status, _, body = self.ask(path, body, method, **headers)
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body

    def ask(
        self, path: str, body: bytes = b"", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, {"Host": f"localhost:{self.port}", **named})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except (BrokenPipeError, ConnectionResetError):  # refused before all was sent
            return 0, {}, b""
        finally:
            connection.close()

    def send_zip(self, name: str, body: bytes) -> tuple[int, Any]:
        """A zip, as if it had been dropped."""
        return self.send(f"/api/upload/zip?name={quote(name)}", body)

    def choices(self) -> dict[str, Any]:
        """What the studio has kept."""
        try:
            return dict(json.loads((self.folder / "studio.json").read_text(encoding="utf-8")))
        except OSError:
            return {}


def tiny_set(folder: Path, per_class: int = 12, size: int = 32) -> Path:
    """Three classes of drawn insects in plain class folders."""
    import numpy as np
    from PIL import Image

    from imago.train.generate.photo import draw_photo

    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            image = draw_photo(name, np.random.default_rng([number, index]), size)
            Image.fromarray(image).save(folder / name / f"{index:02}.png")
    return folder


def zipped(folder: Path, target: Path) -> Path:
    """The folder as a zip with itself as the top folder."""
    with zipfile.ZipFile(target, "w") as out:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                out.write(path, f"{folder.name}/{path.relative_to(folder)}")
    return target


def until(condition: Callable[[], Any], seconds: float = 120, every: float = 0.1) -> Any:
    """Wait for ``condition``; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)
