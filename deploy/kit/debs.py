"""Debian packages that the board's system lacks, chosen and fetched by apt itself with a state of its own.

apt gets the system's own list of installed packages, its sources and its keys in a private folder, and the
board's architecture; so it answers as it would on the board. Nothing of this computer's apt is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imago.deploy.image_file import MEGABYTE, in_megabytes
from imago.deploy.kit.options import KitOptions
from imago.deploy.kit.system import STATUS, BoardSystem, opened
from imago.edge_runtime.errors import InputError, MissingDependency, StorageError

if TYPE_CHECKING:
    from imago.deploy.kit.build import Listener

APT = "apt"  # its folder inside the unfinished kit
# 'http://…/x.deb' x_1_arm64.deb 1234 SHA256:…
OFFER = re.compile(r"'([^']+)' (\S+\.deb) (\d+)")
FOLDERS = (
    *("etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d"),
    *("usr/share/keyrings", "etc/apt/keyrings", "var/lib/dpkg", "var/lib/apt/lists/partial"),
    *("var/cache/apt/archives/partial", "var/empty/partial"),
)
CONFIGURATION = """\
// Hooks of this computer's apt have no business here.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
#clear APT::Default-Release;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
pkgCacheGen::ForceEssential "none";
Dir "{root}/";
Dir::State "{root}/var/lib/apt";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::State::extended_states "{root}/var/lib/apt/extended_states";
Dir::Cache "{root}/var/cache/apt";
Dir::Etc "{root}/etc/apt";
Dir::Etc::sourcelist "{root}/etc/apt/sources.list";
Dir::Etc::sourceparts "{root}/etc/apt/sources.list.d";
Dir::Etc::preferences "{root}/etc/apt/preferences";
Dir::Etc::preferencesparts "{root}/etc/apt/preferences.d";
Dir::Etc::trusted "{root}/etc/apt/trusted.gpg";
Dir::Etc::trustedparts "{root}/etc/apt/trusted.gpg.d";
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """A package that apt would install: its file in the archive, and its size in bytes."""

    file: str
    size: int


