"""Does the exported file say what the trained network says? Measured on real pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.base import Engine
from imago.edge_runtime.errors import GateError
from imago.edge_runtime.resample import resize
from imago.edge_runtime.spec import ModelSpec, SelfTest
from imago.edge_runtime.types import F32, U8, Frame

LARGEST_DIFFERENCE = 1e-3  # float32 sums in another order differ by about 1e-6; 1e-3 is a wrong graph
SELF_TEST_SIDE = 32  # pixels; small enough for the file, real enough to exercise the whole path
TOLERANCE = 0.02  # of the self-test: float engines on other CPUs
TIE = 1e-4  # two classes closer than this may change places without anything being wrong


@dataclass(frozen=True, slots=True)
class Verification:
    """n pictures; difference: largest absolute difference of a probability; agreement: same top class."""

    n: int
    difference: float
    agreement: float

    @property
    def passed(self) -> bool:
        """Whether the two say the same."""
        return self.difference <= LARGEST_DIFFERENCE and self.agreement == 1.0

    def require(self, path: Path) -> None:
        """Raise GateError where they do not."""
        if not self.passed:
            raise GateError(
                "the exported model disagrees with the trained network (largest difference {difference}, "
                "same answer on {agreement} of {n} pictures); {path} was not written",
                difference=f"{self.difference:.2e}",
                agreement=f"{self.agreement:.1%}",
                n=self.n,
                path=path,
            )


def compare(wanted: F32, got: F32) -> Verification:
    """Compare probabilities float32 ``(n, classes)``; near-ties count as agreement."""
    rows = np.arange(len(wanted))
    chosen = got.argmax(1)
    agree = wanted.max(1) - wanted[rows, chosen] <= TIE
    return Verification(len(wanted), float(np.abs(wanted - got).max()), float(agree.mean()))


def self_tested(
    engine: Engine, spec: ModelSpec, images: U8, *, tries: int = 1, tolerance: float = TOLERANCE
) -> ModelSpec:
    """``spec`` with a small picture of ``images`` (uint8 ``(n, H, W, C)``) and ``engine``'s answer.

    tries: of so many pictures the one with the surest answer is taken: rounding in other engines moves it
    least. The engine is closed.
    """
    found = []
    with Classifier.from_engine(engine, spec) as classifier:
        for image in images[:tries]:
            picture = _small(image, spec)
            answer = classifier.predict(Frame(picture, "gray" if picture.ndim == 2 else "rgb"))
            found.append(SelfTest(picture, answer.probabilities, tolerance))
    return replace(spec, selftest=max(found, key=lambda test: float(test.probabilities.max())))


def _small(image: U8, spec: ModelSpec) -> U8:
    side = (min(SELF_TEST_SIDE, spec.input.width), min(SELF_TEST_SIDE, spec.input.height))
    small = resize(image, *side)
    if spec.input.color == "bgr":
        small = small[:, :, ::-1]
    return np.ascontiguousarray(small[:, :, 0] if spec.input.channels == 1 else small)
