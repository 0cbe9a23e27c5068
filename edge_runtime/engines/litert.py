"""LiteRT (TensorFlow Lite) on the CPU, for one picture at a time.

- ``ai-edge-litert`` where it is installed, else its predecessor ``tflite-runtime`` (Python ≤ 3.11,
  numpy < 2); both have the same ``Interpreter``, and both compute with XNNPACK.
- Quantised inputs and outputs look to the outside like pixels and like probabilities: the engine shifts
  and rescales. Measured, LeNet-5: ``set_tensor`` and ``get_tensor`` cost 0.6 of 12.6 µs; views into the
  interpreter's memory are slower (13.1 µs), since it counts references to them.
- The interpreter checks a file's structure, not its sense: of files with damaged structure about one in a
  thousand ends the process or never returns (docs/decisions.md). ``tflite_file`` therefore holds imago's own
  files against their checksum and tries others in a process of their own first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.engines.base import Tensor
from imago.edge_runtime.engines.tflite_file import examine
from imago.edge_runtime.errors import ImagoError, MissingDependency, ModelError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import F32

LIBRARIES = (
    ("ai_edge_litert", "ai-edge-litert", "litert"),
    ("tflite_runtime", "tflite-runtime", "tflite-runtime"),
)
INPUTS = ("uint8", "int8", "float32")
OUTPUTS = (*INPUTS, "int16")
SIGN = np.uint8(0x80)  # pixel 0..255 with this bit flipped is int8 -128..127


class LiteRtEngine:
    """One .tflite model in one interpreter.

    model: path, or the file's bytes. threads: of one inference, at least 1. trusted: do not try a file of
    unknown origin in another process first.

    ``input_dtype`` is uint8 for models that take uint8 or int8: their input is a pixel, shifted for int8.
    ``native_dtype`` says which. Quantised outputs come back as float32.

    Raises ModelError where the file cannot be used, MissingDependency where no interpreter is installed.
    """

    def __init__(self, model: Path | str | bytes, threads: int = 1, *, trusted: bool = False) -> None:
        library, self.version, self.name = _library()
        self.threads = max(1, threads)
        self._shown = tr("model") if isinstance(model, bytes) else str(model)
        self.metadata: Mapping[str, str] = examine(model, trusted=trusted)
        self._content = model if isinstance(model, bytes) else None  # the interpreter borrows it
        self._interpreter: Any = _opened(library, model, self.threads, self._shown)
        self._read_signature()

    def _read_signature(self) -> None:
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or _dtype(inputs[0]) not in INPUTS or len(inputs[0]["shape"]) != 4:
            raise ModelError(
                "{path} takes {inputs}; expected one picture, 4 dimensions of uint8, int8 or float32: "
                "this is not an image classifier that imago can run",
                path=self._shown,
                inputs=", ".join(f"{_dtype(i)} {i['shape'].tolist()}" for i in inputs) or "nothing",
            )
        if not outputs or _dtype(outputs[0]) not in OUTPUTS:
            raise ModelError(
                "{path} puts out {type}; expected one value per class, float32 or quantised",
                path=self._shown,
                type=_dtype(outputs[0]) if outputs else "nothing",
            )
        self._input: int = inputs[0]["index"]
        self._output: int = outputs[0]["index"]
        self._shape = tuple(inputs[0]["shape"].tolist())
        self.input_shape = _open_sides(inputs[0])
        self.native_dtype = _dtype(inputs[0])
        self.input_dtype = "float32" if self.native_dtype == "float32" else "uint8"
        self._scale, self._zero = _scale(outputs[0], self._shown)
        self.output_step = float(self._scale or 0)
        self.outputs = len(outputs)
        shape = _open_sides(outputs[0])
        self.classes = None if None in shape[1:] or not shape else int(np.prod(shape[1:]))  # type: ignore[arg-type]

    def run(self, tensor: Tensor) -> F32:
        """See ``Engine.run``. Raises ModelError where the network itself fails on this tensor."""
        interpreter = self._interpreter
        try:
            if tensor.shape != self._shape:
                self._resize(tensor.shape)
            if self.native_dtype == "int8":
                tensor = np.bitwise_xor(tensor, SIGN).view(np.int8)
            interpreter.set_tensor(self._input, tensor)
            interpreter.invoke()
            row: F32 = interpreter.get_tensor(self._output).ravel()
        except ImagoError:
            raise
        except Exception as error:
            raise ModelError(
                "{path} fails on an input of {shape} ({reason}); is the input size right?",
                path=self._shown,
                shape=tensor.shape,
                reason=_short(error),
            ) from error
        if self._scale is None:
            return row
        return (row.astype(np.float32) - self._zero) * self._scale

    def _resize(self, shape: tuple[int, ...]) -> None:
        """Give an input that the file leaves open this size; anything else is refused."""
        if len(shape) != 4 or any(
            side is not None and side != told for side, told in zip(self.input_shape, shape, strict=True)
        ):
            raise ValueError("x".join("?" if side is None else str(side) for side in self.input_shape))
        self._interpreter.resize_tensor_input(self._input, list(shape))
        self._interpreter.allocate_tensors()
        self._shape = shape

    def close(self) -> None:
        """See ``Engine.close``."""
        self._interpreter = None
        self._content = None


def _library() -> tuple[Any, str, str]:
    """The interpreter's module, the package's version, and the name for reports."""
    for module, package, name in LIBRARIES:
        try:
            with _quiet():
                library = import_module(f"{module}.interpreter")
            # Not importlib.metadata: it costs 1.5 MB.
            return library, str(getattr(import_module(module), "__version__", "")), name
        except ModuleNotFoundError:
            continue
        except Exception as error:  # a wheel for another CPU, C library or numpy: any text, any type
            raise MissingDependency(
                "{package} is installed but does not start ({reason}); "
                "tflite-runtime needs Python 3.11 or older and numpy<2: "
                "pip install 'imago-edge[litert]' brings its successor",
                package=package,
                reason=_short(error),
            ) from error
    raise MissingDependency(
        "a .tflite model needs LiteRT, which is not installed: pip install 'imago-edge[litert]' "
        "(on Python 3.11 or older, pip install tflite-runtime 'numpy<2' does too)"
    )


def _opened(library: Any, model: Path | str | bytes, threads: int, shown: str) -> Any:
    """The interpreter, ready to run, or one clear line."""
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    try:
        with _quiet():
            interpreter = library.Interpreter(**source, num_threads=threads)
            interpreter.allocate_tensors()
    except Exception as error:
        text = str(error)
        if "op" in text.lower() and ("unresolved" in text.lower() or "find op" in text.lower()):
            raise ModelError(
                "{path} needs an operator that this interpreter does not have ({reason}); "
                "update it, or export the model again",
                path=shown,
                reason=_short(error),
            ) from error
        raise ModelError(
            "{path} is not a usable TFLite model ({reason}); "
            "the file is damaged or cut short: copy or export it again",
            path=shown,
            reason=_short(error),
        ) from error
    return interpreter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Native code greets on file descriptor 2, whatever Python's stderr is; for a moment it goes nowhere."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _dtype(details: Mapping[str, Any]) -> str:
    return str(np.dtype(details["dtype"]))


def _open_sides(details: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The shape with None where the file leaves a side open; the batch is always 1."""
    shape = details["shape"].tolist()
    signature = details.get("shape_signature", details["shape"])
    signed = signature.tolist() if len(signature) == len(shape) else shape
    sides = [None if told < 0 else side for side, told in zip(shape, signed, strict=True)]
    return (1, *sides[1:]) if sides and sides[0] is None else tuple(sides)


def _scale(details: Mapping[str, Any], shown: str) -> tuple[np.float32 | None, np.float32]:
    """Scale and zero point of a quantised output; (None, 0) for a float one."""
    if _dtype(details) == "float32":
        return None, np.float32(0)
    scale, zero = details["quantization"]
    if not 0 < scale < float("inf"):
        raise ModelError(
            "{path} puts out {type} without saying its scale; export the model again with a float output",
            path=shown,
            type=_dtype(details),
        )
    return np.float32(scale), np.float32(zero)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "…"
