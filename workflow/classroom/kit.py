"""``make_kit(target, out)``: a folder for a USB stick from which a PC without internet installs the lesson.

resolve for that computer → fetch wheel by wheel, checked → imago's own wheel → scripts, samples, texts →
manifest. Called again it fetches only what is missing or damaged.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.files import replacing, write_json, write_text
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.train.generate.insects import make_dataset
from imago.workflow.classroom.own_wheel import own_wheel, wheel_metadata
from imago.workflow.classroom.resolve import Wheel, pip, resolve
from imago.workflow.classroom.target import Target

MANIFEST, REQUIREMENTS, WHEELS, SAMPLES = "manifest.json", "requirements.txt", "wheels", "samples/insects"
FORMAT = 1
SCRIPTS = {
    "windows": ("install.bat", "start.bat"),
    "linux": ("install.sh", "start.sh"),
}
EVERYWHERE = ("install.py", "README.txt", "README.zh-CN.txt")
LARGE_BYTES = 2_000_000_000
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class KitOptions:
    """extras: of imago that are installed. indexes: further package indexes, such as PyTorch's own with
    builds for the CPU only. wheel: imago's own, where it is not to be made here. installer: of Python, put on
    the stick. per_class: sample pictures of each insect."""

    target: Target
    extras: tuple[str, ...] = ("studio",)
    indexes: tuple[str, ...] = ()
    wheel: Path | None = None
    installer: Path | None = None
    per_class: int = 60


@dataclass(frozen=True, slots=True)
class Kit:
    """A finished kit. fetched: files that were not there before."""

    folder: Path
    wheels: tuple[str, ...]
    bytes: int
    fetched: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "folder": str(self.folder),
            "wheels": list(self.wheels),
            "bytes": self.bytes,
            "fetched": self.fetched,
        }


def make_kit(out: Path, options: KitOptions, say: Say = lambda text: None) -> Kit:
    """Make or complete the kit in ``out``. Raises ResolveError, StorageError, InputError."""
    _check_folder(out, options.target)
    if options.installer is not None and not options.installer.is_file():
        raise InputError("no such file: {path}", path=options.installer)
    say(tr("1/4 imago's own wheel"))
    own = own_wheel(out / WHEELS, options.wheel)
    say(tr("2/4 looking up what it needs on {system} with Python {python}", **_words(options.target)))
    wheels = _resolved(own, options)
    say(tr("3/4 fetching {n} wheels", n=len(wheels)))
    fetched = _fetch(wheels, out, options)
    _drop_others(out / WHEELS, {own.name, *(w.file for w in wheels)})
    say(tr("4/4 scripts, samples and checksums"))
    _write_requirements(out, own, options, wheels)
    _write_scripts(out, options.target)
    _write_samples(out, options.per_class)
    if options.installer is not None:
        _copy(options.installer, out / "python" / options.installer.name)
    total = write_manifest(out, options.target)
    if total > LARGE_BYTES:
        say(
            tr(
                "the kit is large ({gb} GB): see --index for builds of PyTorch without CUDA",
                gb=f"{total / 1e9:.1f}",
            )
        )
    return Kit(out, tuple(sorted([own.name, *(w.file for w in wheels)])), total, fetched)


def _words(target: Target) -> dict[str, str]:
    return {"system": {"windows": "Windows", "linux": "Linux"}[target.system], "python": target.python}


def _check_folder(out: Path, target: Target) -> None:
    """Only an empty folder, or a kit for the same computers."""
    if not out.exists() or not any(out.iterdir()):
        return
    manifest = out / MANIFEST
    known = _read(manifest) if manifest.is_file() else {}
    begun = {p.name for p in out.iterdir()} <= {WHEELS}
    if not begun and (known.get("system"), known.get("python")) != (target.system, target.python):
        raise StorageError("{path} holds something else; choose another --out", path=out)


def _resolved(own: Path, options: KitOptions) -> list[Wheel]:
    """What imago's wheel needs with its extras, and pip, which installs it there."""
    meta = wheel_metadata(own)
    wanted = [*_needs(meta.requires or [], options), "pip"]
    with Progress(0, tr("packages")) as bar:
        return resolve(
            wanted, options.target, indexes=options.indexes, found=lambda n: bar.advance(n - bar.done)
        )


def _needs(lines: Sequence[str], options: KitOptions) -> Iterator[str]:
    """imago's requirements for the target; its extras name each other, which no index needs to know."""
    from packaging.requirements import Requirement

    extras = set(options.extras)
    while True:  # imago-edge[studio] asks for imago-edge[train,search], and so on
        more = {
            e
            for text in lines
            if _for(r := Requirement(text), options.target, extras) and r.name == "imago-edge"
            for e in r.extras
        }
        if more <= extras:
            break
        extras |= more
    for text in lines:
        requirement = Requirement(text)
        if requirement.name != "imago-edge" and _for(requirement, options.target, extras):
            requirement.marker = None
            yield str(requirement)


def _for(requirement: Any, target: Target, extras: set[str]) -> bool:
    from imago.workflow.classroom.resolve import applies

    return applies(requirement, target, extras)


def _fetch(wheels: Sequence[Wheel], out: Path, options: KitOptions) -> int:
    """Wheel by wheel, so that an interrupted kit keeps what it has; returns how many were missing."""
    missing = [w for w in wheels if not _whole(out / WHEELS / w.file, w.sha256)]
    with Progress(len(wheels), tr("fetching")) as bar:
        bar.advance(len(wheels) - len(missing))
        for wheel in missing:
            bar.advance(0, wheel.file)
            _fetch_one(wheel, out / WHEELS, options)
            bar.advance()
    return len(missing)


