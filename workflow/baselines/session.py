"""``imago baseline``: what a class could do before there were convolutions, on the same pictures.

data set → the cache that networks train from → k-nearest neighbours, linear SVM, random forest → model
files under the same contract → accuracy of the files on the test split, beside that of trained networks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import F32
from imago.export.onnx_export import with_self_test, write_model
from imago.export.verify import Verification, compare
from imago.train.data.cache import CachedSplit, open_cache
from imago.train.data.layouts import load_dataset
from imago.train.dataset import DataOptions, Dataset
from imago.train.metrics import EvalResult, evaluate_probabilities
from imago.workflow.baselines.fit import Fitted, Samples, fit
from imago.workflow.baselines.graph import to_onnx
from imago.workflow.baselines.options import BaselineOptions

RESULT = "baseline.json"
CHOOSING = 2000  # validation pictures at most that choose a setting
COMPARED = 128  # pictures on which the file is held against scikit-learn
TIMED = 100  # pictures for the median time of one answer


@dataclass(frozen=True, slots=True)
class Row:
    """One classifier in the comparison. kind: knn, svm, forest, or a network's name. setting: how it was
    set. n, accuracy, interval: on the test split. bytes: of its model file (0: none yet). train_s: seconds of
    fitting (None: not known). answer_ms: median time of one answer here (None: not measured). note: what
    makes it not comparable, "" for nothing.
    """

    kind: str
    setting: str
    n: int
    accuracy: float
    interval: tuple[float, float]
    bytes: int = 0
    train_s: float | None = None
    answer_ms: float | None = None
    model: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def baseline(
    data: Path,
    options: BaselineOptions,
    out: Path,
    *,
    data_options: DataOptions | None = None,
    runs: Sequence[Path] = (),
    say: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Fit, export and measure; leaves ``<kind>.onnx`` and ``baseline.json`` in ``out``.

    runs: finished trainings to show beside them. Raises ImagoError subclasses for what the user can mend,
    GateError where a file disagrees with scikit-learn.
    """
    if out.exists() and any(out.iterdir()):
        raise StorageError("{path} exists already; choose another --out", path=out)
    dataset = load_dataset(data, data_options or DataOptions())
    rows = [_of_run(run, dataset) for run in runs]  # a bad --run is told before the work
    splits = {name: open_cache(dataset, name, options.input) for name in dataset.splits}
    if not len(splits.get("test", ())):
        raise DataError("{path} has no test pictures to compare on", path=data)
    train = _drawn(splits["train"], options, len(dataset.classes))
    say(
        tr(
            "fitted on {n} of {all} training pictures, {size} px {color}; tested on {test}",
            n=len(train),
            all=len(splits["train"]),
            size=options.size,
            color=tr("grey") if options.color == "gray" else tr("colour"),
            test=len(splits["test"]),
        )
    )
    for kind in options.kinds:
        rows.append(_one(kind, train, splits, dataset, options, out))
        write_json(out / RESULT, {"data": dataset.name, "rows": [row.to_dict() for row in rows]})
    return rows


def _one(  # noqa: PLR0917 - the parts of one comparison
    kind: str,
    train: Samples,
    splits: dict[str, CachedSplit],
    dataset: Dataset,
    options: BaselineOptions,
    out: Path,
) -> Row:
    test = splits["test"]
    fitted = fit(kind, train, _held_out(splits), options)
    model = to_onnx(fitted, options.input, len(dataset.classes))
    engine = OrtEngine(model.SerializeToString())
    found = _answers(engine, test, kind)
    _verify(fitted, test, found).require(out / f"{kind}.onnx")
    milliseconds = _median_ms(engine, test)
    engine.close()
    result = evaluate_probabilities(found, np.asarray(test.labels), dataset.classes)
    spec = _spec(fitted, dataset, options, len(train), result)
    target = out / f"{kind}.onnx"
    write_model(model, with_self_test(model, spec, test.images[:1]), target)
    return Row(
        kind,
        fitted.setting,
        result.n,
        result.accuracy,
        result.interval,
        target.stat().st_size,
        round(fitted.seconds, 2),
        milliseconds,
        str(target),
    )


