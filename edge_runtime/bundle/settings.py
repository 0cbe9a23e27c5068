"""How a bundle wants to be run: the options of ``imago run`` as data. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from imago.edge_runtime.errors import BundleError

MAX_TEXT = 500
MAX_CONTROLS = 32
# Paths and secrets are the board's own and never come out of a bundle: records go to the board's folder,
# credentials are read from it.
TEXTS = ("source", "size", "roi", "motion", "mqtt", "web")
NUMBERS = ("fps", "max_fps", "threshold", "gap", "records_quota")
CONTROL = re.compile(r"[A-Za-z0-9_.-]{1,60}=[^\0\n]{1,200}")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """None, False and () mean: as ``imago run`` does by itself. The names are those of its flags.

    records: keep visits, in a folder that the board chooses.
    """

    source: str | None = None
    size: str | None = None
    control: tuple[str, ...] = ()
    fps: float | None = None
    max_fps: float | None = None
    realtime: bool = False
    roi: str | None = None
    motion: str | None = None
    threshold: float | None = None
    gap: float | None = None
    records: bool = False
    records_quota: float | None = None
    mqtt: str | None = None
    web: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "control", tuple(self.control))
        for name in TEXTS:
            _check(name, getattr(self, name), _is_text)
        for name in NUMBERS:
            _check(name, getattr(self, name), _is_number)
        _check("threads", self.threads, lambda v: type(v) is int and 1 <= v <= 1024)
        _check("realtime", self.realtime, lambda v: isinstance(v, bool))
        _check("records", self.records, lambda v: isinstance(v, bool))
        _check("control", self.control, lambda v: len(v) <= MAX_CONTROLS and all(map(_is_control, v)))

    @classmethod
    def from_dict(cls, data: Any) -> RunSettings:
        """Inverse of ``to_dict``. Raises BundleError for what is no setting."""
        if not isinstance(data, dict):
            raise _unusable("run", data)
        known = {field.name for field in fields(cls)}
        for name in data:
            if name not in known:
                raise BundleError(
                    "the bundle has a setting that this imago does not know: {name}; update imago-edge",
                    name=repr(name)[:60],
                )
        if not isinstance(data.get("control", []), (list, tuple)):
            raise _unusable("control", data["control"])
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as plain JSON values."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in data.items()
            if value not in (None, False, ())
        }

    def merged(self, other: RunSettings) -> RunSettings:
        """These settings, with what ``other`` says in their place."""
        return RunSettings.from_dict({**self.to_dict(), **other.to_dict()})

    def arguments(self, records: str | None = None) -> list[str]:
        """For ``imago run``: one word each, so that no value can pass for a flag. records: the folder."""
        words: list[str] = []
        for name, value in self.to_dict().items():
            flag = "--" + name.replace("_", "-")
            if name == "control":
                words += [f"{flag}={item}" for item in value]
            elif name == "records":
                words += [f"{flag}={records}"] if records else []
            elif value is True:
                words.append(flag)
            else:
                words.append(f"{flag}={value}")
        return words


def settings_of(values: Mapping[str, Any]) -> RunSettings:
    """The settings among ``values`` (parsed flags of a command); the rest is left alone."""
    names = [field.name for field in fields(RunSettings)]
    return RunSettings.from_dict({n: values[n] for n in names if values.get(n) not in (None, False, (), [])})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e9


def _is_control(value: Any) -> bool:
    return isinstance(value, str) and CONTROL.fullmatch(value) is not None


def _check(name: str, value: Any, usable: Any) -> None:
    if value is not None and not usable(value):
        raise _unusable(name, value)


def _unusable(name: str, value: Any) -> BundleError:
    return BundleError(
        "the bundle's setting {name} is {value}, which is not usable", name=name, value=repr(value)[:80]
    )
