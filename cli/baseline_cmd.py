"""``imago baseline``: classical classifiers on the same pictures, to see what a network gains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.data_args import add_data_options, data_options
from imago.edge_runtime.messages import tr
from imago.edge_runtime.texttable import table
from imago.workflow.baselines.options import COLORS, KINDS, BaselineOptions

if TYPE_CHECKING:
    from imago.workflow.baselines.session import Row

EXAMPLES = (
    "imago baseline photos/                                # all three, 32×32 grey",
    "imago baseline photos/ --kind knn --size 16 --color rgb",
    "imago baseline photos/ --run runs/photos-lenet5       # beside a trained network",
    "imago predict runs/photos-baseline/svm.onnx photo.jpg # they are model files like any other",
)


def parser() -> Parser:
    """The argument parser; its defaults are those of BaselineOptions."""
    default = BaselineOptions()
    p = Parser(
        "baseline", "Fit nearest neighbours, a linear SVM and a random forest for comparison.", EXAMPLES
    )
    p.add_argument("data", type=Path, help=tr("folder with one folder of pictures per class"))
    p.add_argument("--kind", choices=(*KINDS, "all"), default="all", help="(%(default)s)")
    p.add_argument("--size", type=int, default=default.size, help=tr("side of the pictures"))
    p.add_argument("--color", choices=COLORS, default=default.color, help="(%(default)s)")
    p.add_argument(
        "--limit",
        type=int,
        default=default.limit,
        metavar="N",
        help=tr("training pictures at most (%(default)s)"),
    )
    p.add_argument(
        "--trees", type=int, default=default.trees, metavar="N", help=tr("of the forest (%(default)s)")
    )
    p.add_argument("--seed", type=int, default=default.seed, help=tr("same seed, same run"))
    p.add_argument(
        "--run",
        type=Path,
        action="append",
        default=[],
        help=tr("a trained run to compare with; may be given twice"),
    )
    p.add_argument("--out", type=Path, help=tr("folder to make (default: runs/<data>-baseline)"))
    add_data_options(p)
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    options = BaselineOptions(
        kinds=KINDS if args.kind == "all" else (args.kind,),
        size=args.size,
        color=args.color,
        limit=args.limit,
        trees=args.trees,
        seed=args.seed,
    )
    from imago.cli.train_cmd import free_folder
    from imago.workflow.baselines.session import baseline

    folder = args.out or free_folder(Path("runs") / f"{args.data.resolve().name}-baseline")
    rows = baseline(args.data, options, folder, data_options=data_options(args), runs=args.run, say=out.say)
    for line in lines(rows):
        out.say(line)
    out.say(tr("saved in {folder}", folder=folder))
    out.result({"folder": str(folder), "rows": [row.to_dict() for row in rows]})
    return 0


NAMES = {"knn": "k nearest neighbours", "svm": "linear SVM", "forest": "random forest"}


def lines(rows: Sequence[Row]) -> list[str]:
    """The comparison, the most accurate first."""
    ordered = sorted(rows, key=lambda row: -row.accuracy)
    return table(
        (
            tr("classifier"),
            "",
            tr("accuracy"),
            tr("95 % interval"),
            "n",
            "kB",
            tr("fitting, s"),
            tr("answer, ms"),
            "",
        ),
        [_cells(row) for row in ordered],
        right=(2, 3, 4, 5, 6, 7),
    )


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    return (
        tr(NAMES[row.kind]) if row.kind in NAMES else row.kind,
        row.setting,
        f"{row.accuracy:.2%}",
        f"{low:.1%}–{high:.1%}",
        f"{row.n:,}",
        f"{row.bytes / 1000:,.0f}" if row.bytes else "–",
        "–" if row.train_s is None else f"{row.train_s:.1f}",
        "–" if row.answer_ms is None else f"{row.answer_ms:.3f}",
        row.note,
    )
