"""A trained run as one ONNX file: uint8 pixels in, probabilities out, the contract inside.

Steps: wrap the network (normalisation, temperature, softmax inside the graph) → torch.export-based
ONNX exporter → simplify → contract and self-test → verify against torch on real validation pictures →
rename into place. A file that fails verification is never left behind.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.spec import SCHEMA, ModelSpec
from imago.edge_runtime.types import F32, U8
from imago.export.deployable import Deployable, torch_probabilities
from imago.export.graph import simplify
from imago.export.verify import Verification, compare, self_tested

__all__ = [
    "Deployable",
    "engine_probabilities",
    "export_onnx",
    "torch_probabilities",
    "with_self_test",
    "write_model",
]

OPSET = 18


def export_onnx(deployable: Deployable, spec: ModelSpec, images: U8, target: Path) -> Verification:
    """Export to ``target``, verified on ``images`` (uint8 ``(n, H, W, C)`` at input size).

    Raises GateError where torch and ONNX Runtime disagree; then nothing is written.
    """
    deployable = deployable.eval()
    model = simplify(_traced(deployable, spec))
    wanted = torch_probabilities(deployable, images)
    got = engine_probabilities(OrtEngine(model.SerializeToString()), images)
    verification = compare(wanted, got)
    verification.require(target)
    write_model(model, with_self_test(model, spec, images), target)
    return verification


def _traced(deployable: nn.Module, spec: ModelSpec) -> onnx.ModelProto:
    example = torch.zeros(spec.input.shape, dtype=torch.uint8)
    silence = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence):
        warnings.simplefilter("ignore")  # the exporter's remarks on its own internals
        program = torch.onnx.export(
            deployable,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["probabilities"],
            verbose=False,
        )
    if program is None:
        raise ModelError("torch could not export this network to ONNX")
    return program.model_proto


def engine_probabilities(engine: OrtEngine, images: U8) -> F32:
    """What the engine says, picture by picture, as a board would ask it."""
    return np.stack([engine.run(np.ascontiguousarray(i.transpose(2, 0, 1)[None])) for i in images])


def with_self_test(model: onnx.ModelProto, spec: ModelSpec, images: U8) -> ModelSpec:
    """Add a small picture and this very model's answer to it."""
    return self_tested(OrtEngine(model.SerializeToString()), spec, images)


def write_model(model: onnx.ModelProto, spec: ModelSpec, target: Path) -> None:
    """Put the contract into ``model`` and write it atomically."""
    del model.metadata_props[:]
    for key, value in {SCHEMA_KEY: str(SCHEMA), CONTRACT_KEY: spec.to_json()}.items():
        model.metadata_props.add(key=key, value=value)
    with replacing(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
