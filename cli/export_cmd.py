"""``imago export``: a trained run → one ONNX or TFLite file with its contract inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.messages import tr

EXAMPLES = (
    "imago export runs/insects-lenet5",
    "imago export runs/insects-lenet5 -o insects.onnx --force",
    "imago export runs/insects-lenet5 --format tflite     # for LiteRT; needs imago setup tflite once",
)


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    p = Parser("export", "Write a trained run as one model file that carries its own contract.", EXAMPLES)
    p.add_argument("run", type=Path, help=tr("folder that imago train wrote"))
    p.add_argument("-o", "--out", type=Path, help=tr("model file (default: <run>/<name>.onnx)"))
    p.add_argument("--format", choices=("onnx", "tflite"), help=tr("default: what --out ends in, else onnx"))
    p.add_argument("--force", action="store_true", help=tr("replace files that exist"))
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.workflow.steps import export_run

    done = export_run(args.run, args.out, overwrite=args.force, format=args.format)
    v = done.verification
    out.say(
        tr(
            "verified on {n} pictures: largest difference {difference}, same answer on {agreement}",
            n=v.n,
            difference=f"{v.difference:.1e}",
            agreement=f"{v.agreement:.1%}",
        )
    )
    out.say(
        tr(
            "wrote {model} ({size} kB) and {script}",
            model=done.model,
            size=done.bytes // 1000,
            script=done.script,
        )
    )
    out.say(
        tr(
            "next: imago predict {model} PICTURE, or imago quantize {model} --calibrate DATA",
            model=done.model,
        )
    )
    out.result(
        {
            "model": str(done.model),
            "script": str(done.script),
            "bytes": done.bytes,
            "n": v.n,
            "largest_difference": v.difference,
            "agreement": v.agreement,
        }
    )
    return 0
