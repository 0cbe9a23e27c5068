"""Classical classifiers on plain pixels: fitted, their one setting chosen on held-out pictures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.types import F32, U8
from imago.train.results import fit_temperature
from imago.workflow.baselines.options import BaselineOptions

I64 = npt.NDArray[np.int64]

# Candidates of each one's setting, tried on the validation pictures; the first is the default without any.
NEIGHBOURS = (5, 1, 3, 9, 15)
PENALTIES = (0.001, 0.01, 0.1)
MAX_ROUNDS = 200  # with more pictures than pixels 4 to 7 are enough; with fewer it may want thousands


@dataclass(frozen=True, eq=False)
class Samples:
    """Flat pixels float32 ``(n, channels · height · width)``, 0..255, channel by channel, and labels."""

    x: F32
    y: I64

    @classmethod
    def of(cls, images: U8, labels: I64) -> Samples:
        """images: uint8 ``(n, H, W, C)``."""
        return cls(flat(images), np.asarray(labels))

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted scikit-learn classifier.

    setting: what was chosen on the validation pictures, as people read it. divisor: pixels are divided by it
    before they reach the model. temperature: scores are divided by it before the softmax (0: the model gives
    probabilities itself). seconds: fitting and choosing.
    """

    kind: str
    model: Any
    setting: str
    divisor: float
    temperature: float
    seconds: float

    def probabilities(self, samples: Samples) -> F32:
        """float32 ``(n, classes)``, by scikit-learn alone."""
        x = samples.x * np.float32(1 / self.divisor) if self.divisor != 1 else samples.x
        if not self.temperature:
            return np.asarray(self.model.predict_proba(x), np.float32)
        return softmax(scores(self.model, x) / self.temperature)


def flat(images: U8) -> F32:
    """uint8 ``(n, H, W, C)`` → float32 ``(n, C·H·W)``, in the order of the contract's tensor."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1).astype(np.float32)


def fit(kind: str, train: Samples, val: Samples, options: BaselineOptions) -> Fitted:
    """Fit ``kind`` on ``train``; ``val`` (may be empty) chooses its setting."""
    began = time.perf_counter()
    makers: dict[str, Callable[[Samples, Samples, BaselineOptions], Fitted]] = {
        "knn": _neighbours,
        "svm": _machine,
        "forest": _forest,
    }
    made = makers[kind](train, val, options)
    return Fitted(kind, made.model, made.setting, made.divisor, made.temperature, time.perf_counter() - began)


def _neighbours(train: Samples, val: Samples, options: BaselineOptions) -> Fitted:
    """The share of each class among the nearest training pictures (Cover & Hart 1967)."""
    neighbors: Any = import_module("sklearn.neighbors")  # its constructors are not typed

    def made(k: int) -> Fitted:
        model = neighbors.KNeighborsClassifier(min(k, len(train)), algorithm="brute").fit(train.x, train.y)
        return Fitted("knn", model, f"k = {min(k, len(train))}", 1.0, 0.0, 0.0)

    return _best([made(k) for k in NEIGHBOURS], val)


def _machine(train: Samples, val: Samples, options: BaselineOptions) -> Fitted:
    """One straight border per class with the widest margin (Cortes & Vapnik 1995), one against the rest."""
    from sklearn.exceptions import ConvergenceWarning

    svm: Any = import_module("sklearn.svm")
    mean = train.x.mean(0, dtype=np.float64) / 255
    centred = np.asarray(train.x / 255 - mean, np.float32)

    def made(penalty: float) -> Fitted:
        model = svm.LinearSVC(C=penalty, max_iter=MAX_ROUNDS, random_state=options.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the choice below judges the result
            model.fit(centred, train.y)
        # Centred pixels settle sooner; as w·(x − m) + b = w·x + (b − w·m), the file needs no centring.
        model.intercept_ = model.intercept_ - model.coef_ @ mean
        return Fitted("svm", model, f"C = {penalty:g}", 255.0, 1.0, 0.0)

    best = _best([made(c) for c in (PENALTIES if len(val) else PENALTIES[:1])], val)
    held = val if len(val) else train
    warmth = fit_temperature(scores(best.model, held.x * np.float32(1 / 255)), held.y)
    return Fitted("svm", best.model, best.setting, 255.0, warmth, 0.0)


def _forest(train: Samples, val: Samples, options: BaselineOptions) -> Fitted:
    """The mean of many decision trees on random parts of the data (Breiman 2001)."""
    ensemble: Any = import_module("sklearn.ensemble")
    made = ensemble.RandomForestClassifier(options.trees, random_state=options.seed, n_jobs=-1)
    model = made.fit(train.x, train.y)
    return Fitted("forest", model, f"{options.trees} trees", 1.0, 0.0, 0.0)


def _best(candidates: list[Fitted], val: Samples) -> Fitted:
    """The most accurate on ``val``; of equals, and without pictures, the first."""
    if not len(val):
        return candidates[0]
    return max(candidates, key=lambda one: float((one.probabilities(val).argmax(1) == val.y).mean()))


def scores(model: Any, x: F32) -> F32:
    """Distances from the borders, float32 ``(n, classes)``; scikit-learn gives one column for two classes."""
    found = np.asarray(model.decision_function(x), np.float32)
    return np.stack([-found, found], 1) if found.ndim == 1 else found


def softmax(values: F32) -> F32:
    """Rows that sum to 1."""
    e = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True), np.float32)