def _fetch_one(wheel: Wheel, folder: Path, options: KitOptions) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as place:
        wanted = Path(place) / REQUIREMENTS
        line = f"{wheel.name}=={wheel.version}"
        wanted.write_text(
            line + (f" --hash=sha256:{wheel.sha256}\n" if wheel.sha256 else "\n"), encoding="utf-8"
        )
        flags = ["--no-deps", "--quiet", "--no-input", "--dest", place, "-r", str(wanted)]
        for index in options.indexes:
            flags += ["--extra-index-url", index]
        done = pip("download", *flags, *options.target.pip_flags())
        found = list(Path(place).glob("*.whl"))
        if done.returncode or len(found) != 1:
            raise StorageError(
                "{file} could not be fetched ({reason}); the same command goes on where it stopped",
                file=wheel.file,
                reason=(done.stderr.strip().splitlines() or ["?"])[-1],
            )
        found[0].replace(folder / wheel.file)


def _drop_others(folder: Path, wanted: set[str]) -> None:
    """Older versions from an earlier call would only fill the stick."""
    for path in folder.glob("*.whl"):
        if path.name not in wanted:
            path.unlink()


def _write_requirements(out: Path, own: Path, options: KitOptions, wheels: Sequence[Wheel]) -> None:
    """Pinned, with the checksum of every file: what ``install.py`` gives to pip."""
    extras = f"[{','.join(options.extras)}]" if options.extras else ""
    version = wheel_metadata(own).version
    lines = [f"imago-edge{extras}=={version} --hash=sha256:{digest(own)}"]
    for wheel in wheels:
        if wheel.name != "pip":
            lines.append(f"{wheel.name}=={wheel.version} --hash=sha256:{digest(out / WHEELS / wheel.file)}")
    write_text(out / REQUIREMENTS, "\n".join(lines) + "\n")


def _write_scripts(out: Path, target: Target) -> None:
    """The stick's own files with the target filled in; batch files with the line ends that cmd needs."""
    source = files("imago.workflow.classroom") / "stick"
    major, _, minor = target.python.partition(".")
    words = {"PYTHON": target.python, "MAJOR": major, "MINOR": minor, "NODOT": major + minor}
    words["SYSTEM"] = _words(target)["system"]
    for name in (*SCRIPTS[target.system], *EVERYWHERE):
        text = (source / name).read_text(encoding="utf-8")
        for key, value in words.items():
            text = text.replace(f"@{key}@", value)
        # Notepad and cmd want CR LF; old Notepads also a mark that the text is UTF-8.
        windows = name.endswith(".bat") or (target.system == "windows" and name.endswith(".txt"))
        data = text.replace("\n", "\r\n") if windows else text
        with replacing(out / name) as temporary:
            temporary.write_bytes(data.encode("utf-8-sig" if windows and name.endswith(".txt") else "utf-8"))
            temporary.chmod(0o755 if name.endswith(".sh") else 0o644)


def _write_samples(out: Path, per_class: int) -> None:
    target = out / SAMPLES
    if target.exists():
        return
    with replacing(target) as temporary:
        make_dataset(temporary, per_class=per_class, size=96, seed=0)


def _copy(source: Path, target: Path) -> None:
    if not _whole(target, digest(source)):
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def write_manifest(out: Path, target: Target) -> int:
    """Every file with size and SHA-256; returns the bytes in all."""
    paths = sorted(p for p in out.rglob("*") if p.is_file() and p.name != MANIFEST)
    entries: list[dict[str, Any]] = [
        {"path": p.relative_to(out).as_posix(), "bytes": p.stat().st_size, "sha256": digest(p)} for p in paths
    ]
    facts = {"format": FORMAT, "system": target.system, "python": target.python, "files": entries}
    write_json(out / MANIFEST, facts)
    return sum(e["bytes"] for e in entries)


def check_kit(folder: Path) -> int:
    """Number of files that are as the manifest says. Raises DataError naming those that are not."""
    manifest = _read(folder / MANIFEST)
    bad = [e["path"] for e in manifest["files"] if not _whole(_inside(folder, e["path"]), e["sha256"])]
    if bad:
        raise DataError(
            "{n} files of the kit are missing or damaged: {names}; make the kit again with the same command, "
            "which fetches only these",
            n=len(bad),
            names=", ".join(bad[:5]) + (" …" if len(bad) > 5 else ""),
        )
    return len(manifest["files"])


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(
            "{path} is damaged ({reason}); make the kit again", path=folder / MANIFEST, reason=name
        )
    return path


def _read(manifest: Path) -> dict[str, Any]:
    try:
        data = json.loads(manifest.read_text(encoding="utf-8"))
        if data["format"] != FORMAT or not isinstance(data["files"], list):
            raise ValueError(f"format {data['format']}")
        return {
            **data,
            "files": [{"path": str(e["path"]), "sha256": str(e["sha256"])} for e in data["files"]],
        }
    except FileNotFoundError as error:
        raise InputError("{path} is not a kit (it has no manifest.json)", path=manifest.parent) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "{path} is damaged ({reason}); make the kit again", path=manifest, reason=repr(error)
        ) from error


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(path: Path, sha256: str) -> bool:
    return path.is_file() and (not sha256 or digest(path) == sha256)
