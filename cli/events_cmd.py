"""``imago events``: what a camera has seen: list, filter, export, mark what was named wrongly."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import positive
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.records.query import EventQuery, Record

SHOWN = 50
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
EXAMPLES = (
    "imago events records/                                  the newest 50",
    "imago events records/ --since 24h --label bee --min-confidence 0.9",
    "imago events records/ --since 2026-05-01 --until 2026-05-31 --csv may.csv",
    "imago events records/ --wrong 019abc… --label hoverfly  it was no bee",
    "imago events records/ --retrain new/                   crops to sort and to train on again",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("events", "List, filter and export what imago run --records has kept.", EXAMPLES)
    p.add_argument("folder", metavar="FOLDER", type=Path, help=tr("what --records named"))
    p.add_argument("--since", metavar="TIME", help=tr("from then on: 2026-05-01, 2026-05-01T06:30, 24h, 7d"))
    p.add_argument("--until", metavar="TIME", help=tr("until then (a date: to the end of that day)"))
    p.add_argument(
        "--label", metavar="NAME", action="append", default=[], help=tr("only this class (may be repeated)")
    )
    p.add_argument("--unknown", action="store_true", help=tr("only what the model did not know"))
    p.add_argument("--marked", action="store_true", help=tr("only what was marked as wrong"))
    p.add_argument(
        "--min-confidence",
        type=fraction,
        default=0.0,
        metavar="P",
        help=tr("only from this confidence on, 0..1"),
    )
    p.add_argument("--limit", type=positive, metavar="N", help=tr("only the newest N"))
    p.add_argument("--csv", metavar="FILE", help=tr("write a table (- for standard output)"))
    add_json(p)
    p.add_argument(
        "--retrain",
        type=Path,
        metavar="OUT",
        help=tr("copy crops to a new folder: one per class, and _to_label for wrong and unknown ones"),
    )
    p.add_argument(
        "--wrong",
        metavar="ID",
        nargs="+",
        default=[],
        help=tr("mark as named wrongly; --label says what it was"),
    )
    p.add_argument("--right", metavar="ID", nargs="+", default=[], help=tr("take such a mark back"))
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output("-" if args.csv == "-" else args.json)
    if args.wrong or args.right:
        return _mark(args, out)
    from imago.edge_runtime.records.query import EventQuery

    query = EventQuery(
        since=None if args.since is None else moment(args.since),
        until=None if args.until is None else moment(args.until, end=True),
        labels=tuple(args.label),
        unknown=True if args.unknown else None,
        wrong=True if args.marked else None,
        min_confidence=args.min_confidence,
        limit=args.limit,
    )
    exports = args.csv or args.json or args.retrain
    if args.csv:
        _csv(args, query, out)
    if args.retrain:
        _retrain(args, query, out)
    if args.json:
        found = [record.to_dict() for record in _read(args.folder, query)]
        Output(args.json).result({"folder": str(args.folder), "n": len(found), "events": found})
    if not exports:
        _list(args, query, out)
    return 0


def moment(text: str, *, end: bool = False) -> float:
    """``2026-05-01``, ``2026-05-01T06:30+08:00`` or an age such as ``90m`` as Unix time.

    end: a date alone means the end of its day.
    """
    age = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if age:
        return time.time() - int(age[1]) * UNITS[age[2]]
    try:
        parsed = datetime.fromisoformat(text)
        whole_day = re.fullmatch(r"\d{4}-?\d\d-?\d\d", text) is not None
        return (parsed + timedelta(days=end and whole_day)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InputError(
            "'{text}' is no time; expected for example 2026-05-01, 2026-05-01T06:30, 90m, 24h or 7d",
            text=text,
        ) from None


def fraction(text: str) -> float:
    """A number of 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(tr("'{text}' is no number of 0 to 1", text=text))
    return value


def _read(folder: Path, query: EventQuery) -> Iterator[Record]:
    from imago.edge_runtime.records.query import read_events
    from imago.edge_runtime.records.schema import open_for_reading

    with closing(open_for_reading(folder)) as database:
        yield from read_events(database, folder, query)


def _mark(args: argparse.Namespace, out: Output) -> int:
    from imago.edge_runtime.records.query import mark

    if len(args.label) > 1:
        raise InputError("--wrong takes one --label: what it was")
    correction = args.label[0] if args.label else None
    for identifier in args.wrong:
        mark(args.folder, identifier, wrong=True, correction=correction)
    for identifier in args.right:
        mark(args.folder, identifier, wrong=False)
    out.say(tr("{n} marked", n=len(args.wrong) + len(args.right)))
    out.result({"folder": str(args.folder), "marked": [*args.wrong, *args.right]})
    return 0


def _csv(args: argparse.Namespace, query: EventQuery, out: Output) -> None:
    from imago.edge_runtime.files import replacing
    from imago.edge_runtime.records.export import write_csv

    if args.csv == "-":
        write_csv(_read(args.folder, query), sys.stdout)
        return
    # With a byte order mark, since spreadsheets take Chinese for something else without one.
    with replacing(args.csv) as path, path.open("w", encoding="utf-8-sig", newline="") as stream:
        count = write_csv(_read(args.folder, query), stream)
    out.say(tr("{n} events in {path}", n=count, path=args.csv))


def _retrain(args: argparse.Namespace, query: EventQuery, out: Output) -> None:
    from imago.edge_runtime.records.export import TO_LABEL, write_retraining

    counts = write_retraining(_read(args.folder, query), args.retrain)
    for name in sorted(counts):
        out.say(f"{counts[name]:6}  {name}")
    out.say(
        tr(
            "look through {path}: the model sorted it; move pictures to where they belong and those of "
            "{to_label} to their class (imago train leaves {to_label} out), then: imago train {path}",
            path=args.retrain,
            to_label=TO_LABEL,
        )
    )


def _list(args: argparse.Namespace, query: EventQuery, out: Output) -> None:
    from dataclasses import replace

    shown = 0
    for record in _read(args.folder, replace(query, limit=query.limit or SHOWN)):
        shown += 1
        out.say(_line(record))
    if not shown:
        out.say(tr("no events"))
    elif shown == SHOWN and query.limit is None:
        out.say(tr("the newest {n}; --limit shows more", n=SHOWN))


def _line(record: Record) -> str:
    from imago.edge_runtime.records.export import iso
    from imago.edge_runtime.sinks import printable

    event = record.event
    marks = [tr("unknown")] * event.unknown + [tr("wrong")] * record.wrong
    if record.correction:
        marks.append(f"→ {record.correction}")
    return printable(
        f"{event.id}  {iso(event.start)[:19]}  {event.duration_s:6.1f} s  "
        f"{100 * event.confidence:5.1f} %  {event.label}" + (f"  ({', '.join(marks)})" if marks else "")
    )
