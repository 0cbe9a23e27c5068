"""``Classifier("insects.onnx")("photo.jpg")``: a model file and a picture in, a prediction out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from imago.edge_runtime.contract import check_classes, check_fit, no_contract, spec_from_metadata
from imago.edge_runtime.engines.base import Engine, Tensor
from imago.edge_runtime.engines.select import load_engine
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import F32, Frame, Prediction


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """Did the model give the stored answer for its stored picture?

    difference: largest absolute difference of a probability; tolerance: largest allowed.
    stored: False where the model carries no self-test (then nothing was checked).
    """

    passed: bool
    difference: float = 0.0
    tolerance: float = 0.0
    stored: bool = True


class Classifier:
    """One loaded model. Not for several threads at once: the input tensor is reused.

    model: a model file. threads: of one inference. spec: the contract of a model that carries none
    (``foreign.foreign_spec`` makes one).

    Raises ModelError where the file, or its contract, is not usable.
    """

    def __init__(self, model: str | Path, *, threads: int = 1, spec: ModelSpec | None = None) -> None:
        engine = load_engine(model, threads)
        found = spec if spec is not None else spec_from_metadata(engine.metadata)
        if found is None:
            raise no_contract(model)
        self._set_up(engine, found)

    @classmethod
    def from_engine(cls, engine: Engine, spec: ModelSpec) -> Classifier:
        """A classifier around an engine that is loaded already; it now belongs to the classifier."""
        self = cls.__new__(cls)
        self._set_up(engine, spec)
        return self

    def _set_up(self, engine: Engine, spec: ModelSpec) -> None:
        check_fit(spec, engine)
        self.engine, self.spec = engine, spec
        self.preprocessor = Preprocessor(spec.input)
        self._labels = spec.labels
        self._logits = spec.output == "logits"
        self._input: Tensor = np.zeros(spec.input.shape, spec.input.dtype)
        if engine.classes is None:  # the file leaves it open: see what comes out
            check_classes(len(spec.labels), len(engine.run(self._input)))

    def __call__(self, picture: str | Path | bytes | Frame) -> Prediction:
        """Classify a picture file, its bytes, or a frame. Raises InputError where it cannot be read."""
        if isinstance(picture, Frame):
            return self.predict(picture)
        from imago.edge_runtime.imageio import read_image

        return self.predict(read_image(picture, self.spec.input))

    def predict(self, frame: Frame) -> Prediction:
        """Classify one frame."""
        row = self.engine.run(self.preprocessor.tensor(frame, self._input))
        return Prediction(softmax(row) if self._logits else row, self._labels)

    def prepare(self, frame: Frame) -> Tensor:
        """The input tensor for ``frame``; valid until the next call."""
        return self.preprocessor.tensor(frame, self._input)

    def self_test(self) -> SelfTestResult:
        """Put the stored picture through preprocessing and engine, and compare with the stored answer."""
        stored = self.spec.selftest
        if stored is None:
            return SelfTestResult(passed=True, stored=False)
        color = "gray" if stored.image.ndim == 2 else "rgb"
        answer = self.predict(Frame(stored.image, color)).probabilities  # type: ignore[arg-type]
        if answer.shape != stored.probabilities.shape:
            return SelfTestResult(False, float("inf"), stored.tolerance)
        difference = float(np.abs(answer - stored.probabilities).max())
        return SelfTestResult(difference <= stored.tolerance, difference, stored.tolerance)

    def close(self) -> None:
        """Free the model."""
        self.engine.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def softmax(logits: F32) -> F32:
    """Probabilities from one row of logits, float32 ``(classes,)``; only foreign models need it."""
    powers: F32 = np.exp(logits - logits.max())
    powers /= powers.sum()
    return powers
