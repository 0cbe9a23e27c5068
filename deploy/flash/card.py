"""What the user chose for a card; checked before anything is unpacked or written."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass, field
from pathlib import Path

from imago.edge_runtime.errors import InputError

HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
TAKEN_USERS = ("root", "imago")  # the second is the service's own
COUNTRY = re.compile(r"[A-Z]{2}")
ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")
LOGIN_HASH = re.compile(r"\$6\$[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}")
SSH_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" AAAA[0-9A-Za-z+/]+=*( [^\r\n\t]*)?"
)
WIFI_KEY = re.compile(r"[0-9a-f]{64}")
MAX_SSID_BYTES = 32  # IEEE 802.11-2020, 9.4.2.2
PASSWORD_BYTES = range(8, 64)  # of a Wi-Fi password
MAX_KEY_FILE = 64_000


@dataclass(frozen=True, slots=True)
class Wifi:
    """A network to join. key: 64 hexadecimal digits, or "" where it is open."""

    ssid: str
    key: str = field(default="", repr=False)
    hidden: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.ssid.encode()) <= MAX_SSID_BYTES or not self.ssid.isprintable():
            raise InputError(
                "'{ssid}' is no Wi-Fi name; expected 1 to {limit} bytes without control characters",
                ssid=self.ssid,
                limit=MAX_SSID_BYTES,
            )
        if self.key and not WIFI_KEY.fullmatch(self.key):
            raise InputError("the Wi-Fi key is not 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Card:
    """Names, login, network and place of one board. password_hash: from ``login_hash``, or "" for none."""

    hostname: str = "imago"
    user: str = "pi"
    password_hash: str = field(default="", repr=False)
    ssh_keys: tuple[str, ...] = ()
    wifi: Wifi | None = None
    country: str = ""
    timezone: str = ""

    def __post_init__(self) -> None:
        if not HOSTNAME.fullmatch(self.hostname):
            raise InputError(
                "'{name}' is no host name; expected small letters, digits and hyphens, at most 63",
                name=self.hostname,
            )
        if not USER.fullmatch(self.user) or self.user in TAKEN_USERS:
            raise InputError(
                "'{name}' cannot be the user's name; expected small letters, digits, - and _, not {taken}",
                name=self.user,
                taken=", ".join(TAKEN_USERS),
            )
        if self.password_hash and not LOGIN_HASH.fullmatch(self.password_hash):
            raise InputError("the login password was not hashed")
        for key in self.ssh_keys:
            if not SSH_KEY.fullmatch(key):
                raise InputError("'{key}' is no public SSH key", key=key[:40])
        self._check_place()

    def _check_place(self) -> None:
        if self.country and not COUNTRY.fullmatch(self.country):
            raise InputError(
                "'{country}' is no country code; expected two capital letters, such as GB or CN",
                country=self.country,
            )
        if self.wifi is not None and not self.country:
            raise InputError("Wi-Fi needs --country: without it the radio stays off (two letters: GB, CN, …)")
        if self.timezone and not (ZONE.fullmatch(self.timezone) and _is_zone(self.timezone)):
            raise InputError(
                "'{zone}' is no time zone; expected for example Europe/London or Asia/Shanghai",
                zone=self.timezone,
            )

    @property
    def has_login(self) -> bool:
        """Whether anybody can log in."""
        return bool(self.password_hash or self.ssh_keys)


def _is_zone(name: str) -> bool:
    """Whether this PC knows the zone; one without a zone database (Windows) believes everything."""
    for known in (name, "Europe/London"):
        try:
            zoneinfo.ZoneInfo(known)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            continue
        return known == name
    return True


def read_wifi_password(text: str, ssid: str) -> str:
    """The key for a password of 8 to 63 bytes; 64 hexadecimal digits are a key already. Raises InputError."""
    from imago.deploy.flash.hashes import wifi_key

    if WIFI_KEY.fullmatch(text.lower()):
        return text.lower()
    if len(text.encode()) not in PASSWORD_BYTES or not text.isprintable():
        raise InputError(
            "the Wi-Fi password for {ssid} has {n} bytes; expected 8 to 63 (or a key of 64 hexadecimal "
            "digits)",
            ssid=ssid,
            n=len(text.encode()),
        )
    return wifi_key(text, ssid)


def read_ssh_keys(path: Path) -> tuple[str, ...]:
    """The public keys in a file, one a line. Raises InputError, also where it is the private key."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise InputError("cannot read {path}: {reason}", path=path, reason=error.strerror or error) from error
    if b"PRIVATE KEY" in content:
        raise InputError("{path} is the private key, which stays with you; give {path}.pub", path=path)
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys or len(content) > MAX_KEY_FILE or not all(SSH_KEY.fullmatch(key) for key in keys):
        raise InputError(
            "{path} is no public SSH key; expected a line such as ssh-ed25519 AAAA… (ssh-keygen makes one)",
            path=path,
        )
    return keys
