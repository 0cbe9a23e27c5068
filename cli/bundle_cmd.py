"""``imago bundle``: model files and run settings as one signed file for boards; verify, show, make keys."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import positive
from imago.cli.run_flags import add_source, add_watch
from imago.cli.run_outputs import DEFAULT_WEB
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.bundle.manifest import Manifest

EXAMPLES = (
    "imago bundle insects.onnx insects-int8.onnx -o insects.imago --source picamera --max-fps 5 --records",
    "imago bundle insects.onnx -o insects.imago --source picamera --sign ~/.imago/key",
    "imago bundle show insects.imago",
    "imago bundle verify insects.imago --key imago.pub",
    "imago bundle keygen ~/.imago/key            (writes the public half to ~/.imago/key.pub)",
    "imago run insects.imago                     runs it here, as a board would",
)


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    words = list(argv)
    other = {"verify": _verify, "show": _show, "keygen": _keygen}
    if words and words[0] in other and not Path(words[0]).exists():
        return other[words[0]](words[1:])
    return _make(words)


def parser() -> Parser:
    """The argument parser of ``imago bundle MODEL…``."""
    p = Parser(
        "bundle",
        "Put model files and run settings into one file for boards: imago bundle MODEL… -o x.imago. "
        "Others: imago bundle verify|show|keygen.",
        EXAMPLES,
    )
    p.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help=tr("model files of the same task; a board runs the first that it has an engine for"),
    )
    p.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=tr("the bundle (x.imago)"))
    p.add_argument("--name", help=tr("name for people (the first model's)"))
    p.add_argument(
        "--sign", type=Path, metavar="KEY", help=tr("sign it with this secret key, to FILE.minisig")
    )
    p.add_argument(
        "--need-feature",
        action="append",
        default=[],
        metavar="WORD",
        help=tr("a processor feature that the board must have, as in /proc/cpuinfo (asimddp); repeatable"),
    )
    add_source(p, required=False)
    add_watch(p)
    group = p.add_argument_group(tr("records, MQTT and live page"))
    group.add_argument(
        "--records", action="store_true", help=tr("keep every visit, in the board's own folder")
    )
    group.add_argument(
        "--records-quota",
        type=positive,
        metavar="MB",
        help=tr("megabytes of pictures at most; the oldest go first (1000)"),
    )
    group.add_argument("--mqtt", metavar="URL", help=tr("send every visit to mqtt://HOST[:PORT][/TOPIC]"))
    group.add_argument(
        "--web",
        nargs="?",
        const=DEFAULT_WEB,
        metavar="HOST:PORT",
        help=tr("show a live page at HOST:PORT (localhost:8080); other hosts than localhost need a token"),
    )
    p.add_argument("--threads", type=positive, help=tr("CPU threads of one inference (1)"))
    add_json(p)
    p.set_defaults(motion=None, threshold=None, gap=None)  # not given: left to imago run on the board
    return p


def _make(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    out = Output(args.json)
    from imago.cli.main import VERSION
    from imago.deploy.bundling import BundleOptions, write_bundle

    options = BundleOptions(
        name=args.name, run=_settings(args), features=tuple(args.need_feature), sign=args.sign
    )
    manifest = write_bundle(args.models, args.out, options, version=VERSION)
    _tell(out, manifest)
    out.say(tr("written: {path}", path=args.out))
    if args.sign is not None:
        out.say(tr("signed: {path}", path=f"{args.out}.minisig"))
    out.result({"path": str(args.out), **_facts(manifest)})
    return 0


def _settings(args: argparse.Namespace) -> Any:
    from imago.edge_runtime.bundle.settings import settings_of

    values = dict(vars(args))
    values["control"] = [f"{name}={value}" for name, value in args.control]
    if args.size is not None:
        values["size"] = f"{args.size[0]}x{args.size[1]}"
    return settings_of(values)


def _verify(argv: Sequence[str]) -> int:
    p = Parser(
        "bundle verify", "Check every byte of a bundle, and its signature where a key is given.", EXAMPLES
    )
    p.add_argument("bundle", type=Path, metavar="FILE")
    p.add_argument("--key", type=Path, metavar="PUB", help=tr("public key whose signature it must carry"))
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.edge_runtime.bundle.archive import verify

    _is_file(args.bundle)
    manifest = verify(args.bundle)
    comment = None
    if args.key is not None:
        from imago.edge_runtime.bundle import minisign

        key = minisign.read_public_key(args.key)
        text = minisign.read_signature(Path(f"{args.bundle}{minisign.SUFFIX}"))
        comment = minisign.check(minisign.file_pieces(args.bundle), text, key)
        out.say(tr("signature fits: {comment}", comment=comment))
    out.say(tr("{path} is whole: {id}", path=args.bundle, id=manifest.release))
    out.result({"path": str(args.bundle), "signed": comment, **_facts(manifest)})
    return 0


def _show(argv: Sequence[str]) -> int:
    p = Parser("bundle show", "Say what is in a bundle.", EXAMPLES)
    p.add_argument("bundle", type=Path, metavar="FILE")
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.edge_runtime.bundle.archive import read_manifest

    _is_file(args.bundle)
    manifest = read_manifest(args.bundle)
    _tell(out, manifest)
    out.result({"path": str(args.bundle), **_facts(manifest)})
    return 0


def _keygen(argv: Sequence[str]) -> int:
    p = Parser("bundle keygen", "Make a pair of keys for signatures (minisign's format).", EXAMPLES)
    p.add_argument("key", type=Path, metavar="KEY", help=tr("where the secret key goes; keep it to yourself"))
    args = p.parse_args(argv)
    from imago.edge_runtime.bundle.minisign import shown, write_keys

    public = Path(f"{args.key}.pub")
    key = write_keys(args.key, public)
    out = Output(None)
    out.say(tr("secret key: {path} (keep it to yourself)", path=args.key))
    out.say(tr("public key {id}: {path} (for boards: imago deploy … --trust FILE)",
               id=shown(key.public.key_id), path=public))  # fmt: skip
    return 0


def _is_file(path: Path) -> None:
    if not path.is_file():
        raise InputError("{path} is not there; expected a bundle that imago bundle wrote", path=path)


def _tell(out: Output, manifest: Manifest) -> None:
    out.say(tr("{name}, bundle {id}, made by imago {version}",
               name=manifest.name, id=manifest.release, version=manifest.imago))  # fmt: skip
    for variant in manifest.variants:
        size = manifest.members[variant.file].size / 1e6
        sides = "×".join(map(str, variant.input))
        out.say(f"  {variant.file:<40}{variant.precision:<12}{variant.engine:<12}{sides:<12}{size:8.2f} MB")
    words = manifest.run.arguments(records="…")
    out.say(tr("  run with: {words}", words=" ".join(words) or tr("(nothing set)")))
    out.say(tr("  needs: {machines}, Python {python}, {memory} MB of memory",
               machines="/".join(manifest.needs.machines), python=manifest.needs.python,
               memory=manifest.needs.memory_mb))  # fmt: skip


def _facts(manifest: Manifest) -> dict[str, Any]:
    import json

    return {"id": manifest.id, "release": manifest.release, **json.loads(manifest.to_bytes())}
