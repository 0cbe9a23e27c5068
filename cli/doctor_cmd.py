"""``imago doctor``: what on this board will make trouble, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.doctor.findings import Finding, Report

EXAMPLES = (
    "imago doctor",
    "imago doctor insects.onnx              # also runs the model's self-test",
    "imago doctor --json - || echo 'mend this first'",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("doctor", "Look for what on this board will make trouble, and name the remedy.", EXAMPLES)
    p.add_argument(
        "models", nargs="*", metavar="MODEL", help=tr("model files whose self-test is run here as well")
    )
    p.add_argument(
        "--folder", type=Path, default=Path(), help=tr("where records will be kept (the current folder)")
    )
    p.add_argument("--quiet", action="store_true", help=tr("show only what needs attention"))
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command; returns 1 where there is a problem."""
    args = parser().parse_args(argv)
    from imago.edge_runtime.doctor.examine import examine
    from imago.edge_runtime.progress import Progress

    for path in (args.folder, *map(Path, args.models)):
        if not path.exists():
            raise InputError("no such file or folder: {path}", path=path)
    out = Output(args.json)
    with Progress(0, tr("examining")) as bar:
        report = examine(args.folder, args.models, begin=lambda name: bar.advance(note=name))
    for finding in report.findings:
        if finding.level != "ok" or not args.quiet:
            _tell(out, finding)
    _summary(out, report)
    out.result(report.to_dict())
    return report.exit_code


def _tell(out: Output, finding: Finding) -> None:
    marks = {"ok": tr("ok"), "note": tr("note"), "warning": tr("warning"), "problem": tr("PROBLEM")}
    out.say(f"{marks[finding.level]:<9}{finding.text}")
    if finding.remedy:
        out.say(f"{'':<9}→ {finding.remedy}")


def _summary(out: Output, report: Report) -> None:
    problems, warnings, notes = (report.count(level) for level in ("problem", "warning", "note"))
    out.say(
        tr(
            "{problems} problem(s), {warnings} warning(s), {notes} note(s)",
            problems=problems,
            warnings=warnings,
            notes=notes,
        )
    )
