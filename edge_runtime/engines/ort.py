"""ONNX Runtime on the CPU, set up for one picture at a time on a small board.

- Threads are explicit and do not spin: a spinning pool heats the board and starves the camera thread.
- The arena stays on: measured on x86-64 (LeNet-5, MobileNetV3-Small 224), switching it or the memory
  pattern off saves no memory that could be told from noise and costs up to 9 % latency.
- A plain ``run`` with the output named: 34 µs against 32 µs for a bound input and output and 36 µs for
  ``run(None, …)`` (LeNet-5). Binding would need static shapes and a copy of the output, so it is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.engines.base import Tensor, check_file
from imago.edge_runtime.errors import ImagoError, ModelError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import F32

DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
ERRORS_ONLY = 3  # onnxruntime's severity scale


class OrtEngine:
    """One ONNX model in one onnxruntime session.

    model: path, or the file's bytes. threads: of one inference, at least 1. arena: keep freed memory for
    the next run. optimise: False loads faster, for reading metadata only.

    Raises ModelError where the file cannot be used: damaged, unknown operator or opset, other inputs.
    """

    name, output_step = "onnxruntime", 0.0

    def __init__(
        self, model: Path | str | bytes, threads: int = 1, *, arena: bool = True, optimise: bool = True
    ) -> None:
        from importlib import import_module

        onnxruntime: Any = import_module("onnxruntime")  # its types come and go between versions
        # Otherwise a board without a GPU is told so at every start.
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
        self.version: str = onnxruntime.__version__
        self.threads = threads
        self._shown = tr("model") if isinstance(model, bytes) else str(model)
        self._session: Any = _session(
            onnxruntime,
            model,
            session_options(onnxruntime, threads, arena=arena, optimise=optimise),
            self._shown,
        )
        try:
            self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
            self._read_signature()
        except UnicodeDecodeError as error:  # onnxruntime hands a file's texts on as they are
            raise _damaged(self._shown, error) from error

    def _read_signature(self) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in DTYPES or len(inputs[0].shape) != 4:
            raise ModelError(
                "{path} takes {inputs}; expected one picture, 4 dimensions of uint8 or float32: "
                "this is not an image classifier that imago can run",
                path=self._shown,
                inputs=", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "nothing",
            )
        if outputs[0].type != "tensor(float)":
            raise ModelError(
                "{path} puts out {type}; expected float32, one value per class",
                path=self._shown,
                type=outputs[0].type,
            )
        self._input: str = inputs[0].name
        self._wanted = [outputs[0].name]
        self.input_shape = _known(inputs[0].shape)
        self.input_dtype = DTYPES[inputs[0].type]
        self.outputs = len(outputs)
        shape = _known(outputs[0].shape)
        self.classes = None if None in shape[1:] or not shape else int(np.prod(shape[1:]))  # type: ignore[arg-type]

    def run(self, tensor: Tensor) -> F32:
        """See ``Engine.run``. Raises ModelError where the network itself fails on this tensor."""
        try:
            row: F32 = self._session.run(self._wanted, {self._input: tensor})[0].ravel()
        except ImagoError:
            raise
        except Exception as error:
            raise ModelError(
                "{path} fails on an input of {shape} ({reason}); is the input size right?",
                path=self._shown,
                shape=tensor.shape,
                reason=_first_line(error),
            ) from error
        return row

    def close(self) -> None:
        """See ``Engine.close``."""
        self._session = None


def session_options(onnxruntime: Any, threads: int, *, arena: bool = True, optimise: bool = True) -> Any:
    """How every session of imago is set up (see the module's docstring)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _session(onnxruntime: Any, model: Path | str | bytes, options: Any, shown: str) -> Any:
    """The session, or one clear line: onnxruntime's own texts run over many lines of paths and C++."""
    if not isinstance(model, bytes):
        check_file(Path(model))
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        text = str(error)
        if "opset" in text.lower() or "not implemented" in text.lower() or "not a registered" in text.lower():
            raise ModelError(
                "{path} needs something that onnxruntime {version} does not have ({reason}); "
                "update onnxruntime, or export with an older opset",
                path=shown,
                version=onnxruntime.__version__,
                reason=_first_line(error),
            ) from error
        raise _damaged(shown, error) from error


def _damaged(shown: str, error: Exception) -> ModelError:
    return ModelError(
        "{path} is not a usable ONNX model ({reason}); "
        "the file is damaged or cut short: copy or export it again",
        path=shown,
        reason=_first_line(error),
    )


def _known(shape: list[Any]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) and side > 0 else None for side in shape)


def _first_line(error: Exception) -> str:
    """What is left of ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : …`` without its codes."""
    text = " ".join(str(error).split())
    text = text.split(" : ", 2)[-1]
    return text if len(text) <= 160 else text[:157] + "…"
