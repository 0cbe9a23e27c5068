"""An ONNX graph as a mapping: constants as arrays, who makes a tensor, who uses it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
Node = Any  # onnx.NodeProto; the onnx package is untyped


class View:
    """A copy of ``model`` to look into and to change; ``model`` itself stays as it is.

    constants: initialisers as arrays. maker: tensor name → node. users: tensor name → nodes.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.constants: dict[str, Array] = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        self.maker: dict[str, Node] = {name: n for n in self.graph.node for name in n.output}
        self.users: dict[str, list[Node]] = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                if name:
                    self.users[name].append(node)
        self.outputs = {o.name for o in self.graph.output}
        self.image: str = self.graph.input[0].name

    def inputs(self, node: Node) -> list[str]:
        """The inputs of ``node`` that depend on the picture."""
        return [name for name in node.input if name and name not in self.constants]

    def constant(self, node: Node, index: int) -> Array | None:
        """Input ``index`` of ``node`` as an array; None where it is absent or depends on the picture."""
        return self.constants.get(node.input[index]) if len(node.input) > index else None

    def only_user(self, name: str) -> Node | None:
        """The one node that uses ``name``; None where there are more, or it is an output of the graph."""
        users = self.users[name]
        return users[0] if len(users) == 1 and name not in self.outputs else None

    def set_constant(self, name: str, values: Array) -> None:
        """Replace an initialiser (same name, any shape)."""
        array = np.asarray(values, self.constants[name].dtype, order="C")
        self.constants[name] = array
        for tensor in self.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(array, name))


def attribute(node: Node, name: str, default: Any) -> Any:
    """An attribute's value, or ``default`` where the node does not carry it."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def set_attribute(node: Node, name: str, value: Any) -> None:
    """Set or replace an attribute."""
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def label(node: Node) -> str:
    """What to call a layer before people: where its weights sit in the network, ``features.3.block.0.0``."""
    weight = node.input[1] if len(node.input) > 1 else ""
    return weight.removeprefix("module.").removesuffix(".weight") or node.name
