"""From pip's report to a closed list of wheels for a system that pip does not run on.

pip resolves for another platform, but asks markers (``; sys_platform == "win32"``) of the Python that it runs
on (pypa/pip#11664). So its report is walked again with the board's own markers: what nobody there needs is
dropped, what is missing is asked for in another round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import MissingDependency, StorageError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Pin:
    """One wheel. sha256: as the index says; empty where it does not (a folder of wheels)."""

    name: str
    version: str
    sha256: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Closure:
    """pins: what is needed on the board. missing: requirements that pip has not looked at yet."""

    pins: tuple[Pin, ...]
    missing: tuple[str, ...]


def pins_of(report: Mapping[str, Any]) -> list[Pin]:
    """The wheels in pip's installation report (its version 1)."""
    found = []
    for item in report["install"]:
        metadata, archive = item["metadata"], item["download_info"].get("archive_info", {})
        found.append(
            Pin(
                metadata["name"],
                metadata["version"],
                archive.get("hashes", {}).get("sha256", ""),
                tuple(metadata.get("requires_dist") or ()),
            )
        )
    return found


def close(
    pins: Sequence[Pin],
    roots: Sequence[str],
    markers: Mapping[str, str],
    leave_out: frozenset[str] = frozenset(),
) -> Closure:
    """Walk from the requirements ``roots`` with the board's ``markers``; sorted by name.

    leave_out: names that are not followed.
    """
    canonical, parse = _packaging()
    by_name = {canonical(pin.name): pin for pin in pins}
    waiting = [parse(root) for root in roots]
    seen: set[tuple[str, str]] = set()
    used: dict[str, Pin] = {}
    missing: dict[str, None] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonical(requirement.name)
        if name in leave_out:
            continue
        pin = by_name.get(name)
        if pin is None:
            missing[_plain(requirement)] = None
            continue
        used[name] = pin
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [need for text in pin.needs if _holds(need := parse(text), markers, extra)]
    return Closure(tuple(used[name] for name in sorted(used)), tuple(sorted(missing)))


def _holds(requirement: Requirement, markers: Mapping[str, str], extra: str) -> bool:
    if requirement.marker is None:
        return extra == ""  # without a marker it belongs to the package itself
    return requirement.marker.evaluate({**markers, "extra": extra})


def _plain(requirement: Requirement) -> str:
    """Without its marker, which pip would ask of the wrong Python."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def wheel_key(file_name: str) -> tuple[str, str]:
    """Name and version of a wheel's file, in their normal forms. Raises StorageError."""
    _packaging()
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        name, version, _, _ = parse_wheel_filename(file_name)
    except InvalidWheelFilename as error:
        raise StorageError("pip failed: {reason}", reason=error) from error
    return str(name), str(version)


def _packaging() -> tuple[Any, Any]:
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name
    except ImportError as error:  # comes with onnxruntime
        raise MissingDependency(
            "this needs {package}, which is not installed: pip install {package}", package="packaging"
        ) from error
    return canonicalize_name, Requirement
