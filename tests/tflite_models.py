"""Small TFLite models for tests, built operator by operator with the schema's own objects: no converter."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.edge_runtime.spec import InputSpec, ModelSpec, SelfTest
from imago.export.tflite_export import with_contract

LABELS = ("ant", "bee", "wasp")
OPTIONS = {
    "CONV_2D": schema.Conv2DOptionsT,
    "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
    "MEAN": schema.ReducerOptionsT,
    "ADD": schema.AddOptionsT,
    "MUL": schema.MulOptionsT,
    "MAX_POOL_2D": schema.Pool2DOptionsT,
    "SOFTMAX": schema.SoftmaxOptionsT,
}


class Builder:
    """Tensors and operators in order; the last output of ``finish`` is the network's."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: list[Any] = []

    def tensor(
        self,
        shape: tuple[int, ...],
        kind: str = "FLOAT32",
        values: Any = None,
        scale: tuple[float, int] | None = None,
        signature: tuple[int, ...] | None = None,
    ) -> int:
        """A tensor, constant where values are given; returns its number."""
        made = schema.TensorT()
        made.name, made.shape = f"t{len(self.tensors)}".encode(), list(shape)
        made.type = getattr(schema.TensorType, kind)
        made.shapeSignature = None if signature is None else list(signature)
        if values is not None:
            dtype = {"FLOAT32": np.float32, "INT8": np.int8, "INT32": np.int32}[kind]
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, dtype).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.array([scale[0]], np.float32)
            made.quantization.zeroPoint = np.array([scale[1]], np.int64)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def op(self, kind: str, inputs: list[int], output: int, version: int = 1, **options: Any) -> int:
        """An operator; returns its output."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        self.codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.codes) - 1, inputs, [output]
        if kind in OPTIONS:
            made.builtinOptions = OPTIONS[kind]()
            made.builtinOptionsType = getattr(schema.BuiltinOptions, OPTIONS[kind].__name__.removesuffix("T"))
            for name, value in options.items():
                setattr(made.builtinOptions, name, value)
        self.operators.append(made)
        return output

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The file."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs, graph.name = inputs, outputs, b"main"
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes, model.description = self.codes, b"test"
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def spec_of(size: int = 8, **more: Any) -> ModelSpec:
    """A contract that fits ``classifier``."""
    return ModelSpec(
        labels=LABELS, input=InputSpec(size, size, 1, "gray", layout="nhwc"), name="tiny", **more
    )


def weights(size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Kernel ``(3, size²)`` and bias of ``classifier``."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.01, (3, size * size)).astype(np.float32), np.array([0.1, -0.2, 0.3], np.float32)


def classifier(size: int = 8, *, batch: int = 1, open_side: bool = False) -> bytes:
    """uint8 ``(1, size, size, 1)`` → cast → fully connected → softmax over three classes."""
    b = Builder()
    kernel, bias = weights(size)
    signature = (-1, size, size, 1) if open_side else None
    image = b.tensor((batch, size, size, 1), "UINT8", signature=signature)
    pixels = b.op("CAST", [image], b.tensor((batch, size, size, 1)))
    shape = b.tensor((2,), "INT32", (-1 if open_side else batch, size * size))
    flat = b.op("RESHAPE", [pixels, shape], b.tensor((batch, size * size)))
    kernels, biases = b.tensor(kernel.shape, values=kernel), b.tensor((3,), values=bias)
    logits = b.op("FULLY_CONNECTED", [flat, kernels, biases], b.tensor((batch, 3)))
    probabilities = b.op("SOFTMAX", [logits], b.tensor((batch, 3)), beta=1.0)
    return b.finish([image], [probabilities])


def lenet(side: int = 32) -> bytes:
    """A network of LeNet-5's size (random weights, three classes) for grey pictures."""
    rng = np.random.default_rng(0)
    b = Builder()
    image = b.tensor((1, side, side, 1), "UINT8")
    value = b.op("CAST", [image], b.tensor((1, side, side, 1)))
    channels = 1
    for filters in (6, 16):
        kernel = b.tensor((filters, 5, 5, channels), values=rng.normal(0, 0.01, (filters, 5, 5, channels)))
        side, channels = side - 4, filters
        made = b.tensor((1, side, side, filters))
        ways = {"padding": 1, "strideW": 1, "strideH": 1}  # VALID
        value = b.op("CONV_2D", [value, kernel, b.tensor((filters,), values=np.zeros(filters))], made, **ways)
        side //= 2
        window = {"padding": 1, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
        value = b.op("MAX_POOL_2D", [value], b.tensor((1, side, side, filters)), **window)
    width = side * side * channels
    value = b.op("RESHAPE", [value, b.tensor((2,), "INT32", (1, width))], b.tensor((1, width)))
    for wide in (120, 84, 3):
        kernel = b.tensor((wide, width), values=rng.normal(0, width**-0.5, (wide, width)))
        value = b.op(
            "FULLY_CONNECTED", [value, kernel, b.tensor((wide,), values=np.zeros(wide))], b.tensor((1, wide))
        )
        width = wide
    return b.finish([image], [b.op("SOFTMAX", [value], b.tensor((1, 3)), beta=1.0)])


def expected(image: np.ndarray, size: int = 8) -> np.ndarray:
    """What ``classifier`` says, by numpy."""
    kernel, bias = weights(size)
    logits = kernel @ image.reshape(-1).astype(np.float32) + bias
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def quantised_means(kind: str = "INT8") -> bytes:
    """A foreign int8 or uint8 network: means over rows and columns of a ``(1, 4, 4, 3)`` picture; input in
    steps of 1, output in steps of 2."""
    zero = -128 if kind == "INT8" else 0
    b = Builder()
    image = b.tensor((1, 4, 4, 3), kind, scale=(1.0, zero))
    axes = b.tensor((2,), "INT32", (1, 2))
    means = b.op("MEAN", [image, axes], b.tensor((1, 3), kind, scale=(2.0, zero)), version=2)
    return b.finish([image], [means])


def write(path: Path, network: bytes | None = None, spec: ModelSpec | None = None) -> ModelSpec:
    """``classifier`` with contract and self-test, as imago would write it; returns the contract."""
    network = classifier() if network is None else network
    spec = spec or spec_of()
    picture = np.random.default_rng(3).integers(0, 256, (spec.input.height, spec.input.width), np.uint8)
    answer = LiteRtEngine(network).run(picture[None, :, :, None])
    spec = dataclasses.replace(spec, selftest=SelfTest(picture, answer))
    path.write_bytes(with_contract(network, spec))
    return spec
