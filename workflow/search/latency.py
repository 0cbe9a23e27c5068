"""How fast a network will be, before it is trained: its ONNX file with any weights, timed as it will run."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.files import replacing
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.export.deployable import Deployable
from imago.export.onnx_export import export_onnx
from imago.train.config import TrainConfig
from imago.train.models.registry import build_model, default_input

TIMED_S = 0.4  # enough for a median that is steady within a few per cent
MOST_RUNS = 300
WARM_UP = 10


def engine_key(config: TrainConfig) -> str:
    """What latency depends on, as a file's name."""
    width = 1.0 if config.width_mult is None else config.width_mult
    return f"{config.model}-{config.size}px-stem{config.stem or 0}-width{width:g}"


def engine_file(config: TrainConfig, classes: int, folder: Path) -> Path:
    """The network of ``config`` with random weights as an ONNX file in ``folder``, made if missing."""
    path = folder / f"{engine_key(config)}.onnx"
    if path.is_file():
        return path
    width, height, channels, color = default_input(config.model)
    width, height = (config.size or width), (config.size or height)
    torch.manual_seed(0)
    built = build_model(
        config.model,
        classes,
        channels=channels,
        size=(width, height),
        stem=config.stem,
        width_mult=config.width_mult or 1.0,
    )
    spec = ModelSpec(
        labels=tuple(str(k) for k in range(classes)),
        input=InputSpec(width, height, channels, color),
        name=engine_key(config),
    )
    pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    deployable = Deployable(built.module, channels, built.mean, built.std, 1.0)
    with replacing(path) as temporary:
        export_onnx(deployable, spec, pictures, temporary)
    return path


def engine_p50_us(path: Path) -> float:
    """Median time of one inference, one thread, nothing but the engine."""
    engine = OrtEngine(path)
    shape = [side or 1 for side in engine.input_shape]
    tensor = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(WARM_UP):
        engine.run(tensor)
    times: list[int] = []
    end = time.perf_counter() + TIMED_S
    while len(times) < MOST_RUNS and (time.perf_counter() < end or len(times) < WARM_UP):
        start = time.perf_counter_ns()
        engine.run(tensor)
        times.append(time.perf_counter_ns() - start)
    engine.close()
    return statistics.median(times) / 1000
