"""The world that ``benchmarks/soak.py`` runs the camera program in, every part of it real and breakable.

An HTTP camera that shows numbered visits (JPEG by JPEG, read by OpenCV as any network camera), a Mosquitto,
a small disk of its own (tmpfs), a wall clock that can be set (soak_clock.c), and the program itself, started
again when it ends, as systemd would.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT
from PIL import Image

BITS = 6  # visits are told apart by number modulo 2**BITS
CLASSES = 2**BITS
VISIT_S, PERIOD_S, GAP_S = 1.0, 2.4, 0.5
FPS = 20
SIZE, OTHER_SIZE = (160, 120), (240, 180)
DISK_MB = 160  # above the 100 MB that crops leave free


def make_model(path: Path) -> None:
    """A network of one layer that reads a visit's number off the picture; really exported, really run."""
    import torch

    from imago.edge_runtime.spec import InputSpec, ModelSpec
    from imago.export.deployable import Deployable
    from imago.export.onnx_export import export_onnx

    width, height = 32, 24
    weight = torch.zeros(CLASSES + 1, height, width)
    bias = torch.zeros(CLASSES + 1)
    for label in range(CLASSES):
        for block in range(BITS + 1):
            gain = 48.0 if block == 0 else (8.0 if label >> (block - 1) & 1 else -8.0)
            weight[label, 2:10, 4 * block + 1 : 4 * block + 3] += gain / 16
            bias[label] -= gain / 2
    bias[CLASSES] = 22.0  # "background", unless the first block says that somebody is there
    layer = torch.nn.Linear(width * height, CLASSES + 1)
    with torch.no_grad():
        layer.weight.copy_(weight.flatten(1))
        layer.bias.copy_(bias)
    spec = ModelSpec(
        labels=(*(f"visit {n}" for n in range(CLASSES)), "background"),
        input=InputSpec(width, height, 1, "gray"),
        name="soak",
    )
    pictures = np.random.default_rng(0).integers(0, 256, (4, height, width, 1), dtype=np.uint8)
    network = torch.nn.Sequential(torch.nn.Flatten(), layer)
    export_onnx(Deployable(network, 1, (0.0,), (1.0,), 1.0), spec, pictures, path)


def jpeg(number: int | None, size: tuple[int, int], beat: int) -> bytes:
    """What the camera sees: nobody, or visit ``number``; a bar that moves below."""
    image = np.full((SIZE[1], SIZE[0]), 20, np.uint8)
    if number is not None:
        bits = [1, *(number >> bit & 1 for bit in range(BITS))]
        for block, bit in enumerate(bits):
            image[:60, 20 * block : 20 * block + 20] = 235 * bit
    image[80:100, 4 * (beat % 36) : 4 * (beat % 36) + 16] = 200
    out = io.BytesIO()
    Image.fromarray(image).convert("RGB").resize(size).save(out, "JPEG", quality=85)
    return out.getvalue()


class Camera:
    """mode: ok, stall, garbage, other size. ``unplug`` and ``plug`` take it off the network and back."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.began = time.monotonic()
        self._chance = random.Random(0)
        self._server: ThreadingHTTPServer | None = None
        self._sockets: set[socket.socket] = set()
        self.port = 0
        self.plug()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    def plug(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._sockets.add(self.connection)
                with suppress(OSError):
                    camera._serve(self)
                camera._sockets.discard(self.connection)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def unplug(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.reset()

    def reset(self) -> None:
        """Break all connections off, wherever in a picture they are."""
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def visit_at(self, moment: float) -> int | None:
        """Number of the visit that is shown at ``moment`` (monotonic), if any."""
        number, phase = divmod(moment - self.began, PERIOD_S)
        return int(number) if phase < VISIT_S else None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        handler.end_headers()
        beat = 0
        while True:
            time.sleep(1 / FPS)
            beat += 1
            if self.mode == "stall":
                continue
            size = OTHER_SIZE if self.mode == "other size" else SIZE
            data = jpeg(self.visit_at(time.monotonic()), size, beat)
            if self.mode == "garbage":
                data = self._chance.randbytes(len(data))
            head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")


class Disk:
    """A file system of its own that can be filled."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(place)]
        self.own = shutil.which("mount") is not None and subprocess.run(mount, check=False).returncode == 0
        self._full = threading.Event()

    def fill(self) -> None:
        """Take every byte, and every byte that becomes free, until ``free``."""
        self._full.set()
        threading.Thread(target=self._fill, daemon=True).start()
        time.sleep(0.3)

    def _fill(self) -> None:
        path = self.place / "others.log"
        with path.open("wb", buffering=0) as file:
            while self._full.is_set():
                try:
                    file.write(bytes(2**20 if file.tell() < (DISK_MB - 4) * 2**20 else 4096))
                except OSError:
                    time.sleep(0.02)
        path.unlink()

    def free(self) -> None:
        self._full.clear()

    def close(self) -> None:
        if self.own:
            subprocess.run(["umount", "-l", str(self.place)], check=False)


