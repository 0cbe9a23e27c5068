"""``imago deploy``: push a bundle to a board over ssh, look after what runs there, bring its records home."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json
from imago.cli.deploy_text import findings_lines
from imago.cli.model_args import positive, positive_number
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress

if TYPE_CHECKING:
    from imago.deploy.push.remote import Remote

ACTIONS = ("doctor", "status", "logs", "check", "rollback", "repair", "bench")
EXAMPLES = (
    "imago deploy pi@raspberrypi.local --doctor             can it be done? changes nothing",
    "imago deploy pi@raspberrypi.local insects.imago        installs, checks, and is back if it fails",
    "imago deploy pi@trap-7 insects.imago --offline kit/    a board without internet (imago kit)",
    "imago deploy trap-7 --status        names, keys and jump hosts come from ~/.ssh/config",
    "imago deploy trap-7 --rollback",
    "imago deploy trap-7 --events records-7/                then: imago events records-7/",
    "imago deploy trap-7 --bench --json trap-7.json",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser(
        "deploy",
        "Push a bundle to a board over your own ssh. What ran before is back when it does not work.",
        EXAMPLES,
    )
    p.add_argument("host", metavar="[USER@]HOST", help=tr("the board, as ssh knows it"))
    p.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help=tr("what imago bundle wrote"))
    _actions(p)
    group = p.add_argument_group(tr("how"))
    group.add_argument(
        "--offline", type=Path, metavar="KIT", help=tr("packages from this kit; the board needs no internet")
    )
    group.add_argument(
        "--timeout",
        type=positive_number,
        default=90.0,
        metavar="S",
        help=tr("seconds in which pictures must come through, else it goes back (90)"),
    )
    group.add_argument(
        "--trust",
        type=Path,
        metavar="PUB",
        help=tr("from now on the board takes only bundles signed with this key"),
    )
    group.add_argument(
        "--root", default="/opt/imago", metavar="DIR", help=tr("folder on the board (/opt/imago)")
    )
    group.add_argument(
        "--no-systemd", action="store_true", help=tr("no service of systemd: imago supervises the program")
    )
    group = p.add_argument_group(tr("ssh"))
    group.add_argument("--port", type=positive, help=tr("port of ssh (as in ~/.ssh/config, else 22)"))
    group.add_argument("--identity", type=Path, metavar="FILE", help=tr("your key (as in ~/.ssh/config)"))
    group.add_argument("--ssh-config", type=Path, metavar="FILE", help=tr("instead of ~/.ssh/config"))
    add_json(p)
    return p


def _actions(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group(tr("instead of a bundle"))
    group.add_argument("--doctor", action="store_true", help=tr("examine the board; change nothing"))
    group.add_argument("--status", action="store_true", help=tr("what runs there, and how it is"))
    group.add_argument("--check", action="store_true", help=tr("do pictures come through? exit code 1: no"))
    group.add_argument(
        "--logs",
        type=positive,
        nargs="?",
        const=100,
        metavar="N",
        help=tr("the newest N lines it said (100)"),
    )
    group.add_argument("--rollback", action="store_true", help=tr("back to what ran before"))
    group.add_argument("--repair", action="store_true", help=tr("mend what a power cut left; start it again"))
    group.add_argument("--prune", type=positive, metavar="N", help=tr("remove all but the N newest releases"))
    group.add_argument(
        "--events", type=Path, metavar="DIR", help=tr("bring records and pictures home to DIR")
    )
    group.add_argument(
        "--bench", action="store_true", help=tr("measure there (imago bench; the service pauses)")
    )


def main(argv: Sequence[str]) -> int:
    """Run the command; exit code 1 where the board cannot run it, or is not well."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    action = _action(args)
    from imago.deploy.push.remote import Remote
    from imago.deploy.push.ssh import Ssh, Target

    if not args.root.startswith("/") or "\0" in args.root:
        raise InputError(
            "--root {path} is no folder on the board; expected for example /opt/imago", path=args.root
        )
    target = Target(args.host, args.port, args.identity, args.ssh_config)
    with Ssh(target) as ssh:
        remote = Remote(ssh, args.root, systemd=not args.no_systemd, say=lambda text: out.say(f"· {text}"))
        if action == "push":
            return _push(args, remote, out)
        if action == "events":
            return _events(args, remote, out)
        return _ask(args, action, remote, out)


