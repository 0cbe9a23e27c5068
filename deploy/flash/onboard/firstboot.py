#!/usr/bin/python3
"""What runs on the board from an SD card that ``imago flash`` made. Standard library only, Python 3.11.

    firstboot.py enable [--start]   make the installation a service of systemd's (and start it)
    firstboot.py install            what the service runs, at every boot until it has succeeded

All it needs lies next to it: ``agent.pyz``, ``board.imago``, ``kit/``. A cut at any moment means that the
next boot tries again. What happens stands in ``firstboot.log`` beside it: on the FAT partition, so that any
PC can show it when the board does not answer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOG, MAX_LOG = HERE / "firstboot.log", 1_000_000
DONE = HERE / "installed.json"
ROOT = os.environ.get("IMAGO_ROOT", "/opt/imago")
NAME = "imago-firstboot.service"
UNIT = Path("/etc/systemd/system") / NAME
WANTED = UNIT.parent / "multi-user.target.wants" / NAME
TIMEOUT_S = 300  # until frames must come: a board that is new to everything is slow
# Not ordered after cloud-init: cloud-final comes after multi-user.target, which waits for this service.
UNIT_TEXT = f"""\
[Unit]
Description=imago: install what came with the SD card
RequiresMountsFor={HERE}
After=local-fs.target rpi-resize.service
ConditionPathExists=!{DONE}
StartLimitIntervalSec=1h
StartLimitBurst=5

[Service]
Type=exec
ExecStart=/usr/bin/python3 -I {HERE}/firstboot.py install
Restart=on-failure
RestartSec=60

[Install]
WantedBy=multi-user.target
"""


def main(words: list[str]) -> int:
    """Run one of the two; 0 fine, 1 it went wrong (the log says why), 2 called wrongly."""
    if words[:1] == ["enable"]:
        return enable(start="--start" in words)
    if words == ["install"]:
        return install()
    print(__doc__, file=sys.stderr)  # noqa: T201  not in the package: a program of its own
    return 2


def enable(*, start: bool) -> int:
    """Put the service in place; ``start``: and let it run, without waiting for it."""
    temporary = UNIT.with_name(f".{NAME}.tmp")
    temporary.write_text(UNIT_TEXT)
    temporary.replace(UNIT)
    # Enabled by hand: that works whatever state systemd is in, and the next boot finds it.
    WANTED.parent.mkdir(exist_ok=True)
    WANTED.unlink(missing_ok=True)
    WANTED.symlink_to(UNIT)
    os.sync()
    if start:
        return run("systemctl", "daemon-reload") or run("systemctl", "start", "--no-block", NAME)
    return 0


def install() -> int:
    """Everything through the agent, Debian packages too; what was needed for it goes, once it runs."""
    log("this board begins to install itself")
    words = [sys.executable, "-I", str(HERE / "agent.pyz"), "up", "--root", ROOT, "--timeout", str(TIMEOUT_S)]
    words += ["--bundle", str(HERE / "board.imago"), "--wheels", str(HERE / "kit")]
    if (HERE / "trusted.pub").is_file():
        words += ["--trust", str(HERE / "trusted.pub")]
    if run(*words):
        log("not installed; the next attempt follows, or comes at the next boot")
        return 1
    write(DONE, json.dumps({"installed": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n")
    WANTED.unlink(missing_ok=True)
    # Room for the system's own updates of kernel and firmware, which need this partition. Only now: a cut
    # before this leaves them lying there, and never a board that tries to install what is gone.
    shutil.rmtree(HERE / "kit", ignore_errors=True)
    for name in ("board.imago", "board.imago.minisig"):
        (HERE / name).unlink(missing_ok=True)
    log("installed, and frames come through")
    return 0


def run(*words: str) -> int:
    """Run a program; what it says goes into the log line by line. Its exit code."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        with subprocess.Popen(  # noqa: S603  argument list, no shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=environment,
        ) as process:  # fmt: skip
            for line in process.stdout or ():
                log(readable(line))
    except OSError as error:
        log(f"{words[0]}: {error}")
        return 1
    if process.returncode:
        log(f"{Path(words[0]).name} {words[1]}: exit code {process.returncode}")
    return process.returncode


def readable(line: str) -> str:
    """The agent speaks JSON; people read the text in it."""
    try:
        said = json.loads(line)
        if said["event"] == "doctor":
            found = [finding for finding in said["findings"] if finding["level"] in ("problem", "warning")]
            return "doctor: " + ("; ".join(f"{one['text']} ({one['remedy']})" for one in found) or "fine")
        return f"{said['event']}: {said['text']}" if "text" in said else line.rstrip()
    except (ValueError, KeyError, TypeError):
        return line.rstrip()


def log(text: str) -> None:
    """A line for the journal, and for the file that a PC can read; forced onto the card."""
    if not text:
        return
    print(text, flush=True)  # noqa: T201
    try:
        if LOG.exists() and LOG.stat().st_size > MAX_LOG:
            LOG.replace(LOG.with_suffix(".old"))
        with LOG.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        print(f"{LOG}: {error}", flush=True)  # noqa: T201


def write(path: Path, text: str) -> None:
    """Write a file by one rename, on the card when this returns."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    os.sync()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
