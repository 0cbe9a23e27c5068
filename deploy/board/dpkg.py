"""The board's package manager: what dpkg's own database says, its lock, and apt's word on what fits together.

dpkg's own variables (``DPKG_ROOT``, ``DPKG_ADMINDIR``, ``DPKG_FORCE``) apply, as they do when it is called by
hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.board.say import step
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.messages import tr

WAIT_S = 600.0  # for another program that installs packages: at the first boot Debian's own are at work
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
INSTALLED = {"installed", "triggers-awaited", "triggers-pending"}  # they do what they are there for
UNFINISHED = {"half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"}
ROW = "${Package}\\t${Architecture}\\t${db:Status-Status}\\t${db:Status-Eflag}\\t${Version}\\n"
# Files of packages that the user has changed stay as they are, and nobody is asked.
KEEP = ("--force-confdef", "--force-confold")
VERBS = {"Inst": "unpack", "Conf": "configure"}  # apt's words and dpkg's
Step = tuple[str, tuple[str, ...]]  # what dpkg does, and with what


@dataclass(frozen=True, slots=True)
class Known:
    """What dpkg knows of a package. status: its word; version: as Debian writes it."""

    status: str
    version: str
    damaged: bool

    @property
    def works(self) -> bool:
        """Whether it can be used."""
        return self.status in INSTALLED and not self.damaged


def available() -> bool:
    """Whether this system has Debian's tools."""
    return all(shutil.which(name, path=PATH) for name in ("dpkg", "dpkg-query", "dpkg-deb", "apt-get"))


def may_install() -> bool:
    """Whether we have the right to; dpkg itself has a word against asking for root."""
    return os.geteuid() == 0 or "not-root" in os.environ.get("DPKG_FORCE", "").split(",")


def architecture() -> str:
    """The system's own (``arm64``)."""
    return call("dpkg", "--print-architecture").stdout.strip()


def database() -> dict[str, Known]:
    """Packages of the system's own architecture by name."""
    done = call("dpkg-query", "--show", f"--showformat={ROW}")
    own = (architecture(), "all")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {
        name: Known(status, version, damaged=flag != "ok")
        for name, arch, status, flag, version in (row for row in rows if len(row) == 5)
        if arch in own
    }


def unfinished() -> list[str]:
    """What dpkg began and has not ended, because it was cut off or something failed."""
    return sorted(name for name, known in database().items() if known.status in UNFINISHED or known.damaged)


def interrupted() -> bool:
    """Whether dpkg itself was cut off: its journal is still there."""
    return any((admin() / "updates").glob("[0-9]*"))


def at_least(version: str, wanted: str) -> bool:
    """Whether ``version`` is as new as ``wanted``, by Debian's rules."""
    return version == wanted or call("dpkg", "--compare-versions", version, "ge", wanted).returncode == 0


def install(steps: Sequence[Step]) -> str:
    """Take the steps; why one of them failed, or empty. What was unpacked by then is configured all the same,
    as far as that goes; triggers run at the end."""
    for verb, what in steps:
        done = call("dpkg", f"--{verb}", "--refuse-downgrade", *KEEP, *what)
        if done.returncode:
            configure()
            return reason(done)
    return configure()


def configure() -> str:
    """Let dpkg finish whatever is unfinished; why it could not, where it could not."""
    done = call("dpkg", "--configure", *KEEP, "--pending")
    return "" if done.returncode == 0 else reason(done)


def steps(packages: Mapping[str, Path], work: Path) -> list[Step]:
    """What dpkg has to do for these packages, and in which order. Nothing is changed.

    apt decides, and sees dpkg's database and these files only, so no network. work: a folder for it. Raises
    DeployError with apt's reason where they do not fit together, or not to what is installed.
    """
    for name in ("lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True)
    options = {
        "Dir::State::status": admin() / "status", "Dir::State::lists": work / "lists",
        "Dir::State::extended_states": os.devnull,
        "Dir::Cache": work, "Dir::Cache::archives": work / "archives", "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "", "Dir::Etc::sourcelist": os.devnull,
        "Dir::Etc::sourceparts": os.devnull, "Dir::Etc::preferences": os.devnull,
        "Dir::Etc::preferencesparts": os.devnull, "Debug::NoLocking": "1", "APT::Sandbox::User": "root",
        "pkgCacheGen::ForceEssential": "none",
    }  # fmt: skip
    words = [f"-o{name}={value}" for name, value in options.items()]
    flags = ("--simulate", "--yes", "--no-remove", "--no-install-recommends", "install")
    done = call("apt-get", *words, *flags, *map(str, packages.values()))
    if done.returncode:
        raise DeployError(
            "the kit's Debian packages do not fit this board's system, and nothing of it was changed "
            "({reason}); make the kit with the image that is on its card: imago kit --system IMAGE",
            reason=_unmet(done),
        )
    return _steps([line.split() for line in done.stdout.splitlines()], packages)


def _steps(rows: Iterable[Sequence[str]], packages: Mapping[str, Path]) -> list[Step]:
    """From apt's rows ``Inst NAME …`` and ``Conf NAME …``: what follows each other in one call of dpkg's."""
    found: list[tuple[str, list[str]]] = []
    left = {name: str(path) for name, path in packages.items()}
    for word, name in (row[:2] for row in rows if row and row[0] in VERBS):
        what = left.pop(name.partition(":")[0], None) if word == "Inst" else name
        if what is None:
            continue
        if not found or found[-1][0] != VERBS[word]:
            found.append((VERBS[word], []))
        found[-1][1].append(what)
    if left:  # unpacked already, in part: apt sees no reason to do it again
        found.insert(0, ("unpack", list(left.values())))
    return [(verb, tuple(what)) for verb, what in found]


@contextlib.contextmanager
def locked(wait_s: float = WAIT_S) -> Iterator[None]:
    """Keep apt and its kind out, by the lock that they all take. Raises DeployError after ``wait_s``."""
    until, said = time.monotonic() + wait_s, False
    with (admin() / "lock-frontend").open("a") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() > until:
                    raise DeployError(
                        "another program installs packages on the board and does not end; push again later"
                    ) from None
                if not said:
                    step("debs", tr("waiting for another program that installs packages on the board"))
                said = True
                time.sleep(0.5)
        yield


def admin() -> Path:
    """Where dpkg keeps its database."""
    return Path(os.environ.get("DPKG_ADMINDIR", "/var/lib/dpkg"))


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run one of Debian's programs, which ask nothing and speak English."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("DPKG_")}
    environment = {
        "PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive",
        "DPKG_FRONTEND_LOCKED": "1", **kept,
    }  # fmt: skip
    return subprocess.run(  # noqa: S603  argument list, no shell
        words, capture_output=True, text=True, errors="replace", check=False, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """dpkg's own words on what went wrong, as one line."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [n for n, line in enumerate(lines) if line.startswith("dpkg: ")]
    said = [" ".join(lines[n : n + 3]) for n in errors[:1]] or lines[-1:]
    return (said or [tr("exit code {code}", code=done.returncode)])[0].removeprefix("dpkg: ")[:300]


def _unmet(done: subprocess.CompletedProcess[str]) -> str:
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    unmet = [" ".join(line.split()) for line in lines if line.startswith(" ") and " : " in line]
    errors = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return "; ".join(unmet or errors or [tr("exit code {code}", code=done.returncode)])[:300]
