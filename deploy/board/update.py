"""Switching releases so that at every moment a working one is what runs, or what will run after a reboot.

1. The release is complete and has passed its self-test before anything points to it (``releases.py``).
2. ``pending.json`` names it, what to go back to, and the process that will check it.
3. ``current`` is exchanged by one rename, the service starts anew.
4. Frames come through within the time limit: ``previous`` is set, ``pending.json`` removed. Else, or when
   the checking process is gone (a reset, a kill), ``settle`` points ``current`` back; the service calls it
   before each start.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from imago.deploy.board import process, releases
from imago.deploy.board.health import Health, ask, wait_until_well
from imago.deploy.board.layout import Root, read_json, sync, write_state
from imago.deploy.board.say import step
from imago.deploy.board.service import Service
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.messages import tr

TIMEOUT_S = 90.0
PENDING = "pending.json"


@dataclass(frozen=True, slots=True)
class Switched:
    """changed: whether another release runs now. warning: what could not be checked."""

    release: str
    previous: str | None
    changed: bool
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "release": self.release,
            "previous": self.previous,
            "changed": self.changed,
            "warning": self.warning,
        }


def switch(root: Root, name: str, service: Service, timeout_s: float = TIMEOUT_S) -> Switched:
    """Let release ``name`` run, for good only when it is well.

    Raises DeployError, with the reason, where it is not; then the release before it runs again.
    """
    settle(root)
    if not root.whole(name):
        raise DeployError("there is no whole release {name} on the board; push it again", name=name)
    before = root.current
    prepared = service.prepare()
    if name == before and not prepared and _well_already(root, name, service):
        return Switched(name, root.previous, False)
    step("self-test", tr("checking the release on the board"))
    releases.verify_release(root, root.release(name))
    step("switch", tr("switching to {release}", release=name))
    back = before if before != name else root.previous
    write_state(root / PENDING, {"release": name, "back": back, **process.me()})
    root.point("current", name)
    try:
        service.restart()
        step("check", tr("waiting until frames come through (at most {seconds} s)", seconds=round(timeout_s)))
        health = wait_until_well(root, name, service, timeout_s)
    except DeployError as error:
        health = Health(False, str(error))
    if not health.well:
        _take_back(root, name, back, service, reason=health.reason, timeout_s=timeout_s)
    if before is not None and before != name:
        root.point("previous", before)
    _clear(root)
    return Switched(name, root.previous, before != name, health.warning)


def rollback(root: Root, service: Service, timeout_s: float = TIMEOUT_S) -> Switched:
    """Let the previous release run again. Raises DeployError where there is none, or it does not work."""
    settle(root)
    back = root.previous
    if back is None or back == root.current:
        raise DeployError("there is no earlier release on the board to go back to")
    return switch(root, back, service, timeout_s)


def settle(root: Root) -> str | None:
    """Take back a switch that nobody is checking any more; the release it went back to.

    Called before each start of the service, also by a machine that just came up: a check that a power cut
    ended was not passed.
    """
    pending = read_json(root / PENDING)
    if pending is None:
        (root / PENDING).unlink(missing_ok=True)
        return None
    if process.alive(pending) or not isinstance(pending, dict):
        return None
    back = pending.get("back")
    if isinstance(back, str) and root.whole(back) and root.current != back:
        root.point("current", back)
    _clear(root)
    return root.current


def repair(root: Root, service: Service, *, start: bool = True) -> list[str]:
    """Mend what a cut left behind; what was done, in words."""
    done = []
    before = root.current
    if settle(root) is not None and root.current != before:
        done.append(tr("took back {release}: its check was cut short", release=before))
    if root.current is None:
        fallback = root.previous or next(iter(root.releases()), None)
        if fallback is not None:
            root.point("current", fallback)
            done.append(tr("{release} runs again", release=fallback))
    if start and root.current is not None:
        if service.prepare():
            done.append(tr("the service was put in place again"))
        if not service.state().running:
            service.restart()
            done.append(tr("the service was started again"))
    return done


def status(root: Root, service: Service) -> dict[str, Any]:
    """Everything that a fleet's table wants to know."""
    current, state = root.current, service.state()
    answer = None if current is None else ask(root, current)
    return {
        "service": service.name,
        "running": state.running,
        "pid": state.pid,
        "starts": state.starts,
        "state": state.text,
        "health": answer,
        "current": None if current is None else releases.describe(root, current),
        "previous": None if root.previous is None else releases.describe(root, root.previous),
        "releases": root.releases(),
        "pending": read_json(root / PENDING),
        "signed_only": (root / "trusted.pub").exists(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _well_already(root: Root, name: str, service: Service) -> bool:
    answer = ask(root, name)
    return service.state().running and bool(answer and answer["status"] == 200 and answer.get("frames", 1))


def _take_back(
    root: Root, name: str, back: str | None, service: Service, *, reason: str, timeout_s: float
) -> None:
    """Back to where we were; always raises DeployError."""
    step("rollback", tr("{release} does not work ({reason}); going back", release=name, reason=reason))
    if back is None or not root.whole(back):
        service.stop()
        (root / "current").unlink(missing_ok=True)
        sync(root.path)
        _clear(root)
        raise DeployError(
            "{release} does not work on the board: {reason}; there is no earlier release, so nothing runs",
            release=name,
            reason=reason,
        )
    root.point("current", back)
    _clear(root)
    service.restart()
    health = wait_until_well(root, back, service, max(timeout_s, TIMEOUT_S))
    if health.well:
        raise DeployError(
            "{release} does not work on the board: {reason}; {back} runs again",
            release=name,
            reason=reason,
            back=back,
        )
    raise DeployError(
        "{release} does not work on the board: {reason}; {back} was started again, but is not well: {why}",
        release=name,
        reason=reason,
        back=back,
        why=health.reason,
    )


def _clear(root: Root) -> None:
    (root / PENDING).unlink(missing_ok=True)
    sync(root.path)
