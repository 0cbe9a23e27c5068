"""A plain table for people, as lines of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    last: Sequence[str] | None = None,
) -> list[str]:
    """Lines of a plain table. right: columns set flush right. Chinese characters take two places."""
    lines = [head, *rows, *([last] if last else [])]
    widths = [max(_places(line[i]) for line in lines) for i in range(len(head))]

    def text(line: Sequence[str]) -> str:
        cells = (_pad(cell, widths[i], i in right) for i, cell in enumerate(line))
        return "  ".join(cells).rstrip()

    rule = "─" * max(_places(text(line)) for line in lines)
    return [text(head), rule, *map(text, rows), *([rule, text(last)] if last else [])]


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _places(cell))
    return space + cell if right else cell + space


def _places(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
