"""``imago evaluate``: accuracy of a model file, as shipped, through the board's own preprocessing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.data_args import add_data_options, data_options
from imago.cli.model_args import add_model, open_classifier, positive
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.sinks import printable
from imago.train.dataset import SPLITS, Dataset, Split

if TYPE_CHECKING:
    from imago.edge_runtime.spec import ModelSpec
    from imago.train.metrics import EvalResult

EXAMPLES = (
    "imago evaluate insects.onnx photos/",
    "imago evaluate mosquitoes.onnx mosquitoes/ --split-file mosquitoes/split.csv --json result.json",
    "imago evaluate mnist-8.onnx mnist/ --labels 10 --input-color gray --limit 1000",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("evaluate", "Measure a model file's accuracy on a data set.", EXAMPLES)
    add_model(p)
    p.add_argument("data", metavar="DATA", type=Path, help=tr("the data set's folder"))
    p.add_argument("--split", choices=SPLITS, default="test", help=tr("which pictures (test)"))
    p.add_argument("--limit", type=positive, metavar="N", help=tr("only N pictures, drawn at random"))
    add_data_options(p)
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    from imago.edge_runtime.progress import Progress
    from imago.train.data.layouts import load_dataset
    from imago.train.evaluation import evaluate

    with open_classifier(args) as classifier:
        dataset = load_dataset(args.data, data_options(args))
        whole = len(dataset.splits.get(args.split, ()))
        if args.limit is not None and args.limit < whole:
            dataset = _limited(dataset, args.split, args.limit)
        count = len(dataset.splits.get(args.split, ()))
        with Progress(count, tr("evaluating")) as bar:
            result = evaluate(classifier, dataset, args.split, bar)
        _tell(out, args, dataset, classifier.spec, result)
        out.result(
            {
                "model": args.model.name,
                "name": classifier.spec.name,
                "precision": classifier.spec.precision,
                "data": dataset.name,
                "fingerprint": dataset.fingerprint,
                "generated": dataset.generated,
                "split": args.split,
                "of": whole,
                **result.to_dict(),
            }
        )
    return 0


def _limited(dataset: Dataset, name: str, limit: int) -> Dataset:
    """``limit`` pictures of one split, always the same ones (splits are sorted by class: not the first)."""
    import numpy as np

    split = dataset.splits[name]
    chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:limit])
    part = Split(
        labels=split.labels[chosen],
        paths=tuple(split.paths[index] for index in chosen) if split.paths else (),
        images=None if split.images is None else split.images[chosen],
    )
    return replace(dataset, splits={**dataset.splits, name: part})


def _tell(
    out: Output, args: argparse.Namespace, dataset: Dataset, spec: ModelSpec, result: EvalResult
) -> None:
    low, high = result.interval
    out.say(
        tr(
            "{split}: {accuracy} of {n} pictures right (95 % interval {low} to {high})",
            split=args.split,
            accuracy=f"{result.accuracy:.2%}",
            n=result.n,
            low=f"{low:.1%}",
            high=f"{high:.1%}",
        )
    )
    if dataset.generated:
        out.say(tr("these pictures are generated: the figure says nothing about real photos"))
    for note in dataset.notes:
        out.say(note)
    width = max(len(label) for label in spec.labels)
    for index, entry in enumerate(result.per_class):
        recall = "–" if entry.recall is None else f"{entry.recall:.1%}"
        name = printable(spec.display(index, language()))
        out.say(
            tr("  {label}  recall {recall:>6}  of {n}", label=f"{name:{width}}", recall=recall, n=entry.n)
        )
