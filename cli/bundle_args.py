"""A bundle where a command takes a model file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from imago.cli.common import Parser
from imago.edge_runtime.bundle.names import is_bundle
from imago.edge_runtime.messages import tr


def apply_bundle(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Parsed flags of ``imago run``. Where MODEL is a bundle, its settings stand before those of the user
    (who wins), and MODEL becomes the variant that this machine has an engine for."""
    args = parser.parse_args(argv)
    if args.model is not None and is_bundle(args.model):
        from imago.edge_runtime.bundle.opening import open_bundle

        opened = open_bundle(args.model)
        settings = opened.manifest.run
        args = parser.parse_args([*settings.arguments(records="records"), *argv])
        args.model = opened.models()[0]
    if args.source is None:
        parser.error(tr("where do the pictures come from? Give --source"))
    return args


def with_variants(models: Sequence[Path]) -> list[Path]:
    """Model files, with bundles replaced by those of their variants that can be run here."""
    found: list[Path] = []
    for path in models:
        if is_bundle(path):
            from imago.edge_runtime.bundle.opening import open_bundle

            found += open_bundle(path).models()
        else:
            found.append(path)
    return found
