"""Virtual environments on the board: made from wheels, named after what went in, never changed afterwards.

``--system-site-packages``, since apt's picamera2 cannot be had from wheels. ``.ready`` is written last, so
that what a power cut left half made is seen for what it is and made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.board.layout import READY, Root, check_space, link_or_copy, scratch, sync, write_state
from imago.deploy.board.say import step
from imago.edge_runtime.bundle.manifest import SHA256
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import tr

UNPACKED = 4  # times the wheels' size, with compiled modules (measured: 3.2 for base, 3.6 with OpenCV)
ONLINE_BYTES = 400_000_000
PACKAGE = "imago-edge"
QUIETLY = ("--disable-pip-version-check", "--no-input", "--quiet", "--no-cache-dir")
WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{1,200}\.whl")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an environment is made of. wheels: file name → SHA-256. online: the rest may come from the net."""

    wheels: Mapping[str, str]
    extras: tuple[str, ...] = ()
    online: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "extras", tuple(sorted(self.extras)))
        for name, sha256 in self.wheels.items():
            if not WHEEL.fullmatch(name) or not SHA256.fullmatch(sha256):
                raise InputError("'{name}' is no wheel", name=str(name)[:80])

    def digest(self) -> str:
        """Names the environment: same content, same Python, same name."""
        python = f"{sys.implementation.cache_tag} {platform.machine()} {sys.base_prefix}"
        text = json.dumps([1, python, sorted(self.wheels.items()), self.extras, self.online])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def python_of(env: Path) -> Path:
    """The environment's interpreter."""
    return env / "bin" / "python"


def ready(root: Root, digest: str) -> bool:
    """Whether that environment is there, whole."""
    return (root / "envs" / digest / READY).is_file()


def install(root: Root, wanted: Wanted, files: Mapping[str, Path]) -> tuple[str, bool]:
    """The environment's name, and whether it had to be made. files: where the wheels are, by name.

    Raises DeployError where it cannot be made.
    """
    digest = wanted.digest()
    target = root / "envs" / digest
    if ready(root, digest):
        _newest(root, digest)
        return digest, False
    total = sum(files[name].stat().st_size for name in wanted.wheels)
    check_space(root.path, ONLINE_BYTES if wanted.online else UNPACKED * total)
    step("install", tr("making the environment (numpy, engine and imago: some minutes on a small board)"))
    shutil.rmtree(target, ignore_errors=True)
    with scratch(root, "wheels") as house:
        for name in wanted.wheels:
            link_or_copy(files[name], house / name)
        try:
            _make(target, house, wanted)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    os.sync()  # everything that was written is on the disk before it is called ready
    facts = {"digest": digest, "wheels": dict(wanted.wheels), "extras": list(wanted.extras)}
    write_state(target / READY, {**facts, "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    sync(root / "envs")
    _newest(root, digest)
    return digest, True


def newest(root: Root) -> str:
    """The environment that was asked for last. Raises DeployError where there is none."""
    digest = newest_name(root)
    if not digest or not ready(root, digest):
        raise DeployError("there is no environment on the board yet; install comes first")
    return digest


def newest_name(root: Root) -> str:
    """Its name, whether it is there or not; empty where none was ever made."""
    try:
        return (root / "envs" / "newest").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _newest(root: Root, digest: str) -> None:
    write_text(root / "envs" / "newest", digest + "\n")


def _make(target: Path, house: Path, wanted: Wanted) -> None:
    base = [sys.executable, "-I", "-m", "venv", "--system-site-packages"]
    pip = [str(python_of(target)), "-I", "-m", "pip"]
    if _run([*base, str(target)]) or _run([*pip, "--version"]):
        # Debian keeps ensurepip in python3-venv: take pip from the kit, or the system's own.
        shutil.rmtree(target, ignore_errors=True)
        _must([*base, "--without-pip", str(target)])
        pip = _foreign_pip(target, house)
    reason = _run([*pip, "install", *QUIETLY, *_what(house, wanted)])
    if reason:
        raise DeployError(
            "the packages could not be installed on the board ({reason}); without internet there, "
            "give a kit that fits its Python {python}: imago deploy … --offline KIT",
            reason=reason,
            python=f"{sys.version_info.major}.{sys.version_info.minor}, {platform.machine()}",
        )


def _what(house: Path, wanted: Wanted) -> list[str]:
    """A kit is a closed list: exactly its wheels are installed, and nothing is resolved on the board."""
    if not wanted.online:
        wheels = [str(house / name) for name in sorted(wanted.wheels) if not name.startswith("pip-")]
        return ["--no-index", "--no-deps", *wheels]
    extras = f"[{','.join(wanted.extras)}]" if wanted.extras else ""
    return ["--find-links", str(house), f"{PACKAGE}{extras}"]


def _foreign_pip(target: Path, house: Path) -> list[str]:
    """A pip from outside that installs into ``target``."""
    for wheel in sorted(house.glob("pip-*.whl"), reverse=True):
        return [str(python_of(target)), str(wheel / "pip")]
    if not _run([sys.executable, "-I", "-m", "pip", "--version"]):
        return [sys.executable, "-I", "-m", "pip", "--python", str(python_of(target))]
    raise DeployError(
        "the board's Python has no pip, and the kit holds none; on the board: sudo apt install python3-venv"
    )


def _run(command: list[str]) -> str:
    """Empty where it worked, else its last words."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    environment |= _kept()
    done = subprocess.run(  # noqa: S603  argument list, no shell
        command, capture_output=True, text=True, errors="replace", check=False, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"exit code {done.returncode}"])[-1][:300]


def _kept() -> dict[str, str]:
    """What a board behind a proxy, or with a mirror of its own, has set."""
    names = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {k: v for k, v in os.environ.items() if k in names or k.startswith("PIP_")}


def _must(command: list[str]) -> None:
    reason = _run(command)
    if reason:
        raise DeployError(
            "no virtual environment could be made on the board ({reason}); sudo apt install python3-venv",
            reason=reason,
        )
