"""``python3 agent.pyz COMMAND --root /opt/imago``: what the board does. One JSON object a line comes out.

doctor      can this become an imago board? changes nothing; exit code 1: no
plan        (from imago deploy) what of a bundle and its wheels is missing here
receive     take the missing bytes from standard input
apply       (from imago deploy) install, release and switch to what ``plan`` was told
up          the same from files: --bundle x.imago --wheels FOLDER; for SD cards and Ansible
install     only the environment
release     only the release; prints its name
switch      let a release run; back to the one before where it is not well
check       is what runs well?
rollback    back to the release before
status      what runs, and how it is
logs        what the service said
events      (from imago deploy --events) list records; fetch: send them
bench       measure the model that runs; the service pauses meanwhile
repair      mend what a power cut left; start the service
prune       remove old releases, and what nothing uses
exec, settle, supervise    for the service itself
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from imago.deploy.board import commands
from imago.deploy.board.envs import python_of
from imago.deploy.board.jobs import detached, guarded
from imago.deploy.board.layout import Root
from imago.deploy.board.update import TIMEOUT_S

__all__ = ["main", "python_of"]
DEFAULT_ROOT = Path("/opt/imago")
# Those that change something go on when the line is cut.
DETACHED = {"apply", "up", "install", "release", "switch", "rollback", "repair", "prune", "bench", "time"}


def parser() -> argparse.ArgumentParser:
    """The agent's own flags."""
    p = argparse.ArgumentParser(
        prog="agent.pyz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("command", choices=sorted(commands.COMMANDS))
    p.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the board's folder (/opt/imago)")
    p.add_argument("--no-systemd", action="store_true", help="supervise the program ourselves")
    p.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds until frames must come (90)")
    p.add_argument("--bundle", type=Path, help="a .imago file on the board; its .minisig lies beside it")
    p.add_argument("--wheels", type=Path, help="a folder of wheels, or a kit")
    p.add_argument("--online", action="store_true", help="what the folder lacks may come from the net")
    p.add_argument("--extras", default="", help="of imago-edge, for install: camera,litert,mqtt,sign")
    p.add_argument("--release", help="a release's name, for switch and apply")
    p.add_argument(
        "--trust", type=Path, help="a minisign public key: from now on only bundles signed with it"
    )
    p.add_argument("--items", nargs="*", default=[], help="SHA256:SIZE:OFFSET, for receive; …:KIND, for time")
    p.add_argument("--runs", type=int, default=100, help="timed calls per file (100)")
    p.add_argument("--keep", type=int, default=3, help="releases that prune, apply and up leave (3)")
    p.add_argument("--lines", type=int, default=100, help="of logs (100)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 fine, 1 a measured no, 2 it went wrong (one line of JSON says why)."""
    args = parser().parse_args(argv)
    os.umask(0o022)  # the service's own user has to read what root writes here
    args.root = args.root.absolute()
    if args.wheels is not None:
        args.wheels = args.wheels.absolute()
    work: Callable[[], int] = lambda: commands.COMMANDS[args.command](args)  # noqa: E731
    if args.command not in DETACHED:
        return guarded(work)

    def locked() -> int:
        root = Root(args.root)
        with root.locked():
            return commands.COMMANDS[args.command](args)

    def start() -> int:
        root = Root(args.root)
        root.make()
        return detached(root / "run", locked)

    return guarded(start)


if __name__ == "__main__":
    sys.exit(main())
