"""``python -m imago.edge_runtime.bundle.selftest FOLDER``: does this unpacked bundle work on this machine?

Every byte against the manifest; the signature, where a key is given; then the variant that would be run:
its classes against the manifest, and the answer stored in its contract. One JSON object on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from imago.edge_runtime.bundle.archive import archive_bytes, verify
from imago.edge_runtime.bundle.manifest import Manifest, labels_digest
from imago.edge_runtime.bundle.opening import Opened
from imago.edge_runtime.errors import BundleError, ImagoError
from imago.edge_runtime.messages import tr


def check_bundle(folder: Path, key: Path | None = None, signature: Path | None = None) -> dict[str, Any]:
    """What was checked. Raises ImagoError with the reason where something does not hold."""
    manifest = verify(folder)
    comment = None if key is None else _check_signature(folder, manifest, key, signature)
    opened = Opened(manifest, folder)
    model = opened.models()[0]
    from imago.edge_runtime.classifier import Classifier

    with Classifier(model) as classifier:
        if labels_digest(classifier.spec.labels) != manifest.variants[0].labels_sha256:
            raise BundleError("{name} has other classes than the bundle says", name=model.name)
        result = classifier.self_test()
        engine = classifier.engine.name
    if not result.passed:
        raise BundleError(
            "{name} gives another answer here than where it was made (difference {difference}, "
            "allowed {tolerance}): the engine or the file is not right",
            name=model.name,
            difference=f"{result.difference:.3g}",
            tolerance=f"{result.tolerance:.3g}",
        )
    return {
        "model": model.name,
        "engine": engine,
        "self_test": result.stored,
        "difference": result.difference,
        "signed": comment,
    }


def _check_signature(folder: Path, manifest: Manifest, key: Path, signature: Path | None) -> str:
    from imago.edge_runtime.bundle import minisign

    if signature is None or not signature.is_file():
        raise BundleError(
            "{reason}; sign it: imago bundle … --sign KEY",
            reason=tr("this board takes signed bundles only, and this one is not signed"),
        )
    pieces = archive_bytes(manifest, {name: folder / name for name in manifest.members})
    return minisign.check(pieces, minisign.read_signature(signature), minisign.read_public_key(key))


def main(argv: list[str]) -> int:
    """Parse, check, print."""
    parser = argparse.ArgumentParser(prog="selftest")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--signature", type=Path)
    args = parser.parse_args(argv)
    try:
        report = {"ok": True, **check_bundle(args.folder, args.key, args.signature)}
    except ImagoError as error:
        report = {"ok": False, "reason": str(error)}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
