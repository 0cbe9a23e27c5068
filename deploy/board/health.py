"""Is the program really working? Its own page says whether frames keep coming; nothing else is believed."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

from imago.deploy.board import examine, runner
from imago.deploy.board.layout import Root
from imago.deploy.board.service import Service, State
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

EVERY_S = 0.25
STEADY_S = 2.0  # so long it must stay well, in one and the same process


@dataclass(frozen=True, slots=True)
class Health:
    """reason: why it is not well, translated. warning: what could not be checked."""

    well: bool
    reason: str = ""
    warning: str = ""
    frames: int = 0


def ask(root: Root, name: str) -> dict[str, Any] | None:
    """What the page of release ``name`` answers on /healthz, with ``status``; None: nobody there."""
    try:
        address = runner.page(root, name)
        connection = http.client.HTTPConnection(address.near, address.port, timeout=3)
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            data = json.loads(answer.read(10_000))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError, InputError):
        return None
    return {**data, "status": answer.status} if isinstance(data, dict) else None


def wait_until_well(root: Root, name: str, service: Service, timeout_s: float) -> Health:
    """Until frames came through and kept coming for a while in one process, or the time is up."""
    without = _no_camera(root, name)
    if without:
        return Health(True, warning=without)
    began, until = time.time(), time.monotonic() + timeout_s
    since, pid, first, last = 0.0, -1, 0, tr("it did not start")
    while True:
        state, answer = service.state(), ask(root, name)
        now = time.monotonic()
        reason = _why_not(state, answer)
        frames = int((answer or {}).get("frames", 0))
        if reason or state.pid != pid:
            last = reason or last
            since, pid, first = now, (-1 if reason else state.pid), frames
        elif now - since >= STEADY_S and frames > first:
            return Health(True, frames=frames)
        elif now - since >= STEADY_S:
            last = tr("no new frames come from the camera")
        if now >= until:
            return Health(False, _with_log(last, service, began - 5), frames=frames)
        time.sleep(EVERY_S)


def _why_not(state: State, answer: dict[str, Any] | None) -> str:
    if not state.running:
        return tr("the program does not stay up") + (f" ({state.text})" if state.text else "")
    if answer is None:
        return tr("its page does not answer")
    if answer["status"] != 200 or not answer.get("healthy"):
        return tr("no frames come from the camera")
    return "" if answer.get("frames", 1) else tr("no frame has come yet")


def _no_camera(root: Root, name: str) -> str:
    """Words, where the source is a camera that is not plugged in: then only the self-test can be had."""
    if examine.wants_camera(root.settings(name).source) and not examine.has_camera():
        return tr(
            "no camera is plugged in: only the model was checked; plug one in, then look again with "
            "imago deploy … --status"
        )
    return ""


def _with_log(reason: str, service: Service, since: float) -> str:
    """The reason, with what the program itself said last."""
    said = [line for line in service.logs(40, since) if "imago:" in line or "Error" in line]
    return f"{reason}; {said[-1].strip()[-300:]}" if said else reason
