"""A plan as text: a table for the terminal, and the program that builds it."""

from __future__ import annotations

from dataclasses import MISSING, fields

from imago.edge_runtime.messages import tr
from imago.edge_runtime.texttable import table
from imago.train.models.layers import Layer
from imago.train.models.plan import Plan
from imago.train.models.rows import LayerRow, shape_text


def plan_lines(plan: Plan) -> list[str]:
    """The layer table; a layer that does not fit is named below it, with the reason."""
    trace = plan.trace()
    rows = [("", tr("input"), "", shape_text(plan.input), "", "")]
    for number, (row, layer) in enumerate(zip(trace.rows, plan.layers, strict=False), 1):
        open_head = plan.classes is None and number - 1 == plan.head
        settings = [layer.settings, tr("one per class")] if open_head else [layer.settings]
        rows.append((str(number), row.type, ", ".join(filter(None, settings)), *numbers(row)))
    params, macs = trace.totals
    lines = table(
        ("", tr("layer"), "", tr("output"), tr("parameters"), tr("MACs")),
        rows,
        right=(0, 3, 4, 5),
        last=("", tr("total"), "", "", f"{params:,}", f"{macs:,}"),
    )
    return lines if trace.problem is None else [*lines, str(trace.problem)]


def numbers(row: LayerRow) -> tuple[str, str, str]:
    """Shape, parameters and MACs as text; a dash for none."""
    return (
        shape_text(row.shape),
        f"{row.params:,}" if row.params else "–",
        f"{row.macs:,}" if row.macs else "–",
    )


def plan_program(plan: Plan) -> str:
    """Python lines that build it with ``Net``; every value enters as a literal."""
    lines = [f"net = Net(input={plan.input!r}, name={plan.name!a})"]
    lines += [f"net.add({', '.join(_arguments(layer))})" for layer in plan.layers]
    return "\n".join(lines)


def _arguments(layer: Layer) -> list[str]:
    """The kind, then what differs from its defaults."""
    given = [f'"{layer.KIND}"']
    for one in fields(layer):
        value = getattr(layer, one.name)
        if one.default is MISSING:
            given.append(repr(value))
        elif value != one.default:
            given.append(f"{one.name}={value!r}" if one.name != "units" else repr(value))
    return given
