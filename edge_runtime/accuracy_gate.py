"""May this file be chosen? Accuracy figures from the contracts, held against the most accurate file given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import ModelSpec

NO_GATE = 100.0  # points: everything passes, even a file whose accuracy is unknown
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a contract says about a model's accuracy, against the best file given.

    top1: 0..1; split, n: of which pictures; None and empty where the contract does not say. drop: lost
    points; worst: the bad end of its 95 % interval.
    """

    top1: float | None = None
    split: str = ""
    n: int = 0
    drop: float = 0.0
    worst: float = 0.0


def judge(specs: Mapping[Path, ModelSpec]) -> dict[Path, Accuracy]:
    """The accuracy that each contract states on the one split that all have (``val`` where possible: what
    chooses must not be the verdict).

    A quantised file carries the paired interval of its loss against its own fp32 file; that one is used where
    the fp32 file is the best one given. Otherwise the pictures cannot be paired, and the wider interval of
    Agresti & Caffo (2000) holds. Raises InputError where the figures come from different splits.
    """
    figures = {path: _figures(spec) for path, spec in specs.items()}
    split = _common_split([found for found in figures.values() if found])
    stated = {path: found[split] for path, found in figures.items() if found}
    if not stated:
        return dict.fromkeys(specs, Accuracy())
    best = max(stated, key=lambda path: stated[path]["top1"])
    return {
        path: _against(specs, path, best, split, stated) if path in stated else Accuracy() for path in specs
    }


def refusal(accuracy: Accuracy, max_drop: float) -> str:
    """Why a file with this accuracy does not pass a gate of ``max_drop`` points; empty where it does."""
    if max_drop >= NO_GATE:
        return ""
    if accuracy.top1 is None:
        return tr("its contract states no accuracy")
    if accuracy.drop > max_drop:
        return tr("it loses {drop:.2f} points, allowed are {max}", drop=accuracy.drop, max=max_drop)
    if accuracy.worst > max_drop:
        return tr(
            "cannot tell: {n} pictures are too few (it may lose up to {worst:.2f} points, allowed are {max})",
            n=accuracy.n,
            worst=accuracy.worst,
            max=max_drop,
        )
    return ""


def _figures(spec: ModelSpec) -> dict[str, Mapping[str, Any]]:
    return {str(f.get("split", "")): f for f in spec.accuracy if isinstance(f.get("top1"), float | int)}


def _common_split(figures: list[dict[str, Mapping[str, Any]]]) -> str:
    if not figures:
        return ""
    common = set.intersection(*(set(found) for found in figures))
    if not common:
        raise InputError(
            "the files' accuracies come from different splits ({splits}) and cannot be compared; "
            "measure them on the same one (imago evaluate)",
            splits=", ".join(sorted({name for found in figures for name in found})),
        )
    return "val" if "val" in common else min(common)


def _against(
    specs: Mapping[Path, ModelSpec],
    path: Path,
    best: Path,
    split: str,
    stated: Mapping[Path, Mapping[str, Any]],
) -> Accuracy:
    top1, n = float(stated[path]["top1"]), int(stated[path].get("n", 0))
    if path == best:
        return Accuracy(top1, split, n)
    reference = stated[best]
    drop = 100 * (float(reference["top1"]) - top1)
    paired = dict(specs[path].calibration.get("drop") or {}).get("interval_points")
    its_own = specs[path].provenance == specs[best].provenance and specs[best].precision == "fp32"
    if paired and its_own:
        return Accuracy(top1, split, n, drop, max(drop, float(paired[1])))
    worst = _unpaired(float(reference["top1"]), int(reference.get("n", 0)), top1, n)
    return Accuracy(top1, split, n, drop, worst)


def _unpaired(p: float, n: int, q: float, m: int) -> float:
    """Upper end of the 95 % interval of p - q in points (one picture more of each kind in each)."""
    p, q = (p * n + 1) / (n + 2), (q * m + 1) / (m + 2)
    return 100 * (p - q + Z95 * math.sqrt(p * (1 - p) / (n + 2) + q * (1 - q) / (m + 2)))
