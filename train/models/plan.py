"""``Plan``: a network of one's own as a value: its input, its layers, and what they make of each other.

Layers say only what they are; how many inputs each has follows from the one before, so that layers can be
put in, taken out and moved without counting anything again. The same description in JSON is what
``imago train --net`` reads and what a run keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_json
from imago.train.models.blocks import LAYERS
from imago.train.models.config import ModelConfig
from imago.train.models.layers import (
    Layer,
    LayerError,
    Linear,
    Shape,
    Softmax,
    field_names,
)
from imago.train.models.rows import LayerRow, shape_text, totals

NET = "net:"  # how a ModelConfig names such a network: net:NAME
FORMAT = 1
MOST_LAYERS = 100
MOST_SIDE = 1024
MOST_PARAMS = 64_000_000  # 256 MB of weights; AlexNet has 61 million
MOST_VALUES = 16_000_000  # of one layer's output for one picture: 64 MB
MOST_MACS = 50_000_000_000  # for one picture; Inception v3 at 299 px takes 6 billion
MOST_BYTES = 200_000  # of a description
EXAMPLE_CLASSES = 10  # in tables, as long as no data say how many there are


@dataclass(frozen=True, slots=True)
class Trace:
    """What a plan's layers make of each other.

    rows: of the layers that fit, from the input. problem: why layer ``len(rows)`` does not fit, or what is
    wrong with the whole; None where all is well.
    """

    rows: tuple[LayerRow, ...]
    problem: InputError | None

    @property
    def totals(self) -> tuple[int, int]:
        """``(parameters, multiply-accumulates)`` of the layers that fit."""
        return totals(self.rows)


@dataclass(frozen=True, slots=True)
class Plan:
    """input: ``(channels, height, width)`` of the picture. layers: from the input to the output.

    The last Linear has as many units as the data has classes, or leaves its units open (None). Raises
    InputError for an input that is not usable; ``trace`` says whether the layers fit, ``require`` insists.
    """

    input: tuple[int, int, int]
    layers: tuple[Layer, ...] = ()
    name: str = "net"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", tuple(self.input))
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "name", _tidy(self.name))
        sides = self.input[1:]
        good = len(self.input) == 3 and all(type(v) is int for v in self.input)
        if not (good and self.input[0] in (1, 3) and all(1 <= v <= MOST_SIDE for v in sides)):
            raise InputError(
                "the input of a network is (channels, height, width): 1 (grey) or 3 (colour), and 1 to "
                "{most} pixels each way, for example (1, 32, 32); not {value}",
                most=MOST_SIDE,
                value=repr(self.input)[:60],
            )

    @property
    def head(self) -> int | None:
        """Index of the layer that answers, the last Linear; None where the plan does not end in one."""
        end = len(self.layers) - 1
        while end >= 0 and isinstance(self.layers[end], Softmax):
            end -= 1
        return end if end >= 0 and isinstance(self.layers[end], Linear) else None

    @property
    def classes(self) -> int | None:
        """How many classes its last Linear was told to tell apart; None: left to the data."""
        layer = self.layers[self.head] if self.head is not None else None
        return layer.units if isinstance(layer, Linear) else None

    def for_classes(self, classes: int | None) -> Plan:
        """The same plan with another number of answers."""
        if self.head is None:
            return self
        layers = list(self.layers)
        layers[self.head] = replace(self.layers[self.head], units=classes)  # type: ignore[call-arg]
        return replace(self, layers=tuple(layers))

    def trace(self) -> Trace:
        """Go through the layers by arithmetic; an open last Linear counts as one for 10 classes."""
        plan = self if self.classes is not None else self.for_classes(EXAMPLE_CLASSES)
        rows: list[LayerRow] = []
        shape: Shape = plan.input
        try:
            for index, layer in enumerate(plan.layers):
                rows.append(plan._row(index, layer, shape, rows))
                shape = rows[-1].shape
            plan._check_whole()
        except LayerError as error:
            number = len(rows) + 1
            if number > len(plan.layers):
                return Trace(tuple(rows), error)
            return Trace(tuple(rows), _at(number, plan.layers[number - 1], error))
        return Trace(tuple(rows), None)

    def require(self) -> Trace:
        """Like ``trace``; raises InputError with the problem where there is one."""
        found = self.trace()
        if found.problem is not None:
            raise found.problem
        return found

    def _row(self, index: int, layer: Layer, shape: Shape, before: Sequence[LayerRow]) -> LayerRow:
        if index >= MOST_LAYERS:
            raise LayerError("a network has at most {most} layers", most=MOST_LAYERS)
        if isinstance(layer, Softmax) and index != len(self.layers) - 1:
            raise LayerError("only the last layer can be Softmax; take ReLU between layers")
        softmax = getattr(layer, "activation", "") == "softmax"
        if softmax and index != len(self.layers) - 1:
            raise LayerError("Softmax is for the last layer only, after the last Linear; use relu here")
        out = layer.out(shape)
        params, macs = layer.cost(shape)
        _check_size(out, params + totals(before)[0], macs + totals(before)[1])
        return LayerRow(child_name(layer, index), layer.TITLE, out, params, macs)

    def _check_whole(self) -> None:
        if not self.layers:
            raise LayerError("this network has no layers yet; begin with a Conv2D")
        if self.head is None:
            raise LayerError(
                "a network ends in a Linear, which has one output for each class (Softmax may follow); "
                "put one at the end"
            )
        if getattr(self.layers[self.head], "activation", "") == "relu":
            raise LayerError(
                "the last Linear gives the answers, and ReLU would cut them off; take softmax or none"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        layers = [
            {"layer": one.KIND, **{name: getattr(one, name) for name in field_names(type(one))}}
            for one in self.layers
        ]
        return {"format": FORMAT, "name": self.name, "input": list(self.input), "layers": layers}

    @classmethod
    def from_dict(cls, data: object) -> Plan:
        """Inverse of ``to_dict``. Raises InputError for anything else; what is read is data, never code."""
        if not isinstance(data, Mapping) or not isinstance(data.get("layers"), list | tuple):
            raise InputError(
                "a network is described by its input and its layers; Net.save() writes such files"
            )
        if data.get("format", FORMAT) != FORMAT:
            raise InputError(
                "this network has format {found}, this imago reads {known}; update imago-edge",
                found=str(data.get("format"))[:20],
                known=FORMAT,
            )
        entries, size = data["layers"], data.get("input")
        if len(entries) > MOST_LAYERS:
            raise LayerError("a network has at most {most} layers", most=MOST_LAYERS)
        layers = tuple(_read(number, entry) for number, entry in enumerate(entries, 1))
        shape: Any = tuple(size) if isinstance(size, list | tuple) else ()  # the plan itself checks it
        return cls(shape, layers, str(data.get("name", "net")))

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, self.to_dict())

    def lines(self) -> list[str]:
        """The layer table as text, and what is wrong where something is."""
        from imago.train.models.plan_text import plan_lines

        return plan_lines(self)


def read_plan(path: str | Path) -> Plan:
    """A plan from a file; its name is the file's. Raises InputError where it is not usable."""
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError("{path} is too large for the description of a network", path=path)
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("cannot read {path}: {reason}", path=path, reason=error.strerror or error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            "{path} is not JSON ({reason}); Net.save() writes such files", path=path, reason=error
        ) from error
    try:
        plan = Plan.from_dict(data)
        plan.require()
    except InputError as error:
        raise InputError("{path}: {problem}", path=path, problem=error) from error
    return replace(plan, name=path.stem)


