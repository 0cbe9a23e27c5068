"""ONNX Runtime with the settings of ``OrtEngine``, but open: any outputs, and the graph it really runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx

ERRORS_ONLY = 3  # onnxruntime's severity scale


def open_session(model: onnx.ModelProto, *, optimised: Path | None = None, plain: bool = False) -> Any:
    """A session with one thread. optimised: write the optimised graph there. plain: run node by node."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def optimised_graph(model: onnx.ModelProto) -> onnx.GraphProto:
    """What is left of ``model`` after ONNX Runtime's fusions: the nodes that it runs on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimised.onnx"
        open_session(model, optimised=target)
        return onnx.load(target).graph
