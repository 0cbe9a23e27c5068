"""``Net``: a network of one's own, put together layer by layer.

    from imago.train import Net

    net = Net(input=(1, 32, 32))
    net.add("Conv2D", 6, kernel=5, activation="relu")
    net.add("MaxPool", 2)
    net.add("Linear")                 # the last one: as many outputs as the data has classes
    print(net)                        # the layer table
    net.train("photos/", "runs/mine", epochs=20)

What BaseNN's lessons type works too: ``net.add("Conv2D", size=(1, 6), kernel_size=(5, 5),
activation="ReLU")``. Inputs follow from the layer before; where they are given they are checked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import InputError
from imago.train.models.layers import Layer, LayerError, Linear, field_names
from imago.train.models.plan import Plan, read_plan
from imago.train.models.plan_text import plan_lines
from imago.train.models.rows import LayerRow
from imago.train.models.typed import made, typed_layer, typed_settings

if TYPE_CHECKING:
    from torch import nn

    from imago.train.results import Outcome


class Net:
    """A network under construction. Every change either fits or raises InputError and changes nothing.

    Places count from 1, as in the table that ``print(net)`` shows.
    """

    def __init__(self, input: Sequence[int] = (1, 32, 32), name: str = "net") -> None:
        """input: ``(channels, height, width)``; 1 channel is grey, 3 is colour. name: for run folders."""
        self._plan = Plan(tuple(input), (), name)  # type: ignore[arg-type]

    @classmethod
    def from_plan(cls, plan: Plan) -> Net:
        """A net to work on from a description."""
        net = cls(plan.input, plan.name)
        net._plan = plan
        return net

    @classmethod
    def load(cls, path: Path | str) -> Net:
        """What ``save`` wrote. Raises InputError."""
        return cls.from_plan(read_plan(path))

    def save(self, path: Path | str) -> None:
        """Write the description as JSON, for ``imago train DATA --net FILE``."""
        self._plan.save(Path(path))

    @property
    def plan(self) -> Plan:
        """The description as an immutable value."""
        return self._plan

    def add(self, layer: str, *values: Any, **settings: Any) -> Net:
        """Put a layer at the end. values: its settings in their order; or by name."""
        return self.insert(len(self) + 1, layer, *values, **settings)

    def insert(self, place: int, layer: str, *values: Any, **settings: Any) -> Net:
        """Put a layer in, so that it is number ``place``; those behind it move on."""
        if not 1 <= place <= len(self) + 1:
            raise self._no_place(place)
        new, inputs = typed_layer(layer, values, settings)
        before, layers = self._plan, list(self._plan.layers)
        layers.insert(place - 1, new)
        return self._take(layers)._checked(place, inputs, before)

    def remove(self, place: int) -> Net:
        """Take layer number ``place`` out."""
        self._at(place)
        layers = list(self._plan.layers)
        del layers[place - 1]
        return self._take(layers)

    def move(self, place: int, to: int) -> Net:
        """Make layer number ``place`` number ``to``."""
        layers = list(self._plan.layers)
        moved = self._at(place)
        self._at(to)
        del layers[place - 1]
        layers.insert(to - 1, moved)
        return self._take(layers)

    def change(self, place: int, **settings: Any) -> Net:
        """Give layer number ``place`` other settings; those not named stay."""
        old = self._at(place)
        kept = {name: getattr(old, name) for name in field_names(type(old))}
        new, inputs = typed_settings(type(old), settings)
        before, layers = self._plan, list(self._plan.layers)
        layers[place - 1] = made(type(old), {**kept, **new})
        return self._take(layers)._checked(place, inputs, before)

    def table(self) -> tuple[LayerRow, ...]:
        """One row per layer: name, kind, output shape, parameters, multiply-accumulates."""
        return self._plan.trace().rows

    def module(self, classes: int | None = None) -> nn.Module:
        """The torch network with fresh weights: float32 ``(N, C, H, W)`` → logits ``(N, classes)``.

        Raises InputError where it is not finished.
        """
        from imago.train.models.net_module import LayeredNet

        plan = self._plan if classes is None else self._plan.for_classes(classes)
        return LayeredNet(plan.for_classes(plan.classes or 10))

    def train(self, data: Path | str, out: Path | str, **settings: Any) -> Outcome:
        """Train it on the pictures in ``data`` and leave a run in ``out``; settings as in TrainConfig."""
        from imago.train.config import TrainConfig
        from imago.train.session import train

        return train(Path(data), TrainConfig(net=self._plan, **settings), Path(out), say=print)

    def __len__(self) -> int:
        return len(self._plan.layers)

    def __str__(self) -> str:
        return "\n".join(plan_lines(self._plan))

    __repr__ = __str__

    def _take(self, layers: Sequence[Layer]) -> Net:
        """Make these the layers if every one of them fits; a missing end is no fault yet."""
        plan = replace(self._plan, layers=tuple(layers))
        trace = plan.trace()
        if trace.problem is not None and len(trace.rows) < len(plan.layers):
            raise trace.problem
        self._plan = plan
        return self

    def _at(self, place: int) -> Layer:
        if not 1 <= place <= len(self):
            raise self._no_place(place)
        return self._plan.layers[place - 1]

    def _no_place(self, place: int) -> InputError:
        return InputError(
            "there is no layer {number}; the network has {count}", number=place, count=len(self)
        )

    def _checked(self, place: int, told: int | None, before: Plan) -> Net:
        """Hold the inputs that were told for a layer against what it gets; the change is undone otherwise."""
        if told is None:
            return self
        shape = self._plan.input if place == 1 else self.table()[place - 2].shape
        layer = self._plan.layers[place - 1]
        actual = math.prod(shape) if isinstance(layer, Linear) else shape[0]
        if told == actual:
            return self
        self._plan = before
        raise LayerError(
            "layer {number} ({layer}) was told {told} inputs, but it gets {actual}; write {actual}, or leave "
            "the inputs out: they follow from the layer before",
            number=place,
            layer=layer.TITLE,
            told=told,
            actual=actual,
        )
