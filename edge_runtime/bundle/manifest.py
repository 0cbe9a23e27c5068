"""What a bundle says about itself: ``manifest.json``, its first member. Standard library only.

The manifest lists every other member with size and SHA-256, so that its own SHA-256 names the whole
content: that is the bundle's ``id``, and the name of a release on a board.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from imago.edge_runtime.bundle.names import MANIFEST
from imago.edge_runtime.bundle.settings import RunSettings
from imago.edge_runtime.errors import BundleError, ImagoError

__all__ = ["MANIFEST", "BoardNeeds", "Manifest", "Member", "Variant"]
BUNDLE_SCHEMA = 1
MAX_MANIFEST = 1_000_000  # bytes
MAX_MEMBERS = 64
MAX_MEMBER = 2_000_000_000  # bytes: zip without its 64-bit extension
MAX_TOTAL = 3_900_000_000
ENGINES = {".onnx": "onnxruntime", ".tflite": "litert"}
MACHINES = ("aarch64", "x86_64")
NAME = re.compile(r"models/(?![.\s])[^\0-\x1f\x7f/\\:*?\"<>|]{1,100}(?<![.\s])\.(onnx|tflite)")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the bundle. size: bytes."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        _want(isinstance(self.sha256, str) and bool(SHA256.fullmatch(self.sha256)), "a SHA-256", self.sha256)
        _want(type(self.size) is int and 0 < self.size <= MAX_MEMBER, "a size", self.size)


@dataclass(frozen=True, slots=True)
class Variant:
    """One model file: which engine opens it, and what it is. input: width, height, channels."""

    file: str
    engine: str
    precision: str
    labels: int
    labels_sha256: str
    input: tuple[int, int, int]
    accuracy: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", tuple(self.input))
        object.__setattr__(self, "accuracy", tuple(self.accuracy))
        _want(isinstance(self.file, str) and good_name(self.file), "a model's name", self.file)
        _want(self.engine == ENGINES.get(suffix(self.file)), "an engine", self.engine)
        _want(isinstance(self.precision, str) and 0 < len(self.precision) < 40, "a precision", self.precision)
        _want(type(self.labels) is int and self.labels > 0, "a number of classes", self.labels)
        _want(bool(SHA256.fullmatch(str(self.labels_sha256))), "a SHA-256", self.labels_sha256)
        sides = len(self.input) == 3 and all(type(v) is int and 0 < v <= 4096 for v in self.input)
        _want(sides, "an input size", self.input)
        _want(all(isinstance(v, Mapping) for v in self.accuracy), "accuracies", self.accuracy)


@dataclass(frozen=True, slots=True)
class BoardNeeds:
    """The least that a board must have. features: words of /proc/cpuinfo; memory_mb: in all, not free."""

    machines: tuple[str, ...] = MACHINES
    python: str = "3.11"
    features: tuple[str, ...] = ()
    memory_mb: int = 0

    def __post_init__(self) -> None:
        for name in ("machines", "features"):
            words = tuple(getattr(self, name))
            object.__setattr__(self, name, words)
            good = len(words) <= 32 and all(re.fullmatch(r"\w{1,32}", str(v)) for v in words)
            _want(good, name, words)
        _want(bool(re.fullmatch(r"3\.\d{1,3}", str(self.python))), "a Python version", self.python)
        _want(type(self.memory_mb) is int and 0 <= self.memory_mb < 10**7, "megabytes", self.memory_mb)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of it. name: for people. variants: the first that the board has an engine for is run."""

    name: str
    imago: str
    variants: tuple[Variant, ...]
    members: Mapping[str, Member]
    run: RunSettings = field(default_factory=RunSettings)
    needs: BoardNeeds = field(default_factory=BoardNeeds)
    extras: tuple[str, ...] = ()
    bundle_schema: int = BUNDLE_SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "variants", tuple(self.variants))
        object.__setattr__(self, "extras", tuple(self.extras))
        _want(self.bundle_schema == BUNDLE_SCHEMA, "schema 1", self.bundle_schema)
        named = isinstance(self.name, str) and 0 < len(self.name) <= 100 and self.name.isprintable()
        _want(named, "a name", self.name)
        _want(bool(re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,40}", str(self.imago))), "a version", self.imago)
        _want(0 < len(self.members) <= MAX_MEMBERS, "1 to 64 members", len(self.members))
        _want(all(map(good_name, self.members)), "member names", sorted(self.members)[:3])
        folded = {unicodedata.normalize("NFC", name).casefold() for name in self.members}
        _want(len(folded) == len(self.members), "names that differ by more than case", sorted(self.members))
        _want(sum(m.size for m in self.members.values()) <= MAX_TOTAL, "at most 3.9 GB", "more")
        files = [variant.file for variant in self.variants]
        _want(sorted(files) == sorted(self.members), "every member as one variant", files)
        _want(len({v.labels_sha256 for v in self.variants}) == 1, "one list of classes", files)
        _want(set(self.extras) <= {"camera", "litert", "mqtt", "sign"}, "extras", self.extras)

    def to_bytes(self) -> bytes:
        """The member's bytes: the same manifest gives the same bytes."""
        data = {
            **{key: getattr(self, key) for key in ("bundle_schema", "name", "imago")},
            "extras": list(self.extras),
            "variants": [asdict(variant) for variant in self.variants],
            "run": self.run.to_dict(),
            "needs": asdict(self.needs),
            "members": {name: asdict(member) for name, member in sorted(self.members.items())},
        }
        return (json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()

    @property
    def id(self) -> str:
        """SHA-256 of ``to_bytes``: names the content, and nothing else has this name."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def release(self) -> str:
        """The name of its release on a board: short, and good for a folder."""
        return self.id[:16]

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read and validate. Raises BundleError for anything that ``to_bytes`` would not write."""
        if len(data) > MAX_MANIFEST:
            raise damaged(f"{MANIFEST}: {len(data)} bytes")
        try:
            manifest = cls._of(json.loads(data.decode("utf-8"), parse_constant=_no_constant))
        except ImagoError:
            raise
        except Exception as error:  # any shape of foreign JSON ends in the same one clear line
            raise damaged(f"{MANIFEST}: {type(error).__name__}: {error}"[:200]) from error
        if manifest.to_bytes() != data:
            raise damaged(f"{MANIFEST}: not in the form that imago writes")
        return manifest

    @classmethod
    def _of(cls, data: Any) -> Manifest:
        if not isinstance(data, dict) or data.get("bundle_schema") != BUNDLE_SCHEMA:
            found = data.get("bundle_schema") if isinstance(data, dict) else None
            raise BundleError(
                "the bundle has schema {found}, this imago reads {known}; update imago-edge",
                found=repr(found)[:20],
                known=BUNDLE_SCHEMA,
            )
        return cls(
            name=data["name"],
            imago=data["imago"],
            variants=tuple(Variant(**variant) for variant in data["variants"]),
            members={name: Member(**member) for name, member in data["members"].items()},
            run=RunSettings.from_dict(data["run"]),
            needs=BoardNeeds(**data["needs"]),
            extras=tuple(data["extras"]),
        )


def good_name(name: str) -> bool:
    """Whether a member may be called so: one file in ``models/``, on every system, and never outside."""
    return NAME.fullmatch(name) is not None and name.isprintable() and len(name.encode()) <= 240


def suffix(name: str) -> str:
    """``models/a.onnx`` → ``.onnx``."""
    return name[name.rfind(".") :]


def labels_digest(labels: tuple[str, ...]) -> str:
    """SHA-256 of the class names in index order."""
    return hashlib.sha256(json.dumps(list(labels), ensure_ascii=False).encode()).hexdigest()


def damaged(reason: str) -> BundleError:
    """The one error for a bundle that imago did not write, or that was changed since."""
    return BundleError(
        "this bundle is damaged or not made by imago bundle ({reason}); nothing of it was used: "
        "make it again, or copy it again",
        reason=reason,
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _want(ok: bool, expected: str, value: object) -> None:
    if not ok:
        raise damaged(f"expected {expected}, found {value!r}"[:200])
