"""The values of `imago data check`: a finding, the report, and the report as lines for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from imago.edge_runtime.messages import tr

Severity = Literal["error", "warning", "info"]
RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
BAR = 24
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing found.

    kind: stable word for programs. message: translated: what it is, what it means for training, what to do.
    files: every file concerned. groups: for duplicates, which files are the same picture.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """counts: class → split → pictures. findings: worst first. notes: what was decided when splitting."""

    root: str
    layout: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing was found that stops training or makes its result wrong."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def n(self) -> int:
        """Number of pictures."""
        return sum(sum(per_split.values()) for per_split in self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"usable": self.usable, "n": self.n, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """The report for people: a table of counts with bars, then the findings."""
        yield tr("{root}: {layout}, {n} pictures", root=self.root, layout=tr(self.layout), n=self.n)
        yield ""
        yield from self._table()
        yield ""
        for note in self.notes:
            yield f"· {note}"
        marks: dict[Severity, str] = {
            "error": tr("ERROR"),
            "warning": tr("warning"),
            "info": tr("remark"),
        }
        for finding in self.findings:
            yield f"{marks[finding.severity]}: {finding.message}"
            rows = [" = ".join(group) for group in finding.groups] or list(finding.files)
            yield from (f"    {row}" for row in rows[:SHOWN])
            if len(rows) > SHOWN:
                yield "    " + tr("… and {n} more (all of them with --json)", n=len(rows) - SHOWN)
        if not self.findings:
            yield tr("nothing to complain about")
        yield tr("usable for training") if self.usable else tr("not usable yet: mend the errors above")

    def _table(self) -> Iterator[str]:
        splits = sorted({split for row in self.counts.values() for split in row}, key="train val test".find)
        width = max(map(_columns, (*self.classes, tr("class"))))
        most = max((sum(row.values()) for row in self.counts.values()), default=0) or 1
        yield _pad(tr("class"), width) + "".join(f"{split:>8}" for split in splits)
        for name in self.classes:
            row = self.counts[name]
            bar = "█" * round(BAR * sum(row.values()) / most)
            yield _pad(name, width) + "".join(f"{row.get(split, 0):>8}" for split in splits) + f"  {bar}"


def _columns(text: str) -> int:
    """Terminal columns: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))
