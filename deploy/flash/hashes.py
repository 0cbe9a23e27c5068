"""Passwords as the card stores them: SHA-512 crypt for the login, PBKDF2 for the Wi-Fi.

Python 3.13 has no ``crypt`` module any more, and not every ``openssl passwd`` knows SHA-512. The login hash
follows Ulrich Drepper's "Unix crypt using SHA-256 and SHA-512" (version 0.6), with its vectors as tests.
"""

from __future__ import annotations

import hashlib
import secrets

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SALT_CHARACTERS = 16
ROUNDS = 5000  # the scheme's default: a hash that does not name its rounds means 5000
WPA_ITERATIONS, WPA_BYTES = 4096, 32  # IEEE 802.11-2020, J.4.1
SHA512_BYTES = 64


def login_hash(password: str, salt: str | None = None, rounds: int = ROUNDS) -> str:
    """``$6$salt$hash`` of ``password`` with a fresh salt, as /etc/shadow takes it."""
    chosen = salt if salt is not None else "".join(secrets.choice(ALPHABET) for _ in range(SALT_CHARACTERS))
    chosen = chosen[:SALT_CHARACTERS]
    named = "" if rounds == ROUNDS else f"rounds={rounds}$"
    return f"$6${named}{chosen}${_encode(_crypt(password.encode(), chosen.encode(), rounds))}"


def wifi_key(password: str, ssid: str) -> str:
    """The key that WPA2 derives from a password of 8 to 63 characters, as 64 hexadecimal digits."""
    key = hashlib.pbkdf2_hmac("sha1", password.encode(), ssid.encode(), WPA_ITERATIONS, WPA_BYTES)
    return key.hex()


def _crypt(password: bytes, salt: bytes, rounds: int) -> bytes:
    """Steps 1 to 21 of the specification."""
    first = hashlib.sha512(password + salt + password).digest()
    mixed = hashlib.sha512(password + salt + _repeat(first, len(password)))
    bits = len(password)
    while bits:
        mixed.update(first if bits & 1 else password)
        bits >>= 1
    digest = mixed.digest()
    p = _repeat(hashlib.sha512(password * len(password)).digest(), len(password))
    s = _repeat(hashlib.sha512(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):
        odd = number & 1
        data = (p if odd else digest) + (s if number % 3 else b"") + (p if number % 7 else b"")
        digest = hashlib.sha512(data + (digest if odd else p)).digest()
    return digest


def _repeat(block: bytes, length: int) -> bytes:
    return (block * (length // len(block) + 1))[:length]


def _encode(digest: bytes) -> str:
    """Step 22: 3 bytes at a time, in the order of the specification, as 4 characters of 6 bits."""
    third = SHA512_BYTES // 3
    text = ""
    for step in range(third):
        triple = [step, step + third, step + 2 * third]
        turn = step % 3
        a, b, c = triple[turn:] + triple[:turn]
        text += _characters(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
    return text + _characters(digest[SHA512_BYTES - 1], 2)


def _characters(value: int, count: int) -> str:
    return "".join(ALPHABET[value >> 6 * place & 63] for place in range(count))