def _drawn(split: CachedSplit, options: BaselineOptions, classes: int) -> Samples:
    """Up to ``limit`` training pictures, each class with its share and at least one."""
    labels = np.asarray(split.labels)
    absent = sorted(set(range(classes)) - set(labels.tolist()))
    if absent:
        raise DataError("class {n} has no training pictures; add some or remove its folder", n=absent[0] + 1)
    order = np.random.default_rng(options.seed).permutation(len(labels))
    share = min(1.0, options.limit / len(labels))
    parts = []
    for label in range(classes):
        own = order[labels[order] == label]
        parts.append(own[: max(1, round(share * len(own)))])
    chosen = np.sort(np.concatenate(parts))
    return Samples.of(split.images[chosen], labels[chosen])


def _held_out(splits: dict[str, CachedSplit]) -> Samples:
    split = splits.get("val", splits["train"])
    count = min(CHOOSING, len(split)) if "val" in splits else 0
    chosen = np.unique(np.linspace(0, len(split) - 1, count).astype(int)) if count else np.zeros(0, int)
    return Samples.of(split.images[chosen], np.asarray(split.labels)[chosen])


def _answers(engine: OrtEngine, split: CachedSplit, kind: str) -> F32:
    """What the file says, picture by picture, as a board would ask it."""
    rows = []
    with Progress(len(split), f"{kind}: {tr('evaluating')}") as bar:
        for image in split.images:
            rows.append(engine.run(np.ascontiguousarray(image.transpose(2, 0, 1)[None])))
            bar.advance()
    return np.stack(rows)


def _verify(fitted: Fitted, test: CachedSplit, found: F32) -> Verification:
    chosen = np.unique(np.linspace(0, len(test) - 1, min(COMPARED, len(test))).astype(int))
    wanted = fitted.probabilities(Samples.of(test.images[chosen], np.asarray(test.labels)[chosen]))
    return compare(wanted, found[chosen])


def _median_ms(engine: OrtEngine, split: CachedSplit) -> float:
    tensors = [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in split.images[:TIMED]]
    times = []
    for tensor in tensors:
        began = time.perf_counter()
        engine.run(tensor)
        times.append(time.perf_counter() - began)
    return round(float(np.median(times)) * 1e3, 4)


def _spec(
    fitted: Fitted, dataset: Dataset, options: BaselineOptions, trained: int, result: EvalResult
) -> ModelSpec:
    low, high = result.interval
    fact = {"split": "test", "n": result.n, "accuracy": result.accuracy, "interval_95": [low, high]}
    return ModelSpec(
        labels=dataset.classes,
        input=options.input,
        name=f"{dataset.name}-{fitted.kind}",
        accuracy=({**fact, "engine": "onnxruntime", "precision": "fp32"},),
        calibration={"temperature": fitted.temperature or 1.0},
        provenance={
            "dataset": dataset.name,
            "fingerprint": dataset.fingerprint,
            "generated": dataset.generated,
            "model": {"name": f"baseline:{fitted.kind}", "setting": fitted.setting},
            "pictures": trained,
            "seed": options.seed,
            "versions": _versions(),
        },
    )


def _versions() -> dict[str, str]:
    import skl2onnx
    import sklearn

    return {"scikit-learn": sklearn.__version__, "skl2onnx": skl2onnx.__version__, "numpy": np.__version__}


def _of_run(folder: Path, dataset: Dataset) -> Row:
    """A trained network's figures as it left them. Raises InputError where it has none on a test split."""
    from imago.train.run import Run

    run = Run.load(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        test = metrics["test"]
        row = Row(
            run.config.network.removeprefix("net:"),
            tr("{n} epochs", n=int(metrics["epochs"])),
            int(test["n"]),
            float(test["accuracy"]),
            (float(test["interval_95"][0]), float(test["interval_95"][1])),
            train_s=round(float(metrics["seconds"]), 1),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError("{path} has no test figures; finish its training first", path=folder) from error
    files = sorted(folder.glob("*.onnx"))
    size = files[0].stat().st_size if files else (folder / "weights.safetensors").stat().st_size
    same = run.data["fingerprint"] == dataset.fingerprint
    note = "" if same else tr("learned from other pictures")
    return replace(row, bytes=size, note=note)
