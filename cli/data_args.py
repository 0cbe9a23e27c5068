"""The flags of every command that reads a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from imago.edge_runtime.messages import tr
from imago.train.dataset import DataOptions


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that reads a data set; ``data_options`` reads them back."""
    defaults = DataOptions()
    parser.add_argument(
        "--split-file",
        type=Path,
        metavar="CSV",
        help=tr("CSV with the columns path,class,split; overrides what the folders say"),
    )
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=defaults.val_fraction,
        metavar="F",
        help=tr("share of the training pictures held out for validation where there is no such split"),
    )
    parser.add_argument(
        "--test-fraction",
        type=float,
        default=defaults.test_fraction,
        metavar="F",
        help=tr("share held out for the test where there is no split at all"),
    )
    parser.add_argument(
        "--split-seed",
        type=int,
        default=defaults.split_seed,
        metavar="N",
        help=tr("another number holds out other pictures"),
    )


def data_options(args: argparse.Namespace) -> DataOptions:
    """``DataOptions`` from parsed arguments."""
    return DataOptions(
        split_file=args.split_file,
        val_fraction=args.val_fraction,
        test_fraction=args.test_fraction,
        split_seed=args.split_seed,
    )
