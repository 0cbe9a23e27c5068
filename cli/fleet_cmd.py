"""``imago fleet``: what runs on many boards, and the Ansible playbook that updates them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import positive, positive_number
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress

if TYPE_CHECKING:
    from imago.deploy.fleet.state import BoardState


def main(argv: Sequence[str]) -> int:
    """Dispatch to the sub-command."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {"status": status, "init": init}
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())  # noqa: T201
        return 0
    if argv[0] not in commands:
        raise InputError("imago fleet {name}: there are init and status", name=argv[0])
    return commands[argv[0]](argv[1:])


def usage() -> str:
    """The text of ``imago fleet --help``."""
    return "\n".join(
        (
            tr("usage: imago fleet init|status …   (each explains itself with --help)"),
            "",
            "  init      " + tr("put playbook, role and an example inventory into a folder of yours"),
            "  status    " + tr("a table of what each board runs, and how it is"),
        )
    )


def init(argv: Sequence[str]) -> int:
    """``imago fleet init DIR``."""
    p = Parser(
        "fleet init",
        "Put playbook, role and an example inventory for many boards into a folder of yours.",
        ("imago fleet init fleet", "cd fleet && ansible-playbook -i inventory.yml update.yml"),
    )
    p.add_argument("folder", type=Path, metavar="DIR", help=tr("a new folder"))
    add_json(p)
    args = p.parse_args(argv)
    from imago.deploy.fleet.playbook import write_playbook

    files, out = write_playbook(args.folder), Output(args.json)
    out.say(
        tr(
            "{folder}: write your boards into inventory.yml, then: ansible-playbook -i inventory.yml "
            "update.yml",
            folder=args.folder,
        )
    )
    out.result({"folder": str(args.folder), "files": files})
    return 0


def status(argv: Sequence[str]) -> int:
    """``imago fleet status INVENTORY``; 1 where a board is not well or runs something else than expected."""
    args = _status_parser().parse_args(argv)
    from imago.deploy.fleet.ask import FleetOptions, ask_all
    from imago.deploy.fleet.inventory import read_inventory
    from imago.edge_runtime.mqtt.options import parse_mqtt

    broker = None
    if args.broker is not None:
        broker = parse_mqtt(args.broker, ca=args.mqtt_ca, credentials=args.mqtt_credentials)
    options = FleetOptions(args.via, args.at_once, args.timeout, broker)
    if args.expect is not None and args.via != "ssh":
        raise InputError("--expect needs --via ssh: only the agent knows which release runs")
    wanted = _release(args.expect)
    boards = read_inventory(args.inventory, args.limit)
    with Progress(len(boards), tr("asking boards")) as bar:
        states = ask_all(boards, options, lambda state: bar.advance(1, state.name))
    out = Output(args.json)
    for line in table(states, wanted):
        out.say(line)
    good = [state.good(wanted) for state in states]
    out.result(
        {
            "via": args.via,
            "expected": wanted,
            "boards": [{**s.to_dict(), "good": g} for s, g in zip(states, good, strict=True)],
        }
    )
    return 0 if all(good) else 1


def _status_parser() -> argparse.ArgumentParser:
    from imago.deploy.fleet.ask import WAYS, FleetOptions

    default = FleetOptions()
    p = Parser(
        "fleet status",
        "Ask every board of an Ansible inventory what it runs and how it is; exit code 1 where one is not "
        "well.",
        (
            "imago fleet status inventory.yml",
            "imago fleet status inventory.yml --expect insects.imago --json - | jq .boards",
            "imago fleet status inventory.yml --via page --limit meadow",
            "imago fleet status inventory.yml --via mqtt --broker mqtt://broker.local",
        ),
    )
    p.add_argument(
        "inventory", type=Path, metavar="INVENTORY", help=tr("Ansible's inventory (.yml, .ini, .json)")
    )
    p.add_argument(
        "--limit", metavar="GROUP", help=tr("only this group or board (default: the group imago, else all)")
    )
    p.add_argument(
        "--via",
        choices=WAYS,
        default=default.via,
        help=tr("ask the agent over ssh, the live page, or the broker"),
    )
    p.add_argument(
        "--expect",
        type=Path,
        metavar="BUNDLE",
        help=tr("exit code 1 also where a board runs something else (ssh)"),
    )
    p.add_argument(
        "--timeout",
        type=positive_number,
        default=default.timeout_s,
        metavar="S",
        help=tr("seconds for each board (default {seconds:.0f})", seconds=default.timeout_s),
    )
    p.add_argument(
        "--at-once",
        type=positive,
        default=default.at_once,
        metavar="N",
        help=tr("boards asked at the same time"),
    )
    p.add_argument("--broker", metavar="URL", help=tr("for --via mqtt: mqtt://HOST or mqtts://HOST"))
    p.add_argument("--mqtt-ca", type=Path, metavar="FILE", help=tr("certificate authority for mqtts://"))
    p.add_argument(
        "--mqtt-credentials",
        type=Path,
        metavar="FILE",
        help=tr("user and password, a line each; only yours to read"),
    )
    add_json(p)
    return p


def _release(bundle: Path | None) -> str | None:
    """The name that a bundle's release begins with on a board."""
    if bundle is None:
        return None
    from imago.edge_runtime.bundle.archive import verify

    return verify(bundle).release


def table(states: Sequence[BoardState], wanted: str | None) -> list[str]:
    """The table, and a sentence below it."""
    words = {
        "well": tr("well"),
        "not well": tr("not well"),
        "not running": tr("not running"),
        "empty": tr("nothing deployed"),
        "unreachable": tr("unreachable"),
    }
    head = (tr("board"), tr("state"), tr("bundle"), tr("release"), "imago", tr("frames"), tr("last frame"))
    rows = [head]
    for state in states:
        seconds = "" if state.last_frame_s is None else f"{state.last_frame_s:.1f} s"
        other = "" if state.fits(wanted) else " !"
        rows.append(
            (
                state.name,
                words[state.state],
                state.bundle or "",
                (state.release or "") + other,
                state.imago or "",
                "" if state.frames is None else str(state.frames),
                seconds,
            )
        )
    widths = [max(_width(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [f"  {state.name}: {state.reason}" for state in states if state.reason]
    counts = Counter(words[state.state] for state in states)
    lines += ["", ", ".join(f"{n} {word}" for word, n in counts.most_common())]
    others = [state.name for state in states if not state.fits(wanted)]
    if others:
        lines.append(
            tr("run something else than {release}: {names}", release=wanted, names=", ".join(others))
        )
    return lines


def _width(text: str) -> int:
    """Columns on a terminal; Chinese characters take two."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)
