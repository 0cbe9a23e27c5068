"""What a network costs as a function of its channel counts, without building it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from imago.quantize.pruning.goal import Cost, Unit
from imago.quantize.pruning.wiring import ChannelGroup
from imago.train.models.config import ModelConfig
from imago.train.models.pruned import widths
from imago.train.models.summary import LayerRow, layer_table

# Time is not proportional to multiplications: a depthwise layer mostly waits for memory. "work" counts a
# value that a layer reads or writes like so many multiply-accumulates (docs/decisions.md, pruning).
MOVE = 16
# What an exported ONNX file holds beside the weights: the contract with its self-test picture, and per
# layer the node, its names and, in int8, scales, zero points and the nodes that quantise. Fitted to the
# exported files of the five tested networks, which a test holds the estimate to.
FILE_BYTES = 7_000
LAYER_BYTES = {"fp32_bytes": 300, "int8_bytes": 1_600}


@dataclass(frozen=True, slots=True)
class _Width:
    """A layer's channel count: ``base + Σ per · kept[group]``."""

    base: int
    links: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, count: int, links: Sequence[tuple[int, int]], sizes: Sequence[int]) -> _Width:
        return cls(count - sum(per * sizes[group] for group, per in links), tuple(links))

    def at(self, kept: Sequence[int]) -> int:
        return self.base + sum(per * kept[group] for group, per in self.links)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's costs for ``out`` and ``into`` channels.

    kernel, macs: weights and multiply-accumulates per (out, in) pair. bias: learnable numbers per output
    channel. moved: values written per output channel, and read per input channel. folded: it has no
    weights of its own in the exported file (normalisation).
    """

    out: _Width
    into: _Width
    kernel: int
    macs: int
    bias: int
    moved: tuple[int, int]
    folded: bool

    def cost(self, unit: Unit, kept: Sequence[int]) -> int:
        out, into = self.out.at(kept), self.into.at(kept)
        if unit == "macs":
            return self.macs * out * into
        if unit == "work":
            return self.macs * out * into + MOVE * (self.moved[0] * out + self.moved[1] * into)
        if unit == "params":
            return self.kernel * out * into + self.bias * out
        if self.folded:
            return 0
        each, per_out = (4, 4) if unit == "fp32_bytes" else (1, 17)  # int8: bias, scales, zero points
        return each * self.kernel * out * into + per_out * out + LAYER_BYTES[unit]


class CostModel:
    """Costs of ``module`` for any number of channels kept in each of ``groups``."""

    def __init__(
        self, module: nn.Module, shape: tuple[int, int, int], groups: Sequence[ChannelGroup]
    ) -> None:
        """shape: ``(channels, height, width)`` of the input."""
        rows = layer_table(module, shape)
        links: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for index, group in enumerate(groups):
            for member in group.members:
                links.setdefault((member.layer, member.side), []).append((index, member.per))
        self.full = tuple(group.channels for group in groups)
        self._layers = {
            name: _layer(
                layer,
                [row for row in rows if row.name == name],
                links.get((name, "out"), []),
                links.get((name, "in"), []),
                self.full,
            )
            for name, layer in module.named_modules()
            if widths(layer)
        }
        self._of_group = [
            [self._layers[name] for name in dict.fromkeys(m.layer for m in group.members)] for group in groups
        ]
        counted = sum(row.params for row in rows)
        self._rest = counted - sum(layer.cost("params", self.full) for layer in self._layers.values())

    def total(self, unit: Unit, kept: Sequence[int]) -> int:
        """Cost of the whole network with ``kept[i]`` channels in group i."""
        own = sum(layer.cost(unit, kept) for layer in self._layers.values())
        if unit in ("macs", "work"):
            return own
        return own + self._rest if unit == "params" else own + 4 * self._rest + FILE_BYTES

    def saving(self, unit: Unit, kept: Sequence[int], group: int, to: int) -> int:
        """What going from ``kept[group]`` to ``to`` channels in one group saves (negative: costs)."""
        after = list(kept)
        after[group] = to
        return sum(layer.cost(unit, kept) - layer.cost(unit, after) for layer in self._of_group[group])

    def cost(self, kept: Sequence[int] | None = None) -> Cost:
        """All figures at once (default: nothing removed)."""
        kept = self.full if kept is None else kept
        return Cost(
            self.total("macs", kept),
            self.total("params", kept),
            self.total("fp32_bytes", kept),
            self.total("int8_bytes", kept),
        )


def cost_of(module: nn.Module, config: ModelConfig) -> Cost:
    """What a network costs as it is. config: its description."""
    return CostModel(module, (config.channels, config.height, config.width), ()).cost()


def _layer(
    layer: nn.Module,
    rows: Iterable[LayerRow],
    out_links: Sequence[tuple[int, int]],
    in_links: Sequence[tuple[int, int]],
    sizes: Sequence[int],
) -> _Layer:
    """rows: of the layer table; a layer that is used twice has two."""
    wide = widths(layer)
    out = _Width.of(wide[0], out_links, sizes)
    if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
        return _Layer(out, _Width(1), 0, 0, 2 if layer.affine else 0, (0, 0), folded=True)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise TypeError(type(layer).__name__)
    alone = isinstance(layer, nn.Conv2d) and layer.groups > 1  # each channel for itself
    into = _Width(1) if alone else _Width.of(wide[1], in_links, sizes)
    pairs = wide[0] if alone else wide[0] * wide[1]
    macs = sum(row.macs for row in rows) // pairs
    written = sum(_pixels(row.shape) for row in rows)
    read = written * (layer.stride[0] * layer.stride[1] if isinstance(layer, nn.Conv2d) else 1)
    moved = (written + read, 0) if alone else (written, read)
    kernel, bias = layer.weight.numel() // pairs, 0 if layer.bias is None else 1
    return _Layer(out, into, kernel, macs, bias, moved, folded=False)


def _pixels(shape: Sequence[int]) -> int:
    return shape[1] * shape[2] if len(shape) == 3 else 1
