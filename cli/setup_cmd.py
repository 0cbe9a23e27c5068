"""``imago setup tflite``: the environment that exporting and quantising .tflite models needs."""

from __future__ import annotations

from collections.abc import Sequence

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress

EXAMPLES = (
    "imago setup                    # what is there",
    "imago setup tflite             # make it, or go on where it stopped",
    "imago setup tflite --fresh     # make it anew",
    "imago setup tflite --remove",
)
NOTE = 50  # characters of pip's line beside the bar


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    p = Parser(
        "setup", "Make the environment that the TFLite converter needs, apart from this one.", EXAMPLES
    )
    p.add_argument(
        "what", nargs="?", choices=("tflite",), help=tr("what to set up; without it: what is there")
    )
    p.add_argument("--fresh", action="store_true", help=tr("remove what is there, and make it anew"))
    p.add_argument("--remove", action="store_true", help=tr("remove it"))
    add_json(p)
    args = p.parse_args(argv)
    if (args.fresh or args.remove) and args.what is None:
        raise InputError("which one? imago setup tflite --fresh, or --remove")
    from imago.export.converter_env import ConverterEnv, describe
    from imago.train.data.places import cache_root

    out, env = Output(args.json), ConverterEnv.under(cache_root())
    if args.remove:
        env.remove()
    elif args.what is not None and (args.fresh or env.state() != "ready"):
        out.say(
            tr(
                "making a Python environment with litert-torch and ai-edge-quantizer in {folder}: "
                "about {size} GB, some minutes; the running environment stays as it is",
                folder=env.folder,
                size=env.gigabytes(),
            )
        )
        with Progress(0, tr("packages:")) as bar:
            env.make(lambda line: bar.advance(1, line[:NOTE]), fresh=args.fresh)
    out.say(describe(env))
    out.result({"what": "tflite", "folder": str(env.folder), "state": env.state()})
    return 0
