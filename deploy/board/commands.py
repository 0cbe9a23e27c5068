"""The agent's commands: each takes the parsed flags, says what it did, and returns the exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from imago.deploy.board import debs, envs, examine, home, releases, runner, supervise, timing, update
from imago.deploy.board.job import FILE, Job
from imago.deploy.board.layout import Root, write_state
from imago.deploy.board.provide import Provided, provide
from imago.deploy.board.releases import Item
from imago.deploy.board.say import say, step
from imago.deploy.board.service import Service, service
from imago.deploy.board.wheelhouse import debs_in, wheels_in
from imago.edge_runtime.bundle.archive import read_manifest, sha256_of
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.messages import tr

MAX_JOB, MAX_RUNS = 4_000_000, 10_000


def doctor(args: argparse.Namespace) -> int:
    """See ``main``."""
    manifest = read_manifest(args.bundle) if args.bundle else None
    report = examine.verdict(args.root, manifest)
    say("doctor", **report.to_dict())
    return report.exit_code


def plan(args: argparse.Namespace) -> int:
    """Read a job from standard input (see ``Job``); say whether the board will do, and what is missing."""
    job, data = Job.parse(sys.stdin.buffer.read(MAX_JOB))
    report = examine.verdict(args.root, job.manifest, debs=list(job.debs))
    say("doctor", **report.to_dict())
    if report.exit_code:
        return report.exit_code
    root = Root(args.root)
    root.make()
    write_state(root / "incoming" / FILE, data)
    wanted = job.wanted()
    items = [*job.members(), *(job.debs[name] for name in debs.lacking(job.debs))]
    env_ready = envs.ready(root, wanted.digest())
    if not env_ready:
        items += job.wheels.values()
    missing = [[item.sha256, item.size, have] for item, have in releases.missing(root, items)]
    current = root.current
    say("plan", missing=missing, env=wanted.digest(), env_ready=env_ready, current=current,
        release=releases.release_name(job.manifest, wanted.digest()))  # fmt: skip
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
    job = Job.kept(root)
    wanted = job.wanted()
    if args.release not in (None, releases.release_name(job.manifest, wanted.digest())):
        raise DeployError("somebody else has pushed to this board in between; push again")
    files = {name: root / "store" / item.sha256 for name, item in (job.wheels | job.debs).items()}
    needed = [*debs.lacking(job.debs), *(() if envs.ready(root, wanted.digest()) else job.wheels)]
    lost = [name for name in needed if not files[name].is_file()]
    if lost:
        raise DeployError("{name} is missing on the board, or damaged; push again", name=lost[0])
    made = provide(root, wanted, files, job.debs)
    if job.trust is not None:
        _keep_key(root, job.trust.encode())
    return _release_and_switch(args, root, made, lambda: releases.make_release(
        root, job.manifest, made.env, job.signature))  # fmt: skip


def up(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    bundle = _given(args.bundle, "--bundle")
    manifest = read_manifest(bundle)
    report = examine.verdict(args.root, manifest, debs=_debs(args))
    say("doctor", **report.to_dict())
    if report.exit_code:
        return report.exit_code
    made = _install(args, root, manifest.extras)
    return _release_and_switch(args, root, made, lambda: releases.import_bundle(root, bundle, made.env))


def install(args: argparse.Namespace) -> int:
    """See ``main``."""
    root = Root(args.root)
    extras = tuple(word for word in args.extras.split(",") if word)
    if args.bundle is not None:
        extras += read_manifest(args.bundle).extras
    made = _install(args, root, tuple(sorted(set(extras))))
    say("result", env=made.env, debs=made.debs, changed=made.changed)
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


def time(args: argparse.Namespace) -> int:
    """Time the model files that ``receive`` took, with the service paused."""
    files = [timing.Timed.parse(text) for text in args.items]
    if not files or not 0 < args.runs <= MAX_RUNS:
        raise InputError("time wants --items SHA256:SIZE:KIND …, and --runs of 1 to {most}", most=MAX_RUNS)
    say("result", p50_us=timing.measure(Root(args.root), _service(args), files, args.runs))
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
    "time": time, "prune": prune, "settle": settle, "supervise": supervised, "exec": execute,
}  # fmt: skip


def _release_and_switch(
    args: argparse.Namespace, root: Root, made: Provided, make: Callable[[], tuple[str, bool]]
) -> int:
    _keep_agent(root)
    _trust(args, root)
    step("release", tr("putting the release together"))
    name, new = make()
    done = update.switch(root, name, _service(args), args.timeout)
    changed = done.changed or made.changed or new
    releases.prune(root, args.keep)  # an SD card is small
    say("result", **{**done.to_dict(), "env": made.env, "installed": made.new, "debs": made.debs,
                     "changed": changed})  # fmt: skip
    return 0


def _install(args: argparse.Namespace, root: Root, extras: tuple[str, ...]) -> Provided:
    wheels = wheels_in(_given(args.wheels, "--wheels"))
    packages = debs_in(args.wheels)
    wanted = envs.Wanted({n: sha256_of(p) for n, p in wheels.items()}, extras, args.online)
    done = provide(root, wanted, wheels | packages, packages)
    _keep_agent(root)
    return done


def _debs(args: argparse.Namespace) -> list[str]:
    return [] if args.wheels is None else list(debs_in(args.wheels))


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
