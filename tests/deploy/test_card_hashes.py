"""Passwords: against the specification's own vectors, openssl, and the standard's."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.deploy.flash.card import LOGIN_HASH
from imago.deploy.flash.hashes import login_hash, wifi_key

# From the specification (akkadia.org/drepper/SHA-crypt.txt, public domain).
VECTORS = [
    (
        "Hello world!", "saltstring", 5000,
        ""
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    (
        "Hello world!", "saltstringsaltstring", 10000,
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/"
        "YTBmSK6H9qs/y3RnOaw5v.",
    ),
    (
        "a very much longer text to encrypt.  This one even stretches over morethan one line.",
        "anotherlongsaltstring", 1400,
        "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbt"
        "EW7o7UmJEiDwGqd8p4ur1",
    ),
    (
        "we have a short salt string but not a short password", "short", 77777,
        "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl"
        "5CxtgfiAc0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("password", "salt", "rounds", "expected"), VECTORS)
def test_the_specification(password: str, salt: str, rounds: int, expected: str) -> None:
    assert login_hash(password, salt, rounds) == expected


@settings(max_examples=20, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["C"]), min_size=1, max_size=60),
    st.text("./09AZaz", min_size=1, max_size=16),
)
def test_openssl_agrees(password: str, salt: str) -> None:
    command = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    done = subprocess.run(command, input=f"{password}\n".encode(), capture_output=True, check=True)
    assert login_hash(password, salt) == done.stdout.decode().strip()


def test_no_two_cards_have_the_same_hash() -> None:
    first, second = login_hash("same"), login_hash("same")
    assert first != second
    assert LOGIN_HASH.fullmatch(first)


THIS_IS_A_KEY = "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"


@pytest.mark.parametrize(
    ("password", "ssid", "key"),
    [  # IEEE 802.11-2020, J.4.2
        ("password", "IEEE", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"),
        (
            "ThisIsAPassword",
            "ThisIsASSID",
            "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af",
        ),
        ("a" * 32, "Z" * 32, "becb93866bb8c3832cb777c2f559807c8c59afcb6eae734885001300a981cc62"),
    ],
)
def test_the_wifi_key_of_the_standard(password: str, ssid: str, key: str) -> None:
    assert wifi_key(password, ssid) == key
