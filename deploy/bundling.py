"""Making a bundle: model files and run settings in, one reproducible ``.imago`` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imago.edge_runtime.bundle.archive import archive_bytes, sha256_of, write_archive
from imago.edge_runtime.bundle.manifest import (
    ENGINES,
    MACHINES,
    MAX_MEMBERS,
    BoardNeeds,
    Manifest,
    Member,
    Variant,
    labels_digest,
)
from imago.edge_runtime.bundle.settings import RunSettings
from imago.edge_runtime.contract import read_spec
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_text
from imago.edge_runtime.spec import ModelSpec

# ONNX Runtime with a small model and the loop is 60 to 90 MB on aarch64 (docs/results.md); the system wants
# its share; a model is read, optimised and kept, at worst three times over.
BASE_MB, MODEL_COPIES = 200, 3


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """name: for people (default: the first model's). run: how it is run. features: words that the board's
    /proc/cpuinfo must have. sign: a secret key file; the signature goes beside the bundle."""

    name: str | None = None
    run: RunSettings = field(default_factory=RunSettings)
    machines: tuple[str, ...] = MACHINES
    features: tuple[str, ...] = ()
    sign: Path | None = None


def write_bundle(
    models: Sequence[Path], target: Path, options: BundleOptions | None = None, *, version: str
) -> Manifest:
    """Write ``target``; the first model that a board has an engine for is the one that it runs.

    version: of this imago. Raises InputError for files that do not belong together, ModelError for files
    that cannot be used.
    """
    options = options or BundleOptions()
    if not 0 < len(models) <= MAX_MEMBERS:
        raise InputError("give 1 to {most} model files", most=MAX_MEMBERS)
    if target.suffix.lower() != ".imago":
        raise InputError("{path}: a bundle's name ends in .imago", path=target)
    specs = {path: read_spec(path) for path in dict.fromkeys(models)}
    _same_task(specs)
    files = _names(specs)
    manifest = _manifest(files, specs, options, version)
    key = None
    if options.sign is not None:
        from imago.edge_runtime.bundle.minisign import read_secret_key

        key = read_secret_key(options.sign)
    write_archive(target, manifest, files)
    if key is not None:
        from imago.edge_runtime.bundle.minisign import SUFFIX, sign

        comment = f"imago bundle {manifest.release}\t{manifest.name}"
        write_text(Path(f"{target}{SUFFIX}"), sign(archive_bytes(manifest, files), key, comment))
    return manifest


def _manifest(
    files: Mapping[str, Path], specs: Mapping[Path, ModelSpec], options: BundleOptions, version: str
) -> Manifest:
    members = {name: Member(sha256_of(path), path.stat().st_size) for name, path in files.items()}
    largest = max(member.size for member in members.values())
    first = next(iter(specs.values()))
    return Manifest(
        name=options.name or first.name,
        imago=version,
        variants=tuple(_variant(name, specs[path]) for name, path in files.items()),
        members=members,
        run=options.run,
        needs=BoardNeeds(
            machines=options.machines,
            features=options.features,
            memory_mb=BASE_MB + MODEL_COPIES * largest // 10**6,
        ),
        extras=_extras(files, options),
    )


def _variant(name: str, spec: ModelSpec) -> Variant:
    return Variant(
        file=name,
        engine=ENGINES[Path(name).suffix],
        precision=spec.precision,
        labels=len(spec.labels),
        labels_sha256=labels_digest(spec.labels),
        input=(spec.input.width, spec.input.height, spec.input.channels),
        accuracy=spec.accuracy,
    )


def _extras(files: Mapping[str, Path], options: BundleOptions) -> tuple[str, ...]:
    """What the board's environment needs beyond imago's base."""
    source = options.run.source or ""
    wanted = {
        "litert": any(name.endswith(".tflite") for name in files),
        "camera": source.isdigit() or source.startswith(("/dev/video", "rtsp:", "http")),
        "mqtt": options.run.mqtt is not None,
        "sign": options.sign is not None,
    }
    return tuple(sorted(extra for extra, needed in wanted.items() if needed))


def _names(specs: Mapping[Path, ModelSpec]) -> dict[str, Path]:
    """Member names: the files' own; two of the same name get a number."""
    found: dict[str, Path] = {}
    taken: set[str] = set()
    for path in specs:
        suffix, number = path.suffix.lower(), 2
        name = f"models/{path.stem}{suffix}"
        while name.casefold() in taken:
            name, number = f"models/{path.stem}-{number}{suffix}", number + 1
        taken.add(name.casefold())
        found[name] = path
    return found


def _same_task(specs: Mapping[Path, ModelSpec]) -> None:
    first_path, first = next(iter(specs.items()))
    for path, spec in specs.items():
        if spec.labels != first.labels:
            raise InputError(
                "{path} and {other} name different classes; give files of the same task",
                path=path,
                other=first_path,
            )
