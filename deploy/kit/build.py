"""Making a kit: resolve, fetch, describe. A kill at any moment loses nothing; the next run goes on.

Work happens in a hidden folder beside the target; the target appears, whole, in one rename.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imago.deploy.kit.closure import Closure, Pin, close, pins_of, wheel_key
from imago.deploy.kit.manifest import (
    MANIFEST,
    REQUIREMENTS,
    Kit,
    KitFile,
    describe_file,
    read_kit,
    refuse_damaged,
)
from imago.deploy.kit.options import KitOptions
from imago.deploy.kit.own_wheel import DISTRIBUTION, own_wheel
from imago.deploy.kit.pip import need_pip, pip
from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.files import write_json, write_text

ROUNDS = 6  # of asking pip for what markers hid from it; two are enough for everything seen so far
RESOLVING = "pip-report.json"


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told how it goes. step: (what is done now, number of steps or 0); advance: (steps, note)."""

    step: Callable[[str, int], None] = field(default=lambda what, total: None)
    advance: Callable[[int, str], None] = field(default=lambda steps, note: None)


def make_kit(out: Path, options: KitOptions, listener: Listener | None = None, *, renew: bool = False) -> Kit:
    """Make the kit in the new folder ``out``; an existing kit is kept, or with ``renew`` made anew.

    Raises InputError where ``out`` is something else, StorageError where network, wheels or disk fail.
    """
    listener = listener or Listener()
    existing = _existing(out, options, renew)
    if existing is not None:
        return existing
    need_pip()
    work = out.with_name(f".{out.name}.building")
    wheels = work / "wheels"
    try:
        wheels.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            "cannot write {path}: {reason}; free some space or choose another place",
            path=out,
            reason=error.strerror or error,
        ) from error
    own = _fetch_wheels(work, options, listener)
    if options.debian_packages():
        from imago.deploy.kit.debs import fetch_debs

        fetch_debs(work, options, listener)
    kit = describe_kit(work, options, own.version, listener)
    _take_place(work, out)
    return kit


def _existing(out: Path, options: KitOptions, renew: bool) -> Kit | None:
    """The kit that is there already and still right."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / MANIFEST).is_file():
        raise InputError(
            "{path} exists and is no kit; nothing was changed: choose another place with -o", path=out
        )
    if renew:
        return None
    kit = read_kit(out)
    if _identity(options) != (kit.target, kit.engine, kit.camera, kit.extras, kit.debs):
        raise InputError(
            "{path} is a kit for something else ({target}, {engine}, camera {camera}); choose another place "
            "with -o, or replace it with --renew",
            path=out,
            target=" ".join(str(kit.target.get(key)) for key in ("os", "arch", "python")),
            engine=kit.engine,
            camera=kit.camera,
        )
    refuse_damaged(out, kit)
    return kit


def _identity(options: KitOptions) -> tuple[object, ...]:
    target = options.target().to_dict()
    return target, options.engine, options.camera, options.extras, options.debs


def _fetch_wheels(work: Path, options: KitOptions, listener: Listener) -> Pin:
    """Fill ``work/wheels`` and write the requirements; the pin of imago itself."""
    wheels = work / "wheels"
    listener.step("imago", 0)
    wheel = own_wheel(wheels, lambda line: listener.advance(1, line))
    closure = _resolve(work, options, wheel, listener)
    own = next(pin for pin in closure.pins if pin.name == DISTRIBUTION)
    others = [pin for pin in closure.pins if pin is not own]
    listener.step("wheels", len(others))
    list_file = work / "fetch.txt"
    write_text(list_file, _requirements(others))
    hashed = ["--require-hashes"] if all(pin.sha256 for pin in others) else []

    def tell(line: str) -> None:
        arrived = line.startswith(("Saved ", "File was already downloaded"))
        listener.advance(int(arrived), line if line.startswith("Downloading") else "")

    flags = options.target().pip_flags()
    arguments = ["--no-deps", *hashed, *flags, "--dest", str(wheels), "--requirement", str(list_file)]
    pip("download", arguments, tell, what=str(options.target()))
    list_file.unlink()
    _keep_only(wheels, wheel, others)
    return own


def _resolve(work: Path, options: KitOptions, wheel: Path, listener: Listener) -> Closure:
    """Ask pip which wheels are needed, until the board's own markers ask for nothing more."""
    root = f"{DISTRIBUTION}[{','.join(options.imago_extras())}]".replace("[]", "")
    asked = [f"{root} @ {wheel.absolute().as_uri()}", "pip", *options.constraints()]
    what, report = str(options.target()), work / RESOLVING
    listener.step("resolving", 0)
    for _ in range(ROUNDS):
        flags = ["--dry-run", "--ignore-installed", "--report", str(report), "--target", str(work / "none")]
        pip(
            "install",
            [*flags, *options.target().pip_flags(), *asked],
            lambda line: listener.advance(1, line),
            what=what,
        )
        pins = pins_of(json.loads(report.read_text(encoding="utf-8")))
        report.unlink()
        closure = close(pins, [root, "pip"], options.target().markers(), options.left_out())
        if not closure.missing:
            return closure
        asked += closure.missing
    raise StorageError("pip failed: {reason}", reason=f"{', '.join(closure.missing)}: {ROUNDS} ×")


