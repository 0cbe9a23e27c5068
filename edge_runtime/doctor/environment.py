"""The Python around us: virtual environment, and whether apt's picamera2 can be seen from inside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imago.edge_runtime.doctor.findings import Finding
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import pairs


@dataclass(frozen=True, slots=True)
class Environment:
    """version: this Python's. pyvenv: text of pyvenv.cfg, None outside of a virtual environment.

    managed: the system's Python belongs to apt (PEP 668), so that pip refuses to install into it.
    system_python: version of /usr/bin/python3 as far as known. apt_picamera2: apt's picamera2 is installed.
    """

    version: str
    pyvenv: str | None
    managed: bool
    system_python: str | None
    apt_picamera2: bool

    @property
    def sees_apt(self) -> bool:
        """Whether modules that apt installed can be imported here."""
        if self.pyvenv is None:
            return True
        return pairs(self.pyvenv, "=").get("include-system-site-packages", "").lower() == "true"


def environment_findings(env: Environment, is_pi: bool) -> Iterator[Finding]:
    """Version, virtual environment and the way to apt's modules."""
    yield Finding("python.version", "ok", tr("Python {version}", version=env.version))
    if env.pyvenv is None and env.managed:
        yield Finding(
            "python.venv",
            "note",
            tr("no virtual environment: pip refuses to install into the system's Python"),
            tr("python3 -m venv --system-site-packages ~/imago && ~/imago/bin/pip install imago-edge"),
        )
    elif env.sees_apt:
        yield Finding("python.venv", "ok", tr("modules installed by apt can be seen"))
    else:
        yield _closed_venv(is_pi or env.apt_picamera2)
    if env.system_python and _minor(env.system_python) != _minor(env.version) and env.apt_picamera2:
        yield Finding(
            "python.system",
            "warning",
            tr(
                "this is Python {version}, apt's picamera2 is built for {system}: it cannot be imported",
                version=env.version,
                system=env.system_python,
            ),
            tr("make the virtual environment with /usr/bin/python3"),
        )


def picamera2_findings(env: Environment, installed: bool, is_pi: bool) -> Iterator[Finding]:
    """Is picamera2 there, and if not, is apt's merely out of sight?"""
    if installed or not is_pi:
        return
    if env.apt_picamera2 and not env.sees_apt:
        text = tr("apt's picamera2 is installed, but this virtual environment does not see it")
        yield Finding("camera.picamera2", "problem", text, _open_venv())
    else:
        yield Finding(
            "camera.picamera2",
            "note",
            tr("picamera2 is not installed: the ribbon-cable camera cannot be used (USB cameras can)"),
            "sudo apt install --no-install-recommends python3-picamera2",
        )


def _closed_venv(matters: bool) -> Finding:
    text = tr("this virtual environment does not see modules installed by apt")
    if not matters:
        return Finding("python.venv", "ok", text)
    return Finding("python.venv", "note", text, _open_venv())


def _open_venv() -> str:
    return tr(
        "make it again with python3 -m venv --system-site-packages, or set "
        "include-system-site-packages = true in its pyvenv.cfg"
    )


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
