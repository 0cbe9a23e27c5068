"""Where events are sent: broker, topic, and who we are there."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from imago.edge_runtime.errors import InputError

PORTS = {"mqtt": 1883, "mqtts": 8883}
USER, PASSWORD = "IMAGO_MQTT_USER", "IMAGO_MQTT_PASSWORD"
MAX_FILE = 4096
TOPIC = re.compile(r"[^+#\0/\s]{1,64}(/[^+#\0/\s]{1,64}){0,7}")


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """One broker. prefix: first part of all topics. tls: encrypted, the broker's certificate checked against
    ``ca`` or the system's authorities. discovery: where Home Assistant looks for devices.
    """

    host: str
    port: int = 1883
    prefix: str = "imago"
    tls: bool = False
    ca: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    discovery: str = "homeassistant"

    @property
    def node(self) -> str:
        """Identifier of this device, letters, digits, ``_`` and ``-`` only."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", self.prefix)

    @property
    def address(self) -> str:
        """For people; without credentials."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}/{self.prefix}"


def parse_mqtt(
    url: str,
    *,
    ca: Path | None = None,
    credentials: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> MqttOptions:
    """``mqtt://host[:port][/topic/prefix]``, or ``mqtts://`` for TLS.

    credentials: a file with the user on its first line and the password on the second, else the variables
    IMAGO_MQTT_USER and IMAGO_MQTT_PASSWORD; a command line is for all to read. The prefix is
    ``imago/<host name>`` where none is given.

    Raises InputError where something of it is not usable.
    """
    parts, port = _split(url)
    prefix = unquote(parts.path).strip("/") or f"imago/{_host_name()}"
    if not TOPIC.fullmatch(prefix):
        raise InputError("'{prefix}' cannot be a topic; leave out + # and spaces", prefix=prefix)
    tls = parts.scheme == "mqtts"
    if ca is not None and not (tls and ca.is_file()):
        raise InputError("{path} is no certificate file, or the address is not mqtts://…", path=ca)
    user = environment.get(USER) or None
    password = environment.get(PASSWORD) or None
    if credentials is not None:
        user, password = read_credentials(credentials)
    host = parts.hostname or ""
    return MqttOptions(host, port or PORTS[parts.scheme], prefix, tls, ca, user, password)


def read_credentials(path: Path) -> tuple[str, str | None]:
    """User and password from a file that only its owner may read. Raises InputError."""
    try:
        with path.open(encoding="utf-8") as file:
            if sys.platform != "win32" and os.fstat(file.fileno()).st_mode & 0o077:
                raise InputError("{path} can be read by others; run: chmod 600 {path}", path=path)
            lines = file.read(MAX_FILE).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot read {path}: {reason}", path=path, reason=error) from error
    if not lines or not lines[0].strip():
        raise InputError("{path} is empty; expected the user on line 1, the password on line 2", path=path)
    return lines[0].strip(), (lines[1] if len(lines) > 1 else None)


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = urlsplit(""), None, None
    if parts.scheme not in PORTS or not host or parts.query or parts.fragment or port == 0:
        raise InputError("this is no broker's address; expected for example mqtt://192.168.1.5:1883")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "no password on the command line, where all can read it; use --mqtt-credentials FILE, or "
            "{user} and {password} in the environment",
            user=USER,
            password=PASSWORD,
        )
    return parts, port


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())[:60] or "camera"
