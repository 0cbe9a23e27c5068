"""ONNX operators in torch: those that imago's exported networks are made of, with ONNX's meaning.

The graphs are written for one picture; here the first dimension may be any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imago.edge_runtime.errors import ModelError

Function = Callable[..., Any]  # tensors in, a tensor or a tuple of tensors out


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One node of a graph. constants: what its inputs hold in the file, by position."""

    kind: str
    name: str
    attributes: Mapping[str, Any]
    constants: Mapping[int, npt.NDArray[Any]]

    def ints(self, position: int) -> list[int] | None:
        """A constant input as integers, or None where the input is missing."""
        value = self.constants.get(position)
        return None if value is None else [int(v) for v in value.ravel()]

    def number(self, position: int, default: float) -> float:
        """A constant input as one number."""
        value = self.constants.get(position)
        return default if value is None else float(value.ravel()[0])

    def unsupported(self, what: str) -> ModelError:
        """The error for a form of the operator that is not known here."""
        return ModelError(
            "quantisation-aware training cannot follow the operator {kind} in the form of node {name} "
            "({what}); quantise without --qat",
            kind=self.kind,
            name=self.name,
            what=what,
        )


def function_of(op: Op) -> Function:
    """The torch function of a node. Raises ModelError for operators that are not known."""
    if op.kind not in OPERATORS:
        raise ModelError(
            "quantisation-aware training does not know the operator {kind} (node {name}); "
            "quantise without --qat",
            kind=op.kind,
            name=op.name,
        )
    return OPERATORS[op.kind](op)


def _plain(function: Function) -> Callable[[Op], Function]:
    return lambda op: function


def _conv(op: Op) -> Function:
    a = op.attributes
    before, after = _pads(op)
    stride, dilation, groups = a.get("strides", 1), a.get("dilations", 1), a.get("group", 1)
    if before == after:
        return lambda x, w, b=None: F.conv2d(x, w, b, stride, before, dilation, groups)
    around = _around(before, after)
    return lambda x, w, b=None: F.conv2d(F.pad(x, around), w, b, stride, 0, dilation, groups)


def _max_pool(op: Op) -> Function:
    a = op.attributes
    before, after = _pads(op)
    kernel, stride, dilation = a["kernel_shape"], a.get("strides", 1), a.get("dilations", 1)
    ceil = bool(a.get("ceil_mode", 0))
    if before == after:
        return lambda x: F.max_pool2d(x, kernel, stride, before, dilation, ceil)
    around = _around(before, after)
    return lambda x: F.max_pool2d(F.pad(x, around, value=-torch.inf), kernel, stride, 0, dilation, ceil)


def _average_pool(op: Op) -> Function:
    a = op.attributes
    before, after = _pads(op)
    if before != after:
        raise op.unsupported(f"pads {a['pads']}")
    kernel, stride = a["kernel_shape"], a.get("strides", 1)
    ceil, whole = bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0))
    return lambda x: F.avg_pool2d(x, kernel, stride, before, ceil, whole)


def _pads(op: Op) -> tuple[list[int], list[int]]:
    """Padding before and after, ``[height, width]`` each."""
    automatic = op.attributes.get("auto_pad", b"NOTSET")
    if automatic not in (b"NOTSET", b"VALID", b""):
        raise op.unsupported(f"auto_pad {automatic!r}")
    pads = op.attributes.get("pads") or [0, 0, 0, 0]
    if len(pads) != 4:
        raise op.unsupported(f"pads {pads}")
    return list(pads[:2]), list(pads[2:])


def _around(before: list[int], after: list[int]) -> list[int]:
    """For ``F.pad``: left, right, top, bottom."""
    return [before[1], after[1], before[0], after[0]]


def _gemm(op: Op) -> Function:
    a = op.attributes
    alpha, beta = float(a.get("alpha", 1.0)), float(a.get("beta", 1.0))
    if a.get("transA", 0):
        raise op.unsupported("transA")
    turned = bool(a.get("transB", 0))

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        y = F.linear(x, w if turned else w.T) * alpha
        return y if b is None else y + beta * b

    if alpha == beta == 1:
        return lambda x, w, b=None: F.linear(x, w if turned else w.T, b)
    return run