def fetch_debs(work: Path, options: KitOptions, listener: Listener) -> None:
    """Fill ``work/debs`` with what the board's system lacks for ``options.debian_packages()``."""
    if shutil.which("apt-get") is None:
        raise MissingDependency(
            "choosing Debian packages needs apt-get: make this kit on Debian, Ubuntu, WSL or a Raspberry Pi, "
            "or use --camera usb"
        )
    if options.system is None:
        raise InputError("no such file or folder: {path}", path="--system")

    def unpacking(size: int) -> Callable[[int], None]:
        listener.step("unpacking", size // MEGABYTE)
        return in_megabytes(lambda whole: listener.advance(whole, "MB"))

    private = Apt((work / APT).absolute(), options.target().arch)
    with opened(options.system, work, unpacking) as system:
        system.check(options.target())
        private.prepare(system)
    listener.step("packages", 0)
    private.update(lambda line: listener.advance(1, line))
    offers = private.offers(options.debian_packages())
    listener.step("debs", len(offers))
    private.download(options.debian_packages(), lambda line: listener.advance(int(_arrives(line)), line))
    _collect(private, offers, work / "debs")


def _arrives(line: str) -> bool:
    return line.startswith("Get:")


@dataclass(frozen=True, slots=True)
class Apt:
    """apt-get that sees only the folder ``root``."""

    root: Path
    arch: str

    def prepare(self, system: BoardSystem) -> None:
        """Copy in what the board's apt would look at."""
        if '"' in str(self.root):
            raise InputError('{path}: a folder with " in its name cannot be used', path=self.root)
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if (status := system.file(STATUS)) is not None:
            shutil.copyfile(status, self.root / STATUS)
        for folder in (
            "usr/share/keyrings",
            "etc/apt/keyrings",
            "etc/apt/trusted.gpg.d",
            "etc/apt/preferences.d",
        ):
            for file in system.files(folder):
                shutil.copyfile(file, self.root / folder / file.name)
        lists = [
            file for file in system.files("etc/apt/sources.list.d") if file.suffix in (".list", ".sources")
        ]
        if (main := system.file("etc/apt/sources.list")) is not None:
            lists.append(main)
        if not lists:
            raise InputError("{path} names no package sources in /etc/apt", path=system.root)
        for file in lists:
            text = self._own_keys(file.read_text(encoding="utf-8"))
            place = "etc/apt" if file == main else "etc/apt/sources.list.d"
            (self.root / place / file.name).write_text(text, encoding="utf-8")
        for file in system.files("var/lib/apt/lists"):
            if file.name != "lock" and not (kept := self.root / "var/lib/apt/lists" / file.name).exists():
                shutil.copyfile(file, kept)
        configuration = CONFIGURATION.format(root=self.root, arch=self.arch)
        (self.root / "apt.conf").write_text(configuration, encoding="utf-8")

    def _own_keys(self, text: str) -> str:
        """Sources with the system's keys instead of this computer's."""
        return re.sub(r"(signed-by\s*[:=]\s*)(/)", rf"\g<1>{self.root}/", text, flags=re.IGNORECASE)

    def update(self, tell: Callable[[str], None]) -> None:
        """Fetch fresh lists; where that fails, the system's own must do, and where it has none, say so."""
        lines, code = self._run(["update"], tell)
        # apt says W: and goes on with old lists where a source is not reached, and exits with 0.
        trouble = [line for line in lines if line.startswith(("E:", "W: Failed", "Err:"))]
        known = any((self.root / "var/lib/apt/lists").glob("*Packages*"))
        if (code or trouble) and not known:
            raise StorageError(
                "the package lists of the board's system cannot be fetched ({reason}); connect this computer "
                "to the internet, and the same command goes on from here",
                reason=(trouble or lines[-1:] or ["?"])[-1].removeprefix("E: ")[:200],
            )

    def offers(self, packages: Sequence[str]) -> list[Offer]:
        """What must be installed for ``packages``; empty where the system has them all."""
        # Into an empty cache: what was fetched already would be left out.
        empty = ["-o", f"Dir::Cache::archives={self.root}/var/empty"]
        lines, code = self._run([*empty, "-qq", "--print-uris", *INSTALL, *packages])
        self._check(code, lines, packages)
        return [Offer(m[2], int(m[3])) for m in map(OFFER.match, lines) if m]

    def download(self, packages: Sequence[str], tell: Callable[[str], None]) -> None:
        """Fetch them; apt checks signatures and hashes, and goes on with half-fetched files."""
        lines, code = self._run(["--download-only", *INSTALL, *packages], tell)
        self._check(code, lines, packages)

    def _check(self, code: int, lines: Sequence[str], packages: Sequence[str]) -> None:
        if code == 0:
            return
        errors = [line.removeprefix("E: ") for line in lines if line.startswith("E:")] or ["?"]
        unknown = [
            line for line in errors if "Unable to locate" in line or "no installation candidate" in line
        ]
        if unknown:
            raise InputError(
                "the sources of the board's system do not know {packages} ({reason}); python3-picamera2 "
                "is in Raspberry Pi OS, not in plain Debian",
                packages=", ".join(packages),
                reason=unknown[0],
            )
        raise StorageError("apt-get failed: {reason}", reason="; ".join(errors)[:300])

    def _run(
        self, arguments: Sequence[str], tell: Callable[[str], None] | None = None
    ) -> tuple[list[str], int]:
        lines: list[str] = []
        with subprocess.Popen(  # noqa: S603  our own arguments
            ["apt-get", "-c", str(self.root / "apt.conf"), *arguments],  # noqa: S607  the system's own
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        ) as process:
            try:
                for line in process.stdout or ():
                    lines.append(line.strip())
                    if tell is not None:
                        tell(lines[-1])
            except BaseException:
                process.terminate()
                raise
        return lines, process.returncode


INSTALL = ("--yes", "--no-install-recommends", "--no-remove", "install")


def _collect(apt: Apt, offers: Sequence[Offer], target: Path) -> None:
    """Move exactly what apt offers from its cache into the kit."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for offer in offers:
        path = apt.root / "var/cache/apt/archives" / offer.file
        if not path.is_file() or path.stat().st_size != offer.size:
            raise StorageError("apt-get failed: {reason}", reason=f"{offer.file} did not arrive")
        shutil.copyfile(path, target / offer.file)
