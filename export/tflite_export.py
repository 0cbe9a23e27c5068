"""A converted network as one .tflite file: verified against torch, the contract appended, written whole."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY
from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.edge_runtime.engines.tflite_file import CRC_KEY, checksum
from imago.edge_runtime.files import replacing
from imago.edge_runtime.spec import SCHEMA, ModelSpec
from imago.edge_runtime.types import F32, U8
from imago.export.tflite_graph import Network
from imago.export.tflite_metadata import LABELS_FILE, add_metadata, labels_text
from imago.export.verify import TOLERANCE, Verification, compare, self_tested

SELF_TESTS = 32  # pictures from which the surest is stored
INTEGER_TOLERANCE = 0.1  # interpreters round integers differently: MobileNetV3-Small's answers differ by 0.03
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the zip format's zero: the same network gives the same bytes


def export_tflite(network: bytes, wanted: F32, spec: ModelSpec, images: U8, target: Path) -> Verification:
    """Write ``network`` to ``target`` with its contract, if it says what torch says.

    network: a float .tflite, uint8 ``(1, H, W, C)`` in. wanted: torch's probabilities float32
    ``(n, classes)`` for ``images``, uint8 ``(n, H, W, C)``. Raises GateError where they disagree.
    """
    verification = compare(wanted, engine_probabilities(LiteRtEngine(network), images))
    verification.require(target)
    write_model(network, spec, images, target)
    return verification


def engine_probabilities(engine: LiteRtEngine, images: U8) -> F32:
    """float32 ``(n, classes)``, picture by picture, as a board would ask for it."""
    return np.stack([engine.run(np.ascontiguousarray(image[None])) for image in images])


def write_model(network: bytes, spec: ModelSpec, images: U8, target: Path) -> None:
    """Append contract, self-test (on the first picture) and checksum to ``network``; write it atomically."""
    nhwc = replace(spec, input=replace(spec.input, layout="nhwc"))
    described = Network(network)
    add_metadata(described, spec)
    network = described.to_bytes()
    tolerance = TOLERANCE if spec.precision == "fp32" else INTEGER_TOLERANCE
    tested = self_tested(LiteRtEngine(network), nhwc, images, tries=SELF_TESTS, tolerance=tolerance)
    data = with_contract(network, tested)
    with replacing(target) as temporary:
        temporary.write_bytes(data)


def with_contract(network: bytes, spec: ModelSpec) -> bytes:
    """``network`` with a zip archive behind it, as TFLite's metadata tools append files: entries stored,
    offsets from the beginning of the file."""
    entries = {
        CONTRACT_KEY: spec.to_json(),
        SCHEMA_KEY: str(SCHEMA),
        CRC_KEY: checksum(network),
        LABELS_FILE: labels_text(spec),
    }
    buffer = io.BytesIO(network)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, text in entries.items():
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), text)
    return buffer.getvalue()