def _reshape(op: Op) -> Function:
    wanted = op.ints(1)
    if wanted is None:
        raise op.unsupported("shape")

    def run(x: Tensor, shape: None = None) -> Tensor:
        sides = [x.shape[i] if side == 0 else side for i, side in enumerate(wanted)]
        if sides[0] == 1:
            sides[0] = x.shape[0]
        return x.reshape(sides)

    return run


def _flatten(op: Op) -> Function:
    axis = op.attributes.get("axis", 1)
    if axis != 1:
        raise op.unsupported(f"axis {axis}")
    return lambda x: x.flatten(1)


def _axes(op: Op) -> list[int]:
    axes = op.attributes.get("axes") or op.ints(1)
    if not axes or 0 in axes:
        raise op.unsupported(f"axes {axes}")
    return list(axes)


def _mean(op: Op) -> Function:
    axes, keep = _axes(op), bool(op.attributes.get("keepdims", 1))
    return lambda x, *_: x.mean(axes, keepdim=keep)


def _squeeze(op: Op) -> Function:
    axes = tuple(_axes(op))
    return lambda x, *_: x.squeeze(axes)


def _unsqueeze(op: Op) -> Function:
    axes = sorted(_axes(op))
    if axes[0] < 0:
        raise op.unsupported(f"axes {axes}")

    def run(x: Tensor, *_: None) -> Tensor:
        for axis in axes:
            x = x.unsqueeze(axis)
        return x

    return run


def _split(op: Op) -> Function:
    axis, sizes = op.attributes.get("axis", 0), op.ints(1) or op.attributes.get("split")
    if sizes:
        return lambda x, *_: x.split(sizes, axis)
    parts = op.attributes["num_outputs"]
    return lambda x, *_: x.split(-(-x.shape[axis] // parts), axis)


def _clip(op: Op) -> Function:
    low = op.number(1, -torch.inf)
    high = op.number(2, torch.inf)
    return lambda x, *_: x.clamp(low, high)


def _hard_sigmoid(op: Op) -> Function:
    alpha = float(op.attributes.get("alpha", 0.2))
    beta = float(op.attributes.get("beta", 0.5))
    return lambda x: (x * alpha + beta).clamp(0, 1)


def _transpose(op: Op) -> Function:
    order = list(op.attributes.get("perm", ()))
    if not order or order[0] != 0:
        raise op.unsupported(f"perm {order}")
    return lambda x: x.permute(order)


def _concat(op: Op) -> Function:
    axis = op.attributes["axis"]
    return lambda *parts: torch.cat(parts, axis)


def _softmax(op: Op) -> Function:
    axis = op.attributes.get("axis", -1)
    return lambda x: x.softmax(axis)


def _pad(op: Op) -> Function:
    pads, mode = op.attributes.get("pads") or op.ints(1), op.attributes.get("mode", b"constant")
    if not pads or op.ints(3) is not None or mode != b"constant":
        raise op.unsupported(f"pads {pads}, mode {mode!r}")
    value, dimensions = op.number(2, 0.0), len(pads) // 2
    around = [side for k in reversed(range(dimensions)) for side in (pads[k], pads[k + dimensions])]
    return lambda x, *_: F.pad(x, around, value=value)


def _leaky_relu(op: Op) -> Function:
    slope = float(op.attributes.get("alpha", 0.01))
    return lambda x: F.leaky_relu(x, slope)


OPERATORS: dict[str, Callable[[Op], Function]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "Cast": _plain(lambda x: x),  # pixels arrive as float already
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _plain(torch.div),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(F.hardswish),
    "Identity": _plain(lambda x: x),
    "LeakyRelu": _leaky_relu,
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Pad": _pad,
    "ReduceMean": _mean,
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _plain(torch.sigmoid),
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
