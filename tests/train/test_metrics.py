"""Figures against counting by hand and published values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imago.train.metrics import confusion_matrix, evaluate_probabilities, top_k, wilson


def one_hot(predicted: list[int], classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted]


def test_a_small_case_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    result = evaluate_probabilities(one_hot([0, 0, 1, 1, 1, 0], 4), labels, ("a", "b", "c", "d"))
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    a, b, c, d = result.per_class
    assert (a.precision, a.recall, a.f1, a.n) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        3,
    )
    assert (b.precision, b.recall, b.n) == (pytest.approx(2 / 3), 1.0, 2)
    assert (c.precision, c.recall, c.f1, c.n) == (None, 0.0, 0.0, 1)  # never predicted
    assert (d.precision, d.recall, d.f1, d.n) == (None, None, None, 0)  # never there
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["accuracy"] == result.accuracy
    assert data["per_class"][1]["label"] == "b"
    assert data["n"] == 6


@given(st.integers(1, 6), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_against_counting_one_by_one(classes: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    probabilities = rng.integers(0, 4, (n, classes)).astype(np.float32)  # many ties
    result = evaluate_probabilities(probabilities, labels, [str(i) for i in range(classes)])
    predicted = [int(np.argmax(row)) for row in probabilities]
    counts = np.zeros((classes, classes), int)
    for true, said in zip(labels, predicted, strict=True):
        counts[true, said] += 1
    assert result.confusion.tolist() == counts.tolist()
    assert result.accuracy == (np.trace(counts) / n if n else 0.0)
    assert top_k(probabilities, labels, 1) == result.accuracy
    order = [list(np.argsort(-row, kind="stable")) for row in probabilities]
    for k in (1, 2, 5):
        inside = [int(true) in row[:k] for true, row in zip(labels, order, strict=True)]
        assert top_k(probabilities, labels, k) == (sum(inside) / n if n else 0.0)


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    for correct, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson(correct, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert wilson(29, 29)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000), st.data())
def test_wilson_holds_the_share(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1


def test_confusion_matrix_has_true_classes_as_rows() -> None:
    assert confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist() == [[0, 2], [0, 1]]
