"""Telling systemd how we are (sd_notify): ready, alive, what we do, stopping.

One datagram to the socket that systemd names in NOTIFY_SOCKET (sd_notify(3)); without it nothing is
done. With ``WatchdogSec=`` in the unit systemd restarts a program that has not said ``WATCHDOG=1`` for that
long; it is said by the main loop, so that a loop that hangs is noticed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

STATUS_EVERY_S = 5.0


class Notifier:
    """The line to systemd; all calls are harmless where there is none.

    address: of the socket (``@name`` and ``\\0name`` are abstract). watchdog_s: systemd's patience, None: it
    does not watch.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = (
            None if not address else address.replace("@", "\0", 1) if address[0] == "@" else address
        )
        self._period = None if watchdog_s is None else watchdog_s / 3
        self._socket: socket.socket | None = None
        self._beaten = self._told = float("-inf")
        self._status = ""
        if self._address is not None:
            import socket  # a third of a megabyte that only systemd's service needs

            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # systemd is busy: then this once nothing is said

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """As systemd asks for it in NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        micros, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        watched = int(micros) / 1e6 if micros.isdigit() and int(micros) > 0 and ours else None
        address = environment.get("NOTIFY_SOCKET")
        return cls(address if address and address[0] in "/@" else None, watched)

    def ready(self) -> None:
        """The program has started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """It ends, in order."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """It is well; call it as often as you like."""
        now = time.monotonic()
        if self._period is not None and now - self._beaten >= self._period:
            self._beaten = now
            self._send("WATCHDOG=1")

    def status(self, text: str, *, at_once: bool = False) -> None:
        """One line for ``systemctl status``; repeated and hurried ones are left out unless ``at_once``."""
        now = time.monotonic()
        if text != self._status and (at_once or now - self._told >= STATUS_EVERY_S):
            self._status, self._told = text, now
            self._send("STATUS=" + " ".join(text.split()))

    def wants_status(self) -> bool:
        """Whether it is time for another line."""
        return self._socket is not None and time.monotonic() - self._told >= STATUS_EVERY_S

    def _send(self, text: str) -> None:
        if self._socket is None or self._address is None:
            return
        with contextlib.suppress(OSError):  # nobody listens any more: that is systemd's affair
            self._socket.sendto(text.encode("utf-8"), self._address)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
