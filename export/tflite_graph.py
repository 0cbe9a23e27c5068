"""A TFLite network as something one can change: tensors and operators.

The file is read into the schema's own Python objects (``ai_edge_litert``), changed there and packed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
TYPES = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
NUMPY = {"FLOAT32": np.float32, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Version of an operator that works with the types imago gives it; the rest keep what the converter wrote.
VERSIONS = {"QUANTIZE": 2, "ADD": 2, "MUL": 2, "PAD": 1}

Array = npt.NDArray[Any]


class Network:
    """The one subgraph of a TFLite model; operators are the schema's ``OperatorT``, tensors are numbers."""

    def __init__(self, data: bytes) -> None:
        self.model: Any = flatbuffer_utils.read_model_from_bytearray(data)
        self.graph: Any = self.model.subgraphs[0]

    @property
    def input(self) -> int:
        """The (one) input tensor."""
        return int(self.graph.inputs[0])

    @property
    def output(self) -> int:
        """The (first) output tensor."""
        return int(self.graph.outputs[0])

    def kind(self, operator: Any) -> str:
        """``CONV_2D`` and so on."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return str(OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM"))

    def kinds(self) -> list[str]:
        """Operators in the order of execution."""
        return [self.kind(operator) for operator in self.graph.operators]

    def of(self, *kinds: str) -> list[Any]:
        """All operators of these kinds."""
        return [operator for operator in self.graph.operators if self.kind(operator) in kinds]

    def users(self, tensor: int) -> list[Any]:
        """Operators that read ``tensor``."""
        return [operator for operator in self.graph.operators if tensor in operator.inputs]

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Sides of a tensor."""
        told = self.graph.tensors[tensor].shape
        return () if told is None else tuple(int(side) for side in told)

    def type(self, tensor: int) -> str:
        """``FLOAT32``, ``INT8`` …"""
        return str(TYPES[self.graph.tensors[tensor].type])

    def name(self, tensor: int) -> str:
        """As the quantiser calls it."""
        return str(self.graph.tensors[tensor].name.decode("utf-8"))

    def constant(self, tensor: int) -> Array | None:
        """Values of a constant tensor; None for one that is computed."""
        if tensor < 0:
            return None
        described = self.graph.tensors[tensor]
        data = self.model.buffers[described.buffer].data
        if data is None or len(data) == 0 or self.type(tensor) not in NUMPY:
            return None
        return np.frombuffer(bytes(data), NUMPY[self.type(tensor)]).reshape(self.shape(tensor))

    def add_tensor(self, name: str, shape: Sequence[int], kind: str, values: Array | None = None) -> int:
        """A new tensor, constant where ``values`` are given; returns its number."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), [int(side) for side in shape]
        tensor.type = getattr(schema.TensorType, kind)
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, NUMPY[kind]).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def replace_constant(self, operator: Any, slot: int, values: Array) -> None:
        """Other values for one input of one operator; others that share the old constant keep it."""
        old = operator.inputs[slot]
        operator.inputs[slot] = self.add_tensor(f"{self.name(old)}/{len(self.graph.tensors)}", values.shape,
                                                self.type(old), values)  # fmt: skip

    def set_scale(self, tensor: int, scale: float, zero: int) -> None:
        """Per-tensor quantisation: real value = scale · (stored - zero)."""
        parameters = schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
        self.graph.tensors[tensor].quantization = parameters

    def scale(self, tensor: int) -> tuple[float, int] | None:
        """Per-tensor quantisation, None where there is none."""
        parameters = self.graph.tensors[tensor].quantization
        if parameters is None or parameters.scale is None or len(parameters.scale) != 1:
            return None
        return float(parameters.scale[0]), int(parameters.zeroPoint[0])

    def operator(self, kind: str, inputs: Iterable[int], outputs: Iterable[int], options: Any = None) -> Any:
        """A new operator, not yet in the graph."""
        made = schema.OperatorT()
        made.opcodeIndex = self._code(kind)
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            made.builtinOptions = options
        return made

    def _code(self, kind: str) -> int:
        wanted = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = wanted, min(wanted, 127)
        code.version = VERSIONS[kind]
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def insert_before(self, operator: Any, *new: Any) -> None:
        """Put operators into the order of execution."""
        at = self.position(operator)
        self.graph.operators[at:at] = new

    def remove(self, operator: Any) -> None:
        """Take an operator out; its output is to be wired up by the caller."""
        del self.graph.operators[self.position(operator)]

    def position(self, operator: Any) -> int:
        """Place in the order of execution."""
        return next(i for i, other in enumerate(self.graph.operators) if other is operator)

    def rewire(self, old: int, new: int) -> None:
        """Whoever read ``old`` reads ``new``."""
        for operator in self.graph.operators:
            operator.inputs = [new if tensor == old else int(tensor) for tensor in operator.inputs]

    def set_input(self, tensor: int) -> None:
        """Make ``tensor`` the network's input."""
        self.graph.inputs = [tensor]
        for signature in self.model.signatureDefs or []:
            signature.inputs[0].tensorIndex = tensor

    def to_bytes(self) -> bytes:
        """The file, with what nobody uses left out."""
        _drop_unused(self.model)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _drop_unused(model: Any) -> None:
    """Leave out tensors, buffers and operator codes that nothing refers to; share equal buffers."""
    graph = model.subgraphs[0]
    used = {int(t) for operator in graph.operators for t in (*operator.inputs, *operator.outputs) if t >= 0}
    used |= {int(t) for t in (*graph.inputs, *graph.outputs)}
    order = sorted(used)
    renumbered = {old: new for new, old in enumerate(order)} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in order]
    for operator in graph.operators:
        operator.inputs = [renumbered[int(t)] for t in operator.inputs]
        operator.outputs = [renumbered[int(t)] for t in operator.outputs]
    graph.inputs = [renumbered[int(t)] for t in graph.inputs]
    graph.outputs = [renumbered[int(t)] for t in graph.outputs]
    for signature in model.signatureDefs or []:
        for place in (*signature.inputs, *signature.outputs):
            place.tensorIndex = renumbered[int(place.tensorIndex)]
    _share_codes(model)
    _share_buffers(model)


def _share_codes(model: Any) -> None:
    kept: dict[tuple[int, int], int] = {}
    codes: list[Any] = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        key = (max(code.builtinCode, code.deprecatedBuiltinCode), code.version)
        if key not in kept:
            kept[key] = len(codes)
            codes.append(code)
        operator.opcodeIndex = kept[key]
    model.operatorCodes = codes


def _share_buffers(model: Any) -> None:
    kept: dict[bytes, int] = {b"": 0}
    buffers = [schema.BufferT()]
    for place in (*model.subgraphs[0].tensors, *(model.metadata or [])):
        data = model.buffers[place.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in kept:
            kept[content] = len(buffers)
            buffers.append(model.buffers[place.buffer])
        place.buffer = kept[content]
    model.buffers = buffers
