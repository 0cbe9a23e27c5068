"""The agent's commands: each takes the parsed flags, says what it did, and returns the exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imago.deploy.board import envs, examine, home, releases, runner, supervise, update
from imago.deploy.board.layout import Root, read_json, write_state
from imago.deploy.board.releases import Item
from imago.deploy.board.say import say, step
from imago.deploy.board.service import Service, service
from imago.deploy.board.wheelhouse import wheels_in
from imago.edge_runtime.bundle.archive import read_manifest, sha256_of
from imago.edge_runtime.bundle.manifest import Manifest
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.messages import tr

MAX_JOB = 4_000_000
JOB = "job.json"


def doctor(args: argparse.Namespace) -> int:
    """See ``main``."""
    manifest = read_manifest(args.bundle) if args.bundle else None
    report = examine.verdict(args.root, manifest)
    say("doctor", **report.to_dict())
    return report.exit_code


def plan(args: argparse.Namespace) -> int:
    """Read ``{"manifest", "signature", "wheels": [[name, sha256, size]], "online"}`` from standard input;
    say whether the board will do, and what is missing."""
    text = sys.stdin.buffer.read(MAX_JOB)
    try:
        job = json.loads(text)
        manifest = Manifest.from_bytes(job["manifest"].encode())
        wheels = [(str(name), Item(str(sha256), int(size))) for name, sha256, size in job["wheels"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("the plan cannot be read ({reason})", reason=error) from error
    report = examine.verdict(args.root, manifest)
    say("doctor", **report.to_dict())
    if report.exit_code:
        return report.exit_code
    root = Root(args.root)
    root.make()
    write_state(root / "incoming" / JOB, job)
    wanted = _wanted(job, manifest)
    items = [Item(m.sha256, m.size) for m in manifest.members.values()]
    env_ready = envs.ready(root, wanted.digest())
    if not env_ready:
        items += [item for _, item in wheels]
    missing = [[item.sha256, item.size, have] for item, have in releases.missing(root, items)]
    current = root.current
    say("plan", missing=missing, env=wanted.digest(), env_ready=env_ready, current=current,
        release=releases.release_name(manifest, wanted.digest()))  # fmt: skip
    return 0


def receive(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    items = []
    for text in args.items:
        head, _, offset = text.rpartition(":")
        items.append((Item.parse(head), int(offset) if offset.isdigit() else 0))
    with root.locked():
        releases.receive(root, items, sys.stdin.buffer)
    say("received", items=len(items))
    return 0


def apply(args: argparse.Namespace) -> int:
    """Install, release, switch: what ``plan`` was told, from what ``receive`` took."""
    root = Root(args.root)
    job = read_json(root / "incoming" / JOB)
    if not isinstance(job, dict):
        raise DeployError("nothing was pushed to this board that could be applied; push again")
    manifest = Manifest.from_bytes(job["manifest"].encode())
    if args.release not in (None, releases.release_name(manifest, _wanted(job, manifest).digest())):
        raise DeployError("somebody else has pushed to this board in between; push again")
    files = {name: root / "store" / sha256 for name, sha256, _ in job["wheels"]}
    wanted = _wanted(job, manifest)
    lost = [] if envs.ready(root, wanted.digest()) else [n for n, p in files.items() if not p.is_file()]
    if lost:
        raise DeployError("{name} is missing on the board, or damaged; push again", name=lost[0])
    env, made = envs.install(root, wanted, files)
    if isinstance(job.get("trust"), str):
        _keep_key(root, job["trust"].encode())
    return _release_and_switch(args, root, env, made, lambda: releases.make_release(
        root, manifest, env, job.get("signature")))  # fmt: skip


def up(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    bundle = _given(args.bundle, "--bundle")
    manifest = read_manifest(bundle)
    report = examine.verdict(args.root, manifest)
    say("doctor", **report.to_dict())
    if report.exit_code:
        return report.exit_code
    env, made = _install(args, root, manifest.extras)
    return _release_and_switch(args, root, env, made, lambda: releases.import_bundle(root, bundle, env))


def install(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    extras = tuple(word for word in args.extras.split(",") if word)
    if args.bundle is not None:
        extras += read_manifest(args.bundle).extras
    env, made = _install(args, root, tuple(sorted(set(extras))))
    say("result", env=env, changed=made)
    return 0


def release(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    _trust(args, root)
    name, new = releases.import_bundle(root, _given(args.bundle, "--bundle"), envs.newest(root))
    say("result", release=name, changed=new)
    return 0


def switch(args: argparse.Namespace) -> int:
    """See ``main``."""
    if not args.release or "/" in args.release or args.release.startswith("."):
        raise InputError("which release? --release NAME; imago deploy … --status lists them")
    root = Root(args.root)
    done = update.switch(root, args.release, _service(args), args.timeout)
    say("result", **done.to_dict())
    return 0


def check(args: argparse.Namespace) -> int:
    """See ``main``."""
    root, keeper = Root(args.root), _service(args)
    name = root.current
    if name is None:
        raise DeployError("nothing is deployed on this board yet")
    from imago.deploy.board.health import wait_until_well

    health = wait_until_well(root, name, keeper, args.timeout)
    say("result", release=name, well=health.well, reason=health.reason, warning=health.warning)
    return 0 if health.well else 1


def rollback(args: argparse.Namespace) -> int:
    """See ``main``."""
    say("result", **update.rollback(Root(args.root), _service(args), args.timeout).to_dict())
    return 0


def status(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    if not root.path.is_dir():
        raise DeployError("nothing is deployed on this board yet")
    say("result", **update.status(root, _service(args)))
    return 0


def logs(args: argparse.Namespace) -> int:
    """See ``main``."""
    say("result", lines=_service(args).logs(args.lines))
    return 0


def repair(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    _keep_agent(root)
    done = update.repair(root, _service(args))
    say("result", mended=done, changed=bool(done), current=root.current)
    return 0


def events(args: argparse.Namespace) -> int:
    """A consistent copy of the records' database, and what crops there are: for ``fetch``."""
    say("result", files=home.snapshot(Root(args.root)))
    return 0


