"""What the virtual machine does in its one boot for the tests: everything, results as files in /share."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SHARE = Path("/share")
IMAGO = (sys.executable, "-m", "imago.cli.main")
MEMORY = """
import sys
from pathlib import Path
{code}
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""
BARE = {
    "onnx": """
import numpy, onnxruntime as ort
ort.set_default_logger_severity(3)
s = ort.InferenceSession("/share/m.onnx", providers=["CPUExecutionProvider"])
x = numpy.zeros((1, 1, 32, 32), numpy.uint8)
for _ in range(50): s.run(None, {"input": x})
""",
    "tflite": """
import numpy
from ai_edge_litert.interpreter import Interpreter
i = Interpreter("/share/m.tflite", num_threads=1)
i.allocate_tensors()
x = numpy.zeros((1, 32, 32, 1), numpy.uint8)
for _ in range(50):
    i.set_tensor(i.get_input_details()[0]["index"], x)
    i.invoke()
    i.get_tensor(i.get_output_details()[0]["index"])
""",
}
OURS = """
from imago.cli.main import main
sys.argv = ["imago", "run", "/share/m.{kind}", "--source", "{source}", "--frames", "50", "--size", "{size}"]
main()
"""
# The synthetic picture has three bytes a pixel, and keeps one more picture to draw on than a camera does.
WAYS = {
    "160x120": ("synthetic", "160x120"),
    "640x480": ("synthetic", "640x480"),
    "camera 640x480": ("/dev/video0", "640x480"),
}


def command(name: str, *arguments: str, timeout: float = 400) -> None:
    """Run ``imago …``; exit code, output and seconds go to NAME.json."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*IMAGO, *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )
        result = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
    except subprocess.TimeoutExpired as error:
        result = {"code": None, "out": str(error.stdout), "err": str(error.stderr)}
    write(name, {**result, "seconds": time.monotonic() - began})


def write(name: str, data: object) -> None:
    (SHARE / f"{name}.json").write_text(json.dumps(data))


def peak(code: str) -> float:
    """Peak resident memory in MB of a fresh process (three of them agree within 0.2 MB)."""
    script = MEMORY.format(code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(re.findall(r"^[\d.]+$", done.stdout, re.MULTILINE)[-1])


def memory() -> dict[str, float]:
    """The bare engines, and ``imago run`` with them from small and ordinary pictures and a real camera."""
    found = {f"bare {kind}": peak(code) for kind, code in BARE.items()}
    for kind in BARE:
        for way, (source, size) in WAYS.items():
            code = OURS.replace("{kind}", kind).replace("{source}", source).replace("{size}", size)
            found[f"{kind} {way}"] = peak(code)
    return found


def watchdog(limit: float = 300) -> None:
    """Stand where systemd stands: hear ``imago run`` tell its watchdog three times that it lives, then end
    it with SIGTERM. limit: seconds; starting takes a minute on a busy PC, and there a frame takes seconds.
    """
    address = "/tmp/notify"  # noqa: S108  of the virtual machine
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address)
        ear.settimeout(0.5)
        env = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
        arguments = (*IMAGO, "run", "/share/m.onnx", "--source", "/dev/video0")
        program = subprocess.Popen(
            arguments, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said: list[str] = []
        end = time.monotonic() + limit
        while said.count("WATCHDOG=1") < 3 and time.monotonic() < end and program.poll() is None:
            with contextlib.suppress(TimeoutError):
                said += ear.recv(4096).decode().splitlines()
        program.send_signal(signal.SIGTERM)
        code = program.wait(20)
        while True:
            try:
                said += ear.recv(4096).decode().splitlines()
            except TimeoutError:
                break
    write("watchdog", {"code": code, "said": said, "err": program.stderr.read() if program.stderr else ""})


def main() -> None:
    """All of it, in order; a part that fails leaves no file."""
    sys.path.insert(0, str(SHARE))
    command("doctor", "doctor", "/share/m.onnx", "--json", "-")
    for name, source in (("v4l2", "/dev/video0"), ("libcamera", "picamera")):
        command(name, "run", "/share/m.onnx", "--source", source, "--frames", "20", "--json", "-")
    import golden

    write("golden", golden.digest())
    write("memory", memory())
    if "--watchdog" in sys.argv:
        watchdog()


main()
