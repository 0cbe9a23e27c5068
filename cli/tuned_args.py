"""``--tuned tune.json``: the choice of ``imago tune`` in place of MODEL and --threads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr


def add_tuned(parser: argparse.ArgumentParser) -> None:
    """The flag."""
    parser.add_argument(
        "--tuned", type=Path, metavar="FILE", help=tr("use the model and threads that imago tune chose here")
    )


def apply_tuned(args: argparse.Namespace) -> None:
    """Fill ``args.model`` and ``args.threads``; what has changed since is said on standard error.

    Raises InputError where neither or both of MODEL and ``--tuned`` are given, or the choice does not hold.
    """
    if args.tuned is None:
        if args.model is None:
            raise InputError("which model? Give MODEL, or --tuned with the file that imago tune wrote")
        return
    if args.model is not None or args.threads != 1:
        raise InputError("--tuned names model and threads; leave out MODEL and --threads")
    from imago.edge_runtime.tuned import read_tuned

    tuned = read_tuned(args.tuned)
    changes = tuned.check()
    if changes:
        text = tr("measured elsewhere, tune again (imago tune): {changes}", changes="; ".join(changes))
        sys.stderr.write(text + "\n")
    args.model, args.threads = tuned.model, tuned.threads
