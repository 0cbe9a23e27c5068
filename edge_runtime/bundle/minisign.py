"""Detached signatures in minisign's format: ``x.imago.minisig`` beside ``x.imago``.

Ed25519 over the BLAKE2b-512 of the file ("prehashed", algorithm ``ED``), with a signed comment. Format:
https://jedisct1.github.io/minisign/ ; Debian's minisign reads what is written here, and the other way round.
The curve comes from PyNaCl (extra ``sign``), imported only when something is signed or checked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import BundleError, InputError, MissingDependency, StorageError
from imago.edge_runtime.files import write_text

SUFFIX = ".minisig"
PLAIN, PREHASHED = b"Ed", b"ED"
NO_KDF, CHECKSUM = b"\0\0", b"B2"
MAX_FILE = 10_000
SECRET = struct.Struct("<2s2s2s32sQQ8s64s32s")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """key_id: 8 bytes that name it; raw: the Ed25519 key."""

    key_id: bytes
    raw: bytes

    def text(self) -> str:
        """The key file's content."""
        line = base64.b64encode(PLAIN + self.key_id + self.raw).decode()
        return f"untrusted comment: minisign public key {shown(self.key_id)}\n{line}\n"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """seed: 32 secret bytes."""

    public: PublicKey
    seed: bytes

    def text(self) -> str:
        """The key file's content; not encrypted, as ``minisign -G -W`` writes it."""
        secret = self.seed + self.public.raw
        check = _checksum(self.public.key_id, secret)
        parts = (PLAIN, NO_KDF, CHECKSUM, bytes(32), 0, 0, self.public.key_id, secret, check)
        line = base64.b64encode(SECRET.pack(*parts)).decode()
        return f"untrusted comment: minisign unencrypted secret key\n{line}\n"


def new_key() -> SecretKey:
    """A new pair."""
    seed = os.urandom(32)
    public = bytes(_nacl().SigningKey(seed).verify_key)
    return SecretKey(PublicKey(os.urandom(8), public), seed)


def write_keys(secret: Path, public: Path) -> SecretKey:
    """Make a pair and keep it in two new files, the secret one for its owner only. Raises InputError."""
    for path in (secret, public):
        if path.exists():
            raise InputError("{path} is there already; a key is never overwritten", path=path)
    key = new_key()
    try:
        secret.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(key.text())
    except OSError as error:
        raise StorageError("cannot write {path}: {reason}", path=secret, reason=error.strerror) from error
    write_text(public, key.public.text())
    return key


def read_public_key(path: Path) -> PublicKey:
    """A public key file of minisign, or of ``imago bundle keygen``. Raises InputError."""
    raw = _second_line(path)
    if len(raw) != 42 or raw[:2] != PLAIN:
        raise _no_key(path)
    return PublicKey(raw[2:10], raw[10:])


def read_secret_key(path: Path) -> SecretKey:
    """A secret key file without a password. Raises InputError."""
    raw = _second_line(path)
    if len(raw) != SECRET.size:
        raise _no_key(path)
    kind, kdf, check_kind, _, _, _, key_id, secret, check = SECRET.unpack(raw)
    if kdf != NO_KDF:
        raise InputError(
            "the key {path} is protected by a password, which imago cannot ask for; make one without: "
            "imago bundle keygen, or minisign -G -W",
            path=path,
        )
    good = kind == PLAIN and check_kind == CHECKSUM
    # minisign 0.11 leaves the checksum of a key without password empty.
    if not good or check not in (bytes(32), _checksum(key_id, secret)):
        raise _no_key(path)
    return SecretKey(PublicKey(key_id, secret[32:]), secret[:32])


def sign(pieces: Iterable[bytes], key: SecretKey, comment: str) -> str:
    """The signature file for the content in ``pieces``. comment: one line, signed as well."""
    signer = _nacl().SigningKey(key.seed)
    signature = bytes(signer.sign(_prehash(pieces)).signature)
    both = bytes(signer.sign(signature + comment.encode()).signature)
    line = base64.b64encode(PREHASHED + key.public.key_id + signature).decode()
    return (
        f"untrusted comment: signature from imago, key {shown(key.public.key_id)}\n{line}\n"
        f"trusted comment: {comment}\n{base64.b64encode(both).decode()}\n"
    )


def check(pieces: Iterable[bytes], signature: str, key: PublicKey) -> str:
    """The signed comment, where ``signature`` (a file's text) is ``key``'s for this content.

    Raises BundleError where it is not.
    """
    lines = signature.split("\n")
    try:
        first, both = (base64.b64decode(lines[n], validate=True) for n in (1, 3))
        comment = lines[2]
        if len(first) != 74 or len(both) != 64 or not comment.startswith("trusted comment: "):
            raise ValueError
    except (binascii.Error, ValueError, IndexError):
        raise BundleError("the signature is no minisign signature; sign the bundle again") from None
    if first[:2] != PREHASHED:
        raise BundleError("the signature is of minisign's old kind; sign again without -l")
    if first[2:10] != key.key_id:
        raise BundleError(
            "the bundle is signed with key {found}, this board trusts {wanted}; it was refused",
            found=shown(first[2:10]),
            wanted=shown(key.key_id),
        )
    comment = comment.removeprefix("trusted comment: ").rstrip("\r")
    wrong = BundleError("the signature does not fit the bundle: one of them was changed; it was refused")
    bad = _bad_signature()
    verifier = _nacl().VerifyKey(key.raw)
    try:
        verifier.verify(_prehash(pieces), first[10:])
        verifier.verify(first[10:] + comment.encode(), both)
    except bad:
        raise wrong from None
    return comment


def read_signature(path: Path) -> str:
    """The text of a signature file. Raises BundleError where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            "cannot read the signature {path}; sign the bundle: imago bundle … --sign KEY", path=path
        ) from error


def file_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def shown(key_id: bytes) -> str:
    """The key's number as minisign prints it."""
    return key_id[::-1].hex().upper()


def _prehash(pieces: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=64)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _checksum(key_id: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(PLAIN + key_id + secret, digest_size=32).digest()


def _second_line(path: Path) -> bytes:
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line for line in file.read(MAX_FILE).splitlines() if line.strip()]
        return base64.b64decode(lines[min(1, len(lines) - 1)], validate=True)
    except (OSError, UnicodeDecodeError, binascii.Error, ValueError, IndexError) as error:
        raise _no_key(path) from error


def _no_key(path: Path) -> InputError:
    return InputError(
        "{path} is no minisign key of the expected kind; imago bundle keygen makes a pair", path=path
    )


def _nacl() -> Any:
    try:
        import nacl.signing
    except ImportError:
        raise MissingDependency(
            "signatures need PyNaCl, which is not installed: pip install 'imago-edge[sign]'"
        ) from None
    return nacl.signing


def _bad_signature() -> type[Exception]:
    _nacl()
    import nacl.exceptions

    kind: type[Exception] = nacl.exceptions.BadSignatureError
    return kind