def plan_of(config: ModelConfig) -> Plan:
    """The plan that a run keeps in its ``ModelConfig``. Raises InputError where it is damaged."""
    data = {
        "name": config.name.removeprefix(NET),
        "input": [config.channels, config.height, config.width],
        "layers": config.extra.get("layers", ()),
    }
    plan = Plan.from_dict(data).for_classes(config.num_classes)
    plan.require()
    return plan


def config_of(plan: Plan, classes: int) -> ModelConfig:
    """``ModelConfig`` of a plan for so many classes. Raises InputError where it was drawn for others."""
    if plan.classes not in (None, classes):
        raise InputError(
            "the network's last Linear has {units} outputs, the data have {classes} classes; "
            "make it {classes}, or leave the number out: it then follows the data",
            units=plan.classes,
            classes=classes,
        )
    channels, height, width = plan.input
    layers = plan.for_classes(None).to_dict()["layers"]
    return ModelConfig(NET + plan.name, classes, channels, width, height, extra={"layers": layers})


def child_name(layer: Layer, index: int) -> str:
    """Name of a layer in tables and in the torch module: its kind and its place, from 1."""
    return f"{layer.KIND}{index + 1}"


def _read(number: int, entry: object) -> Layer:
    kinds = {kind.KIND: kind for kind in LAYERS}
    if not isinstance(entry, Mapping) or str(entry.get("layer")) not in kinds:
        raise InputError(
            "layer {number} in the description is {value}; expected one of: {names}",
            number=number,
            value=repr(entry.get("layer") if isinstance(entry, Mapping) else entry)[:60],
            names=", ".join(kinds),
        )
    kind = kinds[str(entry["layer"])]
    values = {str(k): v for k, v in entry.items() if k != "layer"}
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(
            "layer {number} ({layer}) in the description does not have the settings {names}; it has: {known}",
            number=number,
            layer=kind.TITLE,
            names=", ".join(values)[:100] or "–",
            known=", ".join(field_names(kind)) or "–",
        ) from error
    except LayerError as error:
        raise _at(number, kind, error) from error


def _at(number: int, layer: Layer | type[Layer], error: InputError) -> InputError:
    return InputError(
        "layer {number} ({layer}) does not fit: {problem}", number=number, layer=layer.TITLE, problem=error
    )


def _check_size(out: Shape, params: int, macs: int) -> None:
    values = 1
    for side in out:
        values *= side
    if values > MOST_VALUES:
        raise LayerError(
            "its output {shape} has {values} values, more than {most}; "
            "take fewer channels, or a pooling before it",
            shape=shape_text(out),
            values=f"{values:,}",
            most=f"{MOST_VALUES:,}",
        )
    if params > MOST_PARAMS or macs > MOST_MACS:
        raise LayerError(
            "the network would have {params} parameters and {macs} multiplications, more than {most} and "
            "{work}; take fewer units or channels, or a pooling before it",
            params=f"{params:,}",
            macs=f"{macs:,}",
            most=f"{MOST_PARAMS:,}",
            work=f"{MOST_MACS:,}",
        )


def _tidy(name: object) -> str:
    """A name that is fit for a folder."""
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in str(name))[:60]
    return kept.strip("-") or "net"


__all__ = ["NET", "Plan", "Trace", "config_of", "plan_of", "read_plan"]