def _action(args: argparse.Namespace) -> str:
    chosen = [name for name in ACTIONS if getattr(args, name)]
    chosen += [name for name in ("events", "prune") if getattr(args, name) is not None]
    chosen += ["push"] if args.bundle is not None else []
    if len(chosen) != 1:
        raise InputError(
            "give a bundle, or one of --doctor --status --check --logs --rollback --repair --prune --events "
            "--bench"
        )
    return chosen[0]


def _push(args: argparse.Namespace, remote: Remote, out: Output) -> int:
    from imago.deploy.board.wheelhouse import debs_in
    from imago.deploy.push.session import PushOptions, push
    from imago.deploy.push.wheels import wheels_for

    debs = {} if args.offline is None else debs_in(args.offline)
    with wheels_for(args.offline, remote.say) as wheels, Progress(0, tr("sending, kB")) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total // 1000
            bar.advance(done // 1000 - bar.done)

        pushed = push(
            remote,
            args.bundle,
            PushOptions(wheels, debs, args.offline is None, args.timeout, args.trust),
            progress=progress,
            findings=lambda report: _tell_findings(out, report),
        )
    result = pushed.result
    if result.get("warning"):
        out.say(tr("warning: {text}", text=result["warning"]))
    word = tr("runs on {host}: {release}") if result["changed"] else tr("runs on {host} already: {release}")
    out.say(word.format(host=args.host, release=result["release"]))
    out.say(tr("{sent:.2f} MB sent, {reused:.2f} MB were there already",
               sent=pushed.sent / 1e6, reused=pushed.reused / 1e6))  # fmt: skip
    out.result({"host": args.host, **result, "sent": pushed.sent, "reused": pushed.reused,
                "doctor": pushed.doctor})  # fmt: skip
    return 0


def _events(args: argparse.Namespace, remote: Remote, out: Output) -> int:
    from imago.deploy.push.bring import bring_events

    with Progress(0, tr("fetching, kB")) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total // 1000
            bar.advance(done // 1000 - bar.done)

        brought = bring_events(remote, args.events, progress=progress)
    out.say(tr("{crops} pictures, {new} of them new, and all events: imago events {path}",
               crops=brought.crops, new=brought.new, path=args.events))  # fmt: skip
    out.result({"host": args.host, "folder": str(args.events), "crops": brought.crops, "new": brought.new,
                "bytes": brought.bytes})  # fmt: skip
    return 0


def _ask(args: argparse.Namespace, action: str, remote: Remote, out: Output) -> int:
    flags = {
        "logs": ("--lines", str(args.logs)),
        "prune": ("--keep", str(args.prune)),
        "rollback": ("--timeout", str(args.timeout)),
        "check": ("--timeout", str(min(args.timeout, 30.0))),
    }
    answer = remote.command(action, *flags.get(action, ()))
    result = answer.result or next((e for e in answer.events if e.get("event") == "doctor"), {})
    facts: dict[str, Any] = {k: v for k, v in result.items() if k != "event"}
    for line in _lines(action, facts, args.host):
        out.say(line)
    out.result(facts.get("bench", facts) if action == "bench" else {"host": args.host, **facts})
    return answer.code


def _lines(action: str, facts: Mapping[str, Any], host: str) -> list[str]:
    from imago.cli import deploy_text as text

    if action == "doctor":
        return text.findings_lines(facts, everything=True)
    if action == "status":
        return text.status_lines(facts, host)
    return text.LINES[action](facts, host)


def _tell_findings(out: Output, report: Mapping[str, Any]) -> None:
    for line in findings_lines(report):
        out.say(line)