def fetch(args: argparse.Namespace) -> int:
    """The files that are named on standard input (a JSON list), one behind the other, as raw bytes."""
    home.send(Root(args.root), json.loads(sys.stdin.buffer.read(MAX_JOB)))
    return 0


def bench(args: argparse.Namespace) -> int:
    """Measure the model that runs, with the service paused."""
    say("result", bench=home.measure(Root(args.root), _service(args)))
    return 0


def prune(args: argparse.Namespace) -> int:
    """See ``main``."""
    gone = releases.prune(Root(args.root), args.keep)
    say("result", **gone, changed=any(gone.values()))
    return 0


def settle(args: argparse.Namespace) -> int:
    """For the service, before each start."""
    update.settle(Root(args.root))
    return 0


def supervised(args: argparse.Namespace) -> int:
    """For systems without systemd."""
    root = Root(args.root)
    return supervise.Supervisor(root, lambda: update.settle(root)).run()


def execute(args: argparse.Namespace) -> int:
    """For the service: become it."""
    runner.become(Root(args.root))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "doctor": doctor, "plan": plan, "receive": receive, "apply": apply, "up": up, "install": install,
    "release": release, "switch": switch, "check": check, "rollback": rollback, "status": status,
    "logs": logs, "events": events, "fetch": fetch, "bench": bench, "repair": repair,
    "prune": prune, "settle": settle, "supervise": supervised, "exec": execute,
}  # fmt: skip


def _release_and_switch(
    args: argparse.Namespace, root: Root, env: str, made: bool, make: Callable[[], tuple[str, bool]]
) -> int:
    _keep_agent(root)
    _trust(args, root)
    step("release", tr("putting the release together"))
    name, new = make()
    done = update.switch(root, name, _service(args), args.timeout)
    changed = done.changed or made or new
    releases.prune(root, args.keep)  # an SD card is small
    say("result", **{**done.to_dict(), "env": env, "installed": made, "changed": changed})
    return 0


def _install(args: argparse.Namespace, root: Root, extras: tuple[str, ...]) -> tuple[str, bool]:
    files = wheels_in(_given(args.wheels, "--wheels"))
    wanted = envs.Wanted({n: sha256_of(p) for n, p in files.items()}, extras, args.online)
    done = envs.install(root, wanted, files)
    _keep_agent(root)
    return done


def _wanted(job: dict[str, Any], manifest: Manifest) -> envs.Wanted:
    wheels = {str(name): str(sha256) for name, sha256, _ in job["wheels"]}
    return envs.Wanted(wheels, manifest.extras, bool(job.get("online")))


def _service(args: argparse.Namespace) -> Service:
    return service(Root(args.root), systemd=False if args.no_systemd else None)


def _keep_agent(root: Root) -> None:
    """Keep this very program, which has shown that it runs here, for the service and the next reboot."""
    data = Path(sys.argv[0]).read_bytes()
    target = root / "agent.pyz"
    if not target.is_file() or target.read_bytes() != data:
        with replacing(target) as temporary:
            temporary.write_bytes(data)
            temporary.chmod(0o755)


def _trust(args: argparse.Namespace, root: Root) -> None:
    if args.trust is not None:
        _keep_key(root, _given(args.trust, "--trust").read_bytes())


def _keep_key(root: Root, key: bytes) -> None:
    """From now on only bundles signed with ``key`` are taken."""
    with replacing(root / "trusted.pub") as temporary:
        temporary.write_bytes(key[:10_000])


def _given(path: Path | None, flag: str) -> Path:
    if path is None or not path.exists():
        raise InputError("{flag} {path}: not there", flag=flag, path=path)
    return path
