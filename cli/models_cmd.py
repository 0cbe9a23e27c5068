"""``imago models``: which networks there are, and what one looks like inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.texttable import table
from imago.train.models.catalogue import MODELS, TIMM, ModelInfo, check_side, check_width
from imago.train.models.rows import shape_text

if TYPE_CHECKING:
    from imago.train.models.config import ModelConfig
    from imago.train.models.summary import LayerRow

EXAMPLES = (
    "imago models                               # all networks, with size and work",
    "imago models show lenet5                   # layer by layer",
    "imago models show mobilenet_v3_small --size 96 --classes 6",
    "imago models show mobilenet_v2 --width 0.5",
    "imago models show my.json                  # a network of your own",
    "imago models show lenet5 --json -",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("models", "List the networks, or show one layer by layer.", EXAMPLES)
    p.add_argument("action", nargs="?", choices=("list", "show"), default="list", help=tr("default: list"))
    p.add_argument("name", nargs="?", help=tr("network to show, or the file of one"))
    p.add_argument("--classes", type=int, default=10, help=tr("number of classes (%(default)s)"))
    p.add_argument("--size", type=int, default=0, help=tr("side of the input in pixels (the network's own)"))
    p.add_argument(
        "--width", type=float, default=1.0, metavar="F", help=tr("factor on its channel counts, e.g. 0.5")
    )
    p.add_argument("--channels", type=int, choices=(1, 3), help=tr("1 grey, 3 colour (the network's own)"))
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    if not 1 <= args.classes <= 100_000 or not 0 <= args.size <= 4096:
        raise InputError("--classes must be 1 to 100000 and --size at most 4096")
    if args.action == "show":
        if args.name is None:
            raise InputError("which network? imago models show NAME (imago models lists them)")
        if args.name.endswith(".json"):
            _show_plan(out, Path(args.name))
        else:
            _show(out, args.name, _config(args.name, args.classes, args.size, args.channels, args.width))
    elif args.name is not None:
        raise InputError("imago models list takes no name; imago models show {name}", name=args.name)
    else:
        _list(out, args.classes)
    return 0


def _config(
    name: str, classes: int, size: int = 0, channels: int | None = None, width_mult: float = 1.0
) -> ModelConfig:
    """Bad input is told here, before torch loads."""
    from imago.train.models.config import ModelConfig
    from imago.train.models.registry import default_input, default_stem

    width, height, own, _ = default_input(name)
    if size:
        width = height = size
    if name in MODELS:
        check_side(MODELS[name], width, height)
    stem = default_stem(name, width, height)
    check_width(name, width_mult)
    return ModelConfig(name, classes, channels or own, width, height, stem, width_mult=width_mult)


def _list(out: Output, classes: int) -> None:
    from imago.train.models.summary import describe, totals

    rows, data = [], []
    for info in MODELS.values():
        params, macs = totals(describe(_config(info.name, classes)))
        rows.append((info.name, _input(info), _short(params), _short(macs), tr(info.description)))
        data.append({**_facts(info), "params": params, "macs": macs})
    head = (tr("network"), tr("input"), tr("parameters"), tr("MACs"), "")
    for line in table(head, rows, right=(2, 3)):
        out.say(line)
    out.say()
    out.say(
        tr(
            "Counted for {classes} classes; MACs: multiplications with addition for one picture.",
            classes=classes,
        )
    )
    out.say(tr("timm:NAME takes any network of the timm collection, where that package is installed."))
    out.result({"classes": classes, "models": data})


def _show_plan(out: Output, path: Path) -> None:
    from imago.train.models.plan import read_plan

    plan = read_plan(path)
    trace = plan.trace()
    out.say(plan.name)
    out.say()
    for line in plan.lines():
        out.say(line)
    params, macs = trace.totals
    layers = [row.to_dict() for row in trace.rows]
    out.result({"name": plan.name, "net": plan.to_dict(), "layers": layers, "params": params, "macs": macs})


def _show(out: Output, name: str, config: ModelConfig) -> None:
    from imago.train.models.summary import describe, totals

    rows = describe(config)
    params, macs = totals(rows)
    color = tr("grey") if config.channels == 1 else tr("colour")
    factor = "" if config.width_mult == 1 else f" ×{config.width_mult:g}"
    out.say(f"{name}{factor}: {config.width}×{config.height} {color} → {config.num_classes}")
    if not name.startswith(TIMM):
        out.say(tr(MODELS[name].description))
    if config.stem:
        out.say(tr("{count} of its first halvings taken out for this small input", count=config.stem))
    out.say()
    for line in table(
        ("", tr("layer"), tr("kind"), tr("output"), tr("parameters"), tr("MACs")),
        [(str(i), *_cells(row)) for i, row in enumerate(rows, 1)],
        right=(0, 3, 4, 5),
        last=("", tr("total"), "", "", f"{params:,}", f"{macs:,}"),
    ):
        out.say(line)
    out.result(
        {
            "name": name,
            "config": config.to_dict(),
            "layers": [row.to_dict() for row in rows],
            "params": params,
            "macs": macs,
        }
    )


def _cells(row: LayerRow) -> tuple[str, str, str, str, str]:
    shape = shape_text(row.shape)
    macs = f"{row.macs:,}" if row.macs else "–"
    return row.name, row.type, shape, f"{row.params:,}" if row.params else "–", macs


def _facts(info: ModelInfo) -> dict[str, Any]:
    kept = ("name", "family", "width", "height", "channels", "color", "min_side", "pretrained")
    return {key: value for key, value in asdict(info).items() if key in kept}


def _input(info: ModelInfo) -> str:
    return f"{info.width}×{info.height}×{info.channels}"


def _short(number: int) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)
