"""Networks as imago exports them, small and quickly made, and what ONNX Runtime says of them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.export.onnx_export import Deployable, export_onnx
from imago.train.models.registry import build_model


def pictures(channels: int, side: int, count: int) -> np.ndarray:
    """Smooth random pictures, uint8 ``(n, C, H, W)``."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 8, 8, channels), np.uint8)
    large = [cv2.resize(p, (side, side), interpolation=cv2.INTER_CUBIC) for p in small]
    return np.stack(large).reshape(count, side, side, channels).transpose(0, 3, 1, 2).copy()


@cache
def network(name: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """A network of the family with lively statistics and answers far from uniform, as imago exports it."""
    side, channels = 32, 1 if name == "lenet5" else 3
    torch.manual_seed(0)
    built = build_model(name, 6, channels=channels, size=(side, side), stem=0)
    images = pictures(channels, side, 24)
    module = built.module.train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the plain mean of what it sees
    deployable = Deployable(module, channels, built.mean, built.std, 1.3)
    with torch.no_grad():
        deployable(torch.from_numpy(images))
        logits = module.eval()(torch.from_numpy(images).float() / 64 - 2)
        last = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)][-1]
        last.weight *= 2 / (logits - logits.mean(0)).std()
    inputs = InputSpec(side, side, channels, "gray" if channels == 1 else "rgb")
    spec = ModelSpec(labels=tuple("abcdef"), input=inputs, name=name)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(deployable, spec, images[:4].transpose(0, 2, 3, 1), Path(folder) / "m.onnx")
        return onnx.load(Path(folder) / "m.onnx"), images


def answers(model: onnx.ModelProto, images: np.ndarray, *, fused: bool = True) -> np.ndarray:
    """ONNX Runtime's probabilities; unfused: node by node as the file says."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in images])
