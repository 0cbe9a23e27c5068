"""An ONNX model as a torch network: the very program that is shipped, made trainable.

Float models come out as they are. In quantised ones (QDQ form) every QuantizeLinear/DequantizeLinear
pair is fake quantisation with a learned scale, and every stored integer weight has a float shadow: what
is trained is what the engine runs, so nothing is left to agree on between training and export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from imago.quantize.qat.fake import Array, QuantisedBias, QuantisedWeight, Scale, Values

Part = QuantisedWeight | QuantisedBias | Values


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One operation. dropped: tensors that nothing needs after it."""

    run: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """Where the file keeps a trained part: names of its numbers and of their scale ("": none)."""

    part: Part
    values: str
    scale: str = ""
    zero_point: int = 0


@dataclass(eq=False)
class Plan:
    """All that a network is made of (``building.py`` collects it).

    parts: what is trained, by the tensor it makes. scales: by the initialisers that hold them; several may
    share one. constants: the other float numbers of the file.
    """

    input: str
    logits: str
    output: str
    parts: dict[str, Part] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)


class GraphModule(nn.Module):
    """A model in torch: pixels float32 ``(N, C, H, W)`` in 0..255 → logits float32 ``(N, classes)``."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self.scales = nn.ModuleList(_unique(plan.scales.values()))
        self.parts = nn.ModuleList(_unique(plan.parts.values()))
        self._constants = {name: f"constant{k}" for k, name in enumerate(plan.constants)}
        for name, buffer in self._constants.items():
            self.register_buffer(buffer, torch.from_numpy(np.array(plan.constants[name], np.float32)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, divided by the temperature that the file holds."""
        return self._run(pixels, self._plan.logits)

    def probabilities(self, pixels: Tensor) -> Tensor:
        """What the engine answers: float32 ``(N, classes)``."""
        return self._run(pixels, self._plan.output)

    def _run(self, pixels: Tensor, wanted: str) -> Tensor:
        # augmented pictures go beyond the levels of a camera, and between them
        values: dict[str, Any] = {self._plan.input: pixels.clamp(0, 255).round_()}
        values.update({name: getattr(self, buffer) for name, buffer in self._constants.items()})
        values.update({name: part() for name, part in self._plan.parts.items()})
        for step in self._plan.steps:
            made = step.run(*(values.get(name) for name in step.inputs))
            values.update(zip(step.outputs, made if isinstance(made, tuple) else (made,), strict=True))
            if wanted in step.outputs:
                break
            for name in step.dropped:
                del values[name]
        result: Tensor = values[wanted]
        return result

    def numbers(self) -> dict[str, Array]:
        """Everything trained, as the file stores it: by initialiser; shapes may lack or have ones."""
        found = {name: _numpy(scale()) for name, scale in self._plan.scales.items()}
        for stored in self._plan.stored:
            part = stored.part
            if isinstance(part, Values):
                found[stored.values] = _numpy(part())
                continue
            found[stored.values] = part.integers() + stored.zero_point
            if isinstance(part, QuantisedBias):
                found[stored.scale] = _numpy(part.scale())
        return found


def write_back(model: onnx.ModelProto, module: GraphModule) -> onnx.ModelProto:
    """A copy of ``model`` with what ``module``, made from it, has learned; names, shapes and types stay."""
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    numbers = module.numbers()
    for initializer in fresh.graph.initializer:
        if initializer.name not in numbers:
            continue
        before = numpy_helper.to_array(initializer)
        values = numbers[initializer.name]
        values = np.full(before.shape, values) if values.size == 1 else values.reshape(before.shape)
        values = values.astype(before.dtype)
        initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return fresh


def _unique(modules: Any) -> Iterator[nn.Module]:
    return iter({id(module): module for module in modules}.values())


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy()