@dataclass(frozen=True)
class Line:
    """Something the program said."""

    moment: float
    text: str


class Program:
    """``imago run``, started again whenever it ends."""

    def __init__(self, model: Path, camera: Camera, folder: Path, broker: int | None, work: Path) -> None:
        self.records, self._work = folder / "records", work
        self.web = _free_port()
        self.lines: list[Line] = []
        self.starts: list[tuple[float, int]] = []  # (monotonic, process id)
        self.ends: list[tuple[float, int]] = []  # (monotonic, exit code)
        self.clock = work / "clock"
        self.set_clock(0)
        self.shim = compiled(work)
        self._command = [
            *(sys.executable, "-m", "imago.cli.main", "run", str(model), "--source", camera.url),
            *("--motion", "off", "--gap", str(GAP_S), "--records", str(self.records)),
            *("--events", str(folder / "events.jsonl"), "--web", f"localhost:{self.web}"),
            *(("--mqtt", f"mqtt://127.0.0.1:{broker}/soak") if broker else ()),
        ]
        self._wanted = True
        self.process = self._start()
        threading.Thread(target=self._keep_up, daemon=True).start()

    def set_clock(self, offset_s: int) -> None:
        """What the wall clock is ahead by, in the program's eyes."""
        self.offset_s = offset_s
        with self.clock.open("r+b" if self.clock.exists() else "wb") as file:
            file.write(struct.pack("d", offset_s))

    def _start(self) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "PYTHONUNBUFFERED": "1"}
        if self.shim is not None:
            env |= {"LD_PRELOAD": str(self.shim), "SOAK_CLOCK": str(self.clock)}
        process = subprocess.Popen(
            self._command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.starts.append((time.monotonic(), process.pid))
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if " s  " not in line:  # a frame's answer
                self.lines.append(Line(time.monotonic(), line.rstrip()))

    def _keep_up(self) -> None:
        while self._wanted:
            code = self.process.wait()
            self.ends.append((time.monotonic(), code))
            if self._wanted:
                time.sleep(0.0 if code == -signal.SIGKILL else 0.5)
                self.process = self._start()

    def said(self, words: str, since: float) -> float | None:
        """When it first said ``words`` after ``since``."""
        return next((line.moment for line in self.lines if line.moment >= since and words in line.text), None)

    def status(self) -> dict[str, Any] | None:
        """Its own figures; None: it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/api/status", timeout=2) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return None

    def rss_mb(self) -> float | None:
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        return next(
            (int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), None
        )

    def end(self) -> int:
        """SIGTERM, for good; returns its exit code."""
        self._wanted = False
        self.process.terminate()
        return self.process.wait(60)


def compiled(work: Path) -> Path | None:
    """The library that lets one process's wall clock be set; None: no C compiler here."""
    target = work / "soak_clock.so"
    source = Path(__file__).with_name("soak_clock.c")
    command = [
        shutil.which("cc") or "false",
        "-shared",
        "-fPIC",
        "-O2",
        "-o",
        str(target),
        str(source),
        "-ldl",
    ]
    return target if subprocess.run(command, check=False).returncode == 0 else None


class Broker:
    """A Mosquitto on a port of its own that keeps its sessions on disk."""

    def __init__(self, folder: Path) -> None:
        path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
        self.program = shutil.which("mosquitto", path=path)
        self.port = _free_port()
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true"]
        lines += [f"persistence_location {folder}/", "autosave_on_changes true", "autosave_interval 1"]
        lines += ["max_queued_messages 0", *(["user root"] if os.geteuid() == 0 else [])]
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.program is not None
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([self.program, "-c", str(self._config)], **quiet)  # type: ignore[call-overload]

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait(10)


class Listener:
    """A subscriber whose session the broker keeps."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.got: list[tuple[float, str]] = []  # (monotonic, event's identifier)
        client = Client(CallbackAPIVersion.VERSION2, client_id="soak-listener", clean_session=False)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe("soak/events", qos=1)
        client.on_message = lambda _c, _d, message: self._take(message.payload)
        client.connect_async("127.0.0.1", port)
        client.loop_start()
        self.client = client

    def _take(self, payload: bytes) -> None:
        self.got.append((time.monotonic(), str(json.loads(payload)["id"])))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
