"""Which wheels a computer of another kind needs: resolved for its tags *and* its markers.

pip can download for another platform, but judges ``; sys_platform == "win32"`` by the computer it runs on: a
Windows kit made on Linux would miss colorama and ask for CUDA. So pip is asked for one package at a time
without its dependencies, and the dependencies are read from the metadata with the target's markers, until
nothing new comes up. No search backwards: the newest release that fits all that is known is taken, as pip
does at first; where that fails, the conflict is named.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import ImagoError, InputError
from imago.workflow.classroom.target import Target

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MOST_ROUNDS = 20
TIMEOUT_S = 900.0


class ResolveError(ImagoError):
    """There are no wheels that fit together."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file to fetch. sha256: as the index says. requires: its ``Requires-Dist`` lines."""

    name: str
    version: str
    url: str
    sha256: str
    requires: tuple[str, ...] = field(default=(), repr=False)

    @property
    def file(self) -> str:
        """File name."""
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(self.url).path.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class _Wish:
    """All that is asked of one package: extras, version specifiers, and who asks."""

    extras: frozenset[str]
    specifiers: frozenset[str]
    asked_by: frozenset[str]


def resolve(
    requirements: Iterable[str],
    target: Target,
    *,
    indexes: Sequence[str] = (),
    found: Callable[[int], None] = lambda count: None,
) -> list[Wheel]:
    """Every wheel that ``requirements`` need on ``target``, by name. found: told how many are known so far.

    indexes: addresses of further package indexes. Raises ResolveError naming the package that has no wheel,
    or whose versions do not fit together.
    """
    wishes: dict[str, _Wish] = {}
    wheels: dict[str, Wheel] = {}
    _ask(wishes, (_parsed(text) for text in requirements), target, "", "imago")
    for _ in range(MOST_ROUNDS):
        stale = [name for name, wish in wishes.items() if not _satisfied(wheels.get(name), wish)]
        if not stale:
            return _needed(wishes, wheels, requirements, target)
        for wheel in _from_pip([_line(name, wishes[name]) for name in stale], target, indexes, wishes):
            wheels[wheel.name] = wheel
        found(len(wheels))
        for name, wish in list(wishes.items()):
            _ask_of(wheels[name], wish.extras, target, wishes)
    raise ResolveError(
        "the packages ask each other for versions without end: {names}", names=", ".join(stale)
    )


def canonical(name: str) -> str:
    """``Foo.Bar_baz`` → ``foo-bar-baz``."""
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(name))


def applies(requirement: Requirement, target: Target, extras: Iterable[str]) -> bool:
    """Whether it is needed on ``target`` by a package taken with ``extras``."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate(target.markers(e)) for e in (*extras, ""))


def _parsed(text: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise InputError("{text} is not a requirement ({reason})", text=text, reason=error) from error


def _ask(
    wishes: dict[str, _Wish], wanted: Iterable[Requirement], target: Target, extras: Any, by: str
) -> None:
    for requirement in wanted:
        if not applies(requirement, target, extras):
            continue
        name = canonical(requirement.name)
        before = wishes.get(name, _Wish(frozenset(), frozenset(), frozenset()))
        wishes[name] = _Wish(
            before.extras | frozenset(requirement.extras),
            before.specifiers | frozenset(str(s) for s in requirement.specifier),
            before.asked_by | {by},
        )


def _ask_of(wheel: Wheel, extras: frozenset[str], target: Target, wishes: dict[str, _Wish]) -> None:
    _ask(wishes, (_parsed(text) for text in wheel.requires), target, extras, wheel.name)


def _satisfied(wheel: Wheel | None, wish: _Wish) -> bool:
    from packaging.specifiers import SpecifierSet

    if wheel is None:
        return False
    return SpecifierSet(",".join(wish.specifiers)).contains(wheel.version, prereleases=True)


def _needed(
    wishes: Mapping[str, _Wish], wheels: Mapping[str, Wheel], requirements: Iterable[str], target: Target
) -> list[Wheel]:
    """Without what only a version asked for that was replaced by another."""
    final: dict[str, _Wish] = {}
    _ask(final, (_parsed(text) for text in requirements), target, "", "imago")
    seen: dict[str, frozenset[str]] = {}
    while fresh := [n for n, wish in final.items() if seen.get(n) != wish.extras]:
        for name in fresh:
            seen[name] = final[name].extras
            _ask_of(wheels[name], final[name].extras, target, final)
    return [wheels[name] for name in sorted(final)]


def _line(name: str, wish: _Wish) -> str:
    return name + ",".join(sorted(wish.specifiers))


def _from_pip(
    lines: Sequence[str], target: Target, indexes: Sequence[str], wishes: Mapping[str, _Wish]
) -> list[Wheel]:
    """The newest wheel for each line. Raises ResolveError with pip's own reason."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        flags = ["--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--no-input"]
        flags += ["--target", place, "--report", str(report), *target.pip_flags()]
        for index in indexes:
            flags += ["--extra-index-url", index]
        done = pip("install", *flags, "--", *lines)
        if done.returncode:
            raise _refused(done.stderr, wishes)
        data = json.loads(report.read_text(encoding="utf-8"))
    return [_wheel(item) for item in data["install"]]


def _wheel(item: Mapping[str, Any]) -> Wheel:
    info, download = item["metadata"], item["download_info"]
    hashes = download.get("archive_info", {}).get("hashes", {})
    return Wheel(
        canonical(info["name"]),
        str(info["version"]),
        str(download["url"]),
        str(hashes.get("sha256", "")),
        tuple(info.get("requires_dist", ())),
    )


def _refused(stderr: str, wishes: Mapping[str, _Wish]) -> ResolveError:
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    reason = errors[0] if errors else (stderr.strip().splitlines() or ["pip failed"])[-1]
    asked = sorted({b for name, wish in wishes.items() if name in reason.lower() for b in wish.asked_by})
    return ResolveError(
        "pip finds no wheels that fit ({reason}); asked for by: {names}. Is the internet there? Another "
        "--python may have them",
        reason=reason[:300],
        names=", ".join(asked) or "imago",
    )


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter's pip, with the user's own settings (index, proxy, certificates)."""
    command = [sys.executable, "-m", "pip", *arguments]
    try:
        return subprocess.run(  # noqa: S603 - no shell; arguments are ours
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"ERROR: no answer within {TIMEOUT_S:.0f} s")