def _requirements(pins: Sequence[Pin]) -> str:
    """pip's own format, one line a wheel."""
    lines = [f"{p.name}=={p.version}" + (f" --hash=sha256:{p.sha256}" if p.sha256 else "") for p in pins]
    return "\n".join(lines) + "\n"


def _keep_only(wheels: Path, own: Path, pins: Sequence[Pin]) -> None:
    """Remove what an earlier, unfinished run left; every pin must have its wheel."""
    wanted = {wheel_key(f"{pin.name.replace('-', '_')}-{pin.version}-py3-none-any.whl") for pin in pins}
    kept = {}
    for path in wheels.iterdir():
        key = wheel_key(path.name)
        if path != own and (key not in wanted or key in kept):
            path.unlink()
        else:
            kept[key] = path
    if missing := wanted - set(kept):
        raise StorageError("pip failed: {reason}", reason=f"no wheel of {sorted(missing)[0][0]}")


def describe_kit(work: Path, options: KitOptions, version: str, listener: Listener) -> Kit:
    """Hash everything in the folder ``work``, write the requirements and, last, the manifest.

    version: of imago, whose wheel is among the files.
    """
    found = sorted(path for name in ("wheels", "debs") for path in (work / name).glob("*") if path.is_file())
    listener.step("checking", len(found))
    files: list[KitFile] = []
    for path in found:
        files.append(describe_file(work, f"{path.parent.name}/{path.name}"))
        listener.advance(1, path.name)
    pins = [_pin_of(file) for file in files if file.path.startswith("wheels/")]
    # pip itself only installs the others; leaving it out of the environment saves 6 MB on the card.
    write_text(work / REQUIREMENTS, _requirements([pin for pin in pins if pin.name != "pip"]))
    files.append(describe_file(work, REQUIREMENTS))
    target = options.target().to_dict()
    kit = Kit(version, target, options.engine, options.camera, options.extras, options.debs, tuple(files))
    write_json(work / MANIFEST, kit.to_dict())
    return kit


def _pin_of(file: KitFile) -> Pin:
    return Pin(*wheel_key(Path(file.path).name), file.sha256, ())


def _take_place(work: Path, out: Path) -> None:
    """Put ``work`` where ``out`` is or will be; an older kit goes only after that."""
    for rest in work.iterdir():
        if rest.name not in (MANIFEST, REQUIREMENTS, "wheels", "debs"):
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    old = out.with_name(f".{out.name}.{os.urandom(4).hex()}.old")
    if out.exists():
        out.rename(old)
    work.rename(out)
    shutil.rmtree(old, ignore_errors=True)
