"""The Debian packages of a kit: which of them the system lacks, and putting those in.

The one way for ``imago deploy``, the Ansible role and an SD card's first boot. What a cut leaves unfinished
is finished by the next call; where that cannot be done, it is said what a person has to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.board import dpkg
from imago.deploy.board.layout import Root, check_space, link_or_copy, scratch
from imago.deploy.board.say import step
from imago.edge_runtime.doctor.findings import Finding
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.messages import tr

# As apt names the files that it fetches; a version's colon is %3a there.
NAME = re.compile(r"([a-z0-9][a-z0-9+.-]{1,99})_([A-Za-z0-9.+~%-]{1,99})_([a-z0-9-]{2,20})\.deb")
SHOWN = 4  # names of packages in a sentence
FIELDS = "${Package}\\t${Architecture}\\t${Installed-Size}"


@dataclass(frozen=True, slots=True)
class Deb:
    """What a file's name says of the package in it."""

    package: str
    version: str
    arch: str

    @classmethod
    def of(cls, name: str) -> Deb:
        """Raises InputError where the name is none of a package."""
        found = NAME.fullmatch(name)
        if found is None:
            raise InputError("'{name}' is no Debian package of a kit; make the kit again", name=name[:80])
        package, version, arch = found.groups()
        return cls(package, version.replace("%3a", ":").replace("%5f", "_"), arch)


def lacking(names: Iterable[str]) -> list[str]:
    """Those of the files whose package is not installed, older, or unfinished, by dpkg's own database."""
    wanted = {name: Deb.of(name) for name in names}
    if not wanted:
        return []
    there = dpkg.database()
    return [name for name, deb in wanted.items() if not _enough(there.get(deb.package), deb.version)]


def findings(names: Iterable[str]) -> Iterator[Finding]:
    """What the doctor says of a kit's Debian packages, before anything is changed."""
    names = list(names)
    if not names:
        return
    problem = _obstacle(names)
    if problem is not None:
        yield problem
        return
    if (waiting := dpkg.unfinished()) or dpkg.interrupted():
        yield Finding(
            "debs.unfinished",
            "warning",
            tr("dpkg was interrupted on this board: {names}", names=_shown(waiting) or "dpkg"),
            tr("it is finished before anything else is installed"),
        )
    missing = [Deb.of(name).package for name in lacking(names)]
    if missing:
        yield Finding(
            "debs.missing",
            "note",
            tr("Debian packages that the kit has and this system lacks, {n} of {total}: {names}",
               n=len(missing), total=len(names), names=_shown(missing)),
            tr("they are installed from the kit"),
        )  # fmt: skip
    else:
        yield Finding("debs.there", "ok", tr("all Debian packages of the kit are there"))


def install(root: Root, files: Mapping[str, Path]) -> list[str]:
    """Put in what the system lacks of ``files`` (by name); the packages that were installed.

    Raises DeployError before anything is changed where they do not fit, or there is no room; and, with what
    has to be done, where dpkg could not end.
    """
    if not lacking(files):
        return []
    problem = _obstacle(list(files))
    if problem is not None:
        raise DeployError("{reason}", reason=f"{problem.text}; {problem.remedy}")
    with dpkg.locked():
        _finish(files)
        names = lacking(files)
        with scratch(root, "debs") as work:
            packages = {}
            for name in names:
                link_or_copy(files[name], work / name)
                packages[Deb.of(name).package] = work / name
            check_space(Path("/"), sum(map(_installed_bytes, packages.values())))
            steps = dpkg.steps(packages, work / "apt")
            step("debs", tr("installing Debian packages: {names}", names=_shown(packages)))
            reason = dpkg.install(steps)
        _settled(reason, files)
    return list(packages)


def _settled(reason: str, files: Mapping[str, Path]) -> None:
    """Raise DeployError, with the way out, unless everything is installed and nothing is half done."""
    left = [Deb.of(name).package for name in lacking(files)]
    if not reason and not left:
        return
    half = [name for name in dpkg.unfinished() if name in {Deb.of(file).package for file in files}]
    if half:
        raise DeployError(
            "dpkg could not finish {names} on the board ({reason}); push again, or on the board: sudo dpkg "
            "--configure -a, and if that does not help: sudo dpkg --purge {all}",
            names=_shown(half),
            reason=reason,
            all=" ".join(half),
        )
    raise DeployError(
        "dpkg did not install {names} on the board ({reason}); nothing is left half done",
        names=_shown(left),
        reason=reason,
    )


def _finish(files: Iterable[str]) -> None:
    """End what was interrupted. What only the kit's own files can end may stay: they are installed next."""
    if not dpkg.unfinished() and not dpkg.interrupted():
        return
    step("debs", tr("finishing what dpkg could not end when it was interrupted"))
    reason = dpkg.configure()
    ours = {Deb.of(name).package for name in files}
    foreign = [name for name in dpkg.unfinished() if name not in ours]
    if foreign:
        raise DeployError(
            "dpkg was interrupted on the board and cannot finish {names} ({reason}); nothing else was "
            "changed: on the board, sudo dpkg --configure -a and sudo apt --fix-broken install",
            names=_shown(foreign),
            reason=reason,
        )


def _obstacle(names: Iterable[str]) -> Finding | None:
    """Why none of the packages could ever be installed here."""
    if not dpkg.available():
        text = tr("the kit has Debian packages, and this system has no dpkg and apt")
        remedy = tr("use Raspberry Pi OS or Debian, or a kit without them")
        return Finding("debs.dpkg", "problem", text, remedy)
    arch = dpkg.architecture()
    others = sorted({Deb.of(name).arch for name in names} - {arch, "all"})
    if others:
        text = tr("the kit's Debian packages are for {found}, this system is {arch}",
                  found=others[0], arch=arch)  # fmt: skip
        return Finding("debs.arch", "problem", text, tr("make a kit for this kind of board"))
    if not dpkg.may_install() and lacking(names):
        text = tr("only root may install the kit's Debian packages")
        return Finding("debs.rights", "problem", text, tr("log in as a user with sudo, or as root"))
    return None


def _installed_bytes(path: Path) -> int:
    """What a package takes on the disk. Raises DeployError where the file is damaged, or another package."""
    done = dpkg.call("dpkg-deb", "--show", f"--showformat={FIELDS}", str(path))
    package, arch, size = [*done.stdout.split("\t"), "", ""][:3]
    deb = Deb.of(path.name)
    if done.returncode or (package, arch) != (deb.package, deb.arch):
        raise DeployError("{name} is no package of that name, or damaged; make the kit again", name=path.name)
    return 1024 * int(size) if size.strip().isdigit() else 0


def _enough(known: dpkg.Known | None, version: str) -> bool:
    return known is not None and known.works and dpkg.at_least(known.version, version)


def _shown(names: Iterable[str]) -> str:
    names = list(names)
    more = f" … (+{len(names) - SHOWN})" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
