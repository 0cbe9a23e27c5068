"""From a finished loop to figures: best weights, calibration, validation and test results, the report."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.files import write_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import F32
from imago.train.batches import Batches, Normalise
from imago.train.checkpoint import BEST, CHECKPOINT, WEIGHTS, save_tensors
from imago.train.data.cache import CachedSplit
from imago.train.device import Place
from imago.train.loop import Loop
from imago.train.metrics import EvalResult, evaluate_probabilities
from imago.train.pruned_report import pruning_section
from imago.train.report import Mistake, write_report
from imago.train.run import Run, save_sample
from imago.train.tally import predict_logits
from imago.train.team import SOLO, Team


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run reached. val, test: figures, or None where the data have no such split."""

    folder: Path
    epochs: int
    val: EvalResult | None
    test: EvalResult | None


def ordered_batches(split: CachedSplit, run: Run, place: Place, team: Team = SOLO) -> Batches:
    """A split in order, unchanged but for normalisation; of it, this process's part."""
    return Batches(
        split.images,
        split.labels,
        Normalise(run.mean, run.std),
        batch_size=256,
        device=place.device,
        rank=team.rank,
        world=team.world,
    )


def finish(
    run: Run,
    loop: Loop,
    splits: dict[str, CachedSplit],
    rows: list[dict[str, Any]],
    *,
    report: bool = True,
) -> Outcome:
    """Keep the best weights, measure them (only here is the test split used), write the report if wanted."""
    place, out = loop.place, loop.folder
    module = loop.final_module()
    logits = {
        name: predict_logits(module, ordered_batches(splits[name], run, place), place)
        for name in _shown(splits)
    }
    temperature = fit_temperature(*logits["val"]) if "val" in logits else 1.0
    results = {
        name: evaluate_probabilities(_softmax(values / temperature), labels, run.classes)
        for name, (values, labels) in logits.items()
    }
    facts = tuple(
        {"split": name, "n": r.n, "top1": r.accuracy, "precision": "fp32", "generated": run.data["generated"]}
        for name, r in results.items()
    )
    run = replace(run, temperature=temperature, results=facts)
    sample = splits.get("val", splits["train"])
    save_sample(out, sample.images, sample.labels)
    save_tensors(out / WEIGHTS, module.state_dict())
    run.save(out)
    _write_results(run, results, rows, out)
    if report:
        _report(run, results, rows, _mistakes(run, splits, logits, temperature), out)
    for leftover in (out / CHECKPOINT, out / BEST):
        leftover.unlink(missing_ok=True)
    return Outcome(out, len(rows), results.get("val"), results.get("test"))


def _shown(splits: dict[str, CachedSplit]) -> list[str]:
    return [name for name in ("val", "test") if name in splits]


def _softmax(logits: F32) -> F32:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), np.float32)


def fit_temperature(logits: F32, labels: npt.NDArray[np.int64]) -> float:
    """The T that makes ``softmax(logits / T)`` best calibrated: least negative log-likelihood.

    logits: float32 ``(n, classes)``. Golden-section search over log T in [1/5, 5] (Guo et al. 2017).
    """
    rows = np.arange(len(labels))
    wide = logits.astype(np.float64)

    def loss(log_t: float) -> float:
        scaled = wide / math.exp(log_t)
        top = scaled.max(1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(1)) - scaled[rows, labels]))

    low, high = -math.log(5), math.log(5)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return round(math.exp((low + high) / 2), 4)


def _write_results(run: Run, results: dict[str, EvalResult], rows: list[dict[str, Any]], out: Path) -> None:
    write_json(
        out / "metrics.json",
        {
            "generated_data": run.data["generated"],
            "epochs": len(rows),
            "seconds": sum(row["seconds"] for row in rows),
            "temperature": run.temperature,
            **{name: result.to_dict() for name, result in results.items()},
        },
    )


def _mistakes(
    run: Run,
    splits: dict[str, CachedSplit],
    logits: dict[str, tuple[F32, npt.NDArray[np.int64]]],
    temperature: float,
    count: int = 24,
) -> list[Mistake]:
    """The most confident wrong answers on the last split that there is."""
    name = next((n for n in ("test", "val") if n in logits), None)
    if name is None:
        return []
    values, labels = logits[name]
    probabilities = _softmax(values / temperature)
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:count]
    return [
        Mistake(
            np.array(splits[name].images[i]),
            run.classes[labels[i]],
            run.classes[predicted[i]],
            float(probabilities[i].max()),
        )
        for i in worst
    ]


def _report(
    run: Run, results: dict[str, EvalResult], rows: list[dict[str, Any]], mistakes: list[Mistake], out: Path
) -> None:
    result = results.get("test") or results.get("val")
    if result is None:
        return
    sections = [pruning_section(run, out, results.get("val"))] if run.model.get("arch") else []
    write_report(
        out,
        title=tr("{model} on {data}", model=run.config.network, data=run.data["name"]),
        config={**run.config.to_dict(), **{role: facts["name"] for role, facts in run.lineage.items()}},
        rows=rows,
        result=result,
        classes=run.classes,
        mistakes=mistakes,
        generated=run.data["generated"],
        extra_sections=sections,
    )
