"""TFLite's own metadata, so that other tools (MediaPipe, Android Studio, Netron) know picture and labels too.

A flatbuffer of its own (``ModelMetadata``, identifier ``M001``; schema: TFLite Support's metadata_schema.fbs,
field numbers as there) inside the network, which names the files in the archive behind it. imago reads its
contract only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from imago.edge_runtime.spec import ModelSpec
from imago.export.tflite_graph import Network

LABELS_FILE = "labels.txt"
NAME = b"TFLITE_METADATA"
IMAGE_PROPERTIES = 2  # of the union ContentProperties
COLOR_SPACE = {"rgb": 1, "gray": 2}  # bgr is not known there: 0
AXIS_LABELS = 2  # of the enumeration AssociatedFileType
Field = tuple[int, str, Any]  # number, kind (offset, byte), value


def add_metadata(network: Network, spec: ModelSpec) -> None:
    """Put the description of ``spec`` into ``network``."""
    made, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = bytearray(described(spec))
    network.model.buffers.append(buffer)
    made.name, made.buffer = NAME, len(network.model.buffers) - 1
    network.model.metadata = [made]


def labels_text(spec: ModelSpec) -> str:
    """The associated file: one label a line, in index order."""
    return "".join(f"{label}\n" for label in spec.labels)


def described(spec: ModelSpec) -> bytes:
    """``ModelMetadata`` for a classifier of pictures."""
    b = flatbuffers.Builder(512)
    labels = _table(b, 5, [(0, "offset", b.CreateString(LABELS_FILE)), (2, "byte", AXIS_LABELS)])
    files = _vector(b, [labels])
    properties = _table(b, 2, [(0, "byte", COLOR_SPACE.get(spec.input.color, 0))])
    content = _table(b, 3, [(0, "byte", IMAGE_PROPERTIES), (1, "offset", properties)])
    image = _table(b, 7, [(0, "offset", b.CreateString("image")), (3, "offset", content)])
    answer = _table(b, 7, [(0, "offset", b.CreateString("probabilities")), (6, "offset", files)])
    inputs, outputs = _vector(b, [image]), _vector(b, [answer])
    graph = _table(b, 9, [(2, "offset", inputs), (3, "offset", outputs)])
    graphs, name = _vector(b, [graph]), b.CreateString(spec.name)
    text = b.CreateString(
        "Made by imago; its whole contract is the file imago.contract in the archive behind."
    )
    parser = b.CreateString("1.0.0")
    root = _table(
        b, 8, [(0, "offset", name), (1, "offset", text), (3, "offset", graphs), (7, "offset", parser)]
    )
    b.Finish(root, file_identifier=b"M001")
    return bytes(b.Output())


def _table(b: Any, slots: int, fields: Sequence[Field]) -> int:
    b.StartObject(slots)
    for number, kind, value in fields:
        if kind == "byte":
            b.PrependByteSlot(number, value, 0)
        else:
            b.PrependUOffsetTRelativeSlot(number, value, 0)
    return int(b.EndObject())


def _vector(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
