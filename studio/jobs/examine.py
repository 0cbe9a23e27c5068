"""A look at a finished run with its pictures: the surest mistakes, and how many pictures each class had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.files import replacing, write_json
from imago.edge_runtime.imageio import encode_jpeg
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.evaluation import frame_at, predictions
from imago.train.run import Run

FOLDER, FILE = "examined", "examined.json"
MISTAKES, SIDE = 24, 160


def examine(run_folder: Path, model: Path) -> dict[str, Any]:
    """Ask the exported file about the split that judged the run; results land in ``<run>/examined/``."""
    run = Run.load(run_folder)
    dataset = load_dataset(Path(run.data["root"]), run.config.data)
    split = next((name for name in ("test", "val") if len(dataset.splits.get(name, ()))), "")
    trained = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.classes))
    found: list[dict[str, Any]] = []
    if split:
        with replacing(run_folder / FOLDER / "pictures") as place:
            place.mkdir()
            found = _mistakes(model, dataset, split, place)
    result = {
        "split": split,
        "trained": dict(zip(dataset.classes, trained.tolist(), strict=True)),
        "mistakes": found,
    }
    write_json(run_folder / FOLDER / FILE, result)
    return result


def _mistakes(model: Path, dataset: Dataset, split: str, place: Path) -> list[dict[str, Any]]:
    with (
        Classifier(model) as classifier,
        Progress(len(dataset.splits[split]), tr("looking for mistakes")) as bar,
    ):
        rows, labels = predictions(classifier, dataset, split, bar)
        said = rows.argmax(1)
        wrong = np.flatnonzero(said != labels)
        worst = wrong[np.argsort(-rows[wrong].max(1), kind="stable")][:MISTAKES]
        found = []
        for number, index in enumerate(worst.tolist()):
            frame = frame_at(classifier, dataset, dataset.splits[split], index)
            name = f"{number:02}.jpg"
            (place / name).write_bytes(encode_jpeg(frame, max_side=SIDE))
            found.append(
                {
                    "picture": name,
                    "true": classifier.spec.labels[labels[index]],
                    "said": classifier.spec.labels[said[index]],
                    "confidence": float(rows[index].max()),
                }
            )
    return found


def examined(run_folder: Path) -> dict[str, Any]:
    """What was found; {} where nobody has looked yet."""
    try:
        data = json.loads((run_folder / FOLDER / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
