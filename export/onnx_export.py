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
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.contract import CONTRACT_KEY, SCHEMA_KEY
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.spec import SCHEMA, ModelSpec, SelfTest
from imago.edge_runtime.types import F32, U8, Frame
from imago.export.graph import simplify
from imago.export.verify import Verification, compare

OPSET = 18
SELF_TEST_SIDE = 32  # pixels; small enough for the file, real enough to exercise the whole path


class Deployable(nn.Module):
    """The network as it ships: uint8 ``(1, C, H, W)`` in, probabilities float32 ``(1, classes)`` out."""

    def __init__(
        self,
        module: nn.Module,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        temperature: float,
    ) -> None:
        super().__init__()
        self.module = module
        self.temperature = temperature
        spread = torch.tensor(std).expand(channels)
        middle = torch.tensor(mean).expand(channels)
        self.gain: Tensor
        self.offset: Tensor
        self.register_buffer("gain", (1 / (255 * spread))[None, :, None, None].clone())
        self.register_buffer("offset", (-middle / spread)[None, :, None, None].clone())

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        logits = self.module(image.float() * self.gain + self.offset)
        return torch.softmax(logits / self.temperature, dim=1)


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


@torch.inference_mode()
def torch_probabilities(deployable: nn.Module, images: U8) -> F32:
    """What torch says: float32 ``(n, classes)`` for uint8 ``(n, H, W, C)``."""
    rows = [deployable(torch.from_numpy(i.transpose(2, 0, 1)[None].copy())) for i in images]
    return torch.cat(rows).numpy()


def engine_probabilities(engine: OrtEngine, images: U8) -> F32:
    """What the engine says, picture by picture, as a board would ask it."""
    return np.stack([engine.run(np.ascontiguousarray(i.transpose(2, 0, 1)[None])) for i in images])


def with_self_test(model: onnx.ModelProto, spec: ModelSpec, images: U8) -> ModelSpec:
    """Add a small picture and this very model's answer to it."""
    from imago.edge_runtime.resample import resize

    side = (min(SELF_TEST_SIDE, spec.input.width), min(SELF_TEST_SIDE, spec.input.height))
    small = resize(images[0], *side)
    if spec.input.color == "bgr":
        small = small[:, :, ::-1]
    picture = np.ascontiguousarray(small[:, :, 0] if spec.input.channels == 1 else small)
    engine = OrtEngine(model.SerializeToString())
    with Classifier.from_engine(engine, spec) as classifier:
        answer = classifier.predict(Frame(picture, "gray" if picture.ndim == 2 else "rgb"))
    return replace(spec, selftest=SelfTest(picture, answer.probabilities))


def write_model(model: onnx.ModelProto, spec: ModelSpec, target: Path) -> None:
    """Put the contract into ``model`` and write it atomically."""
    del model.metadata_props[:]
    for key, value in {SCHEMA_KEY: str(SCHEMA), CONTRACT_KEY: spec.to_json()}.items():
        model.metadata_props.add(key=key, value=value)
    with replacing(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
