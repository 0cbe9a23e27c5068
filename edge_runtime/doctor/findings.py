"""What the doctor says: findings with a level and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "note", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    check: its name, the same in every language and version (``cpu.dot-product``). level: *ok*; *note*: good
    to know; *warning*: will cost time or records some day; *problem*: something does not work. text, remedy:
    sentences for people, translated; the remedy is empty where nothing has to be done.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they were made."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Report:
        """A report of ``findings``."""
        return cls(tuple(findings))

    @property
    def worst(self) -> Level:
        """The worst level that occurs."""
        return max((f.level for f in self.findings), key=LEVELS.index, default="ok")

    @property
    def exit_code(self) -> int:
        """0: nothing stands in the way; 1: at least one problem."""
        return int(self.worst == "problem")

    def count(self, level: Level) -> int:
        """How many findings have ``level``."""
        return sum(f.level == level for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "doctor_schema": 1,
            "worst": self.worst,
            "counts": {level: self.count(level) for level in LEVELS},
            "findings": [asdict(finding) for finding in self.findings],
        }
