"""``imago demo``: the whole story, from nothing to a live prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.messages import tr

EXAMPLES = ("imago demo", "imago demo --out runs/demo2 --seed 7")


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    p = Parser("demo", "The whole story on generated insects, in a few minutes, without internet.", EXAMPLES)
    p.add_argument("--out", type=Path, help=tr("folder for everything it makes (default: runs/demo)"))
    p.add_argument("--seed", type=int, default=0, help=tr("another seed draws other insects"))
    p.add_argument(
        "--quick", action="store_true", help=tr("few pictures and epochs: only to see that it runs")
    )
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.cli.train_cmd import free_folder
    from imago.workflow.demo import DemoOptions, Part, demo

    options = DemoOptions()
    folder = args.out or free_folder(options.out)
    options = replace(options, out=folder, seed=args.seed)
    if args.quick:
        parts = tuple(Part(part.name, replace(part.config, epochs=2)) for part in options.parts)
        options = replace(options, per_class=24, video_s=6.0, parts=parts)
    out.result(demo(options, out.say))
    return 0
