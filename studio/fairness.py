"""What uneven classes and uneven results mean, in sentences: bias is a thing to see, not a chapter to "
"skip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imago.edge_runtime.messages import tr
from imago.studio.parts import Tone
from imago.train.metrics import wilson

IMBALANCE = 3.0
FEW = 10  # pictures of a class below which its recall is a guess


def remarks(per_class: Sequence[Mapping[str, Any]], trained: Mapping[str, int]) -> list[tuple[Tone, str]]:
    """per_class: as in ``metrics.json``. trained: class → training pictures ({} where unknown)."""
    judged = [row for row in per_class if row["recall"] is not None]
    found: list[tuple[Tone, str]] = []
    few = [row["label"] for row in judged if row["n"] < FEW]
    if len(judged) > 1:
        found += [(tone, text) for tone, text in _gap(judged) if tone != "good" or not few]
    found += _imbalance(trained)
    if few:
        found.append(
            (
                "warn",
                tr(
                    "Only a few pictures judge {names}: their figures are guesses. Collect more before you "
                    "rely on them.",
                    names=", ".join(few[:4]) + (" …" if len(few) > 4 else ""),
                ),
            )
        )
    return found


def _gap(judged: Sequence[Mapping[str, Any]]) -> list[tuple[Tone, str]]:
    worst = min(judged, key=lambda row: row["recall"])
    best = max(judged, key=lambda row: row["recall"])
    values = {
        "worst": worst["label"],
        "low": f"{100 * worst['recall']:.0f}",
        "best": best["label"],
        "high": f"{100 * best['recall']:.0f}",
    }
    if _surely_apart(worst, best):
        return [
            (
                "warn",
                tr(
                    "It is not equally good to all: {worst} is recognised in {low} % of the pictures, "
                    "{best} in {high} %. Whoever relies on it is let down more often with {worst}.",
                    **values,
                ),
            )
        ]
    return [
        (
            "good",
            tr(
                "From {low} % ({worst}) to {high} % ({best}): with so many pictures the classes cannot be "
                "told apart; it treats them alike as far as one can see.",
                **values,
            ),
        )
    ]


def _surely_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the 95 % intervals of the two recalls do not touch."""
    high = wilson(round(one["recall"] * one["n"]), one["n"])[1]
    low = wilson(round(other["recall"] * other["n"]), other["n"])[0]
    return high < low


def _imbalance(trained: Mapping[str, int]) -> list[tuple[Tone, str]]:
    if len(trained) < 2 or min(trained.values()) == 0:
        return []
    most, least = max(trained, key=lambda k: trained[k]), min(trained, key=lambda k: trained[k])
    if trained[most] < IMBALANCE * trained[least]:
        return []
    return [
        (
            "warn",
            tr(
                "It has seen {n} pictures of {most} and only {few} of {least}. Such a network tends to "
                "guess the frequent class: add pictures of the rare one, or let rare classes weigh more.",
                n=trained[most],
                most=most,
                few=trained[least],
                least=least,
            ),
        )
    ]
