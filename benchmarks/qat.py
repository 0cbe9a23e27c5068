"""What int8 loses and what quantisation-aware training wins back, from several starts, on a test split.

    python benchmarks/qat.py MODEL.onnx DATA [--epochs 3] [--starts defaults,per-tensor,imago]

MODEL: a float file that ``imago export`` wrote, trained on DATA. Starts: ``defaults``: ONNX Runtime's
``quantize_static`` as it comes (QDQ, int8 activations, per tensor, min–max), what a user would do
otherwise; ``per-tensor``: the same with uint8 activations, the form that VNNI and Arm run fastest;
``imago``: what ``imago quantize`` chooses. The ranges come from the same 256 training pictures. The
validation split chooses the epoch; the test split is used here alone, all drops are paired.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from imago.edge_runtime.contract import spec_from_metadata
from imago.edge_runtime.engines.ort import OrtEngine
from imago.quantize.calibration import pictures
from imago.quantize.paired import paired_drop
from imago.quantize.ptq import probabilities, quantise
from imago.quantize.qat.session import QatOptions, quantise_aware
from imago.train.data.layouts import load_dataset

from common import save

CALIBRATION = 256


class Reader(CalibrationDataReader):
    """Feeds pictures to ONNX Runtime's calibrator."""

    def __init__(self, name: str, tensors: np.ndarray) -> None:
        self.rows, self.name = iter(tensors), name

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return None if row is None else {self.name: row[None]}


def started(way: str, source: Path, tensors: np.ndarray) -> onnx.ModelProto:
    """The int8 model to start from."""
    if way == "imago":
        return quantise(source, tensors[:CALIBRATION], tensors[CALIBRATION:][:128]).model
    kinds = {} if way == "defaults" else {"activation_type": QuantType.QUInt8}
    model = onnx.load(source)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(model, target, Reader(model.graph.input[0].name, tensors[:CALIBRATION]), **kinds)
        return onnx.load(target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=QatOptions().epochs)
    parser.add_argument("--starts", default="defaults,per-tensor,imago")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="qat")
    args = parser.parse_args()
    engine, dataset = OrtEngine(args.model), load_dataset(args.data)
    spec = spec_from_metadata(engine.metadata)
    assert spec is not None
    tensors = pictures(dataset, "train", spec, 2 * CALIBRATION).tensors("nchw")
    test = pictures(dataset, "test", spec)
    questions = test.tensors("nchw")

    def answers(model: bytes | Path) -> np.ndarray:
        return probabilities(OrtEngine(model), questions).argmax(1)

    wanted = answers(args.model)
    rows: list[dict[str, Any]] = []
    print(f"fp32 {np.mean(wanted == test.labels):.2%} of {len(test)} test pictures", flush=True)
    for way in args.starts.split(","):
        start, began = started(way, args.model, tensors), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            options = QatOptions(epochs=args.epochs, threads=args.threads)
            source, work = onnx.load(args.model), Path(folder) / "work"
            model, facts = quantise_aware(source, start, spec, dataset, work, options=options, say=print)
        seconds = time.process_time() - began
        got = {"int8": answers(start.SerializeToString()), "int8 + QAT": answers(model.SerializeToString())}
        for name, classes in got.items():
            drop = paired_drop(test.labels, wanted, classes)
            low, high = drop.interval
            row = {"start": way, "what": name, "accuracy": float(np.mean(classes == test.labels))}
            rows.append({**row, **drop.to_dict()})
            lost = f"drop {drop.drop:+.2f} ({low:+.2f} … {high:+.2f})"
            print(f"{way:<12}{name:<12}{row['accuracy']:8.2%}  {lost}", flush=True)
        rows[-1].update(qat=facts.to_dict(), cpu_seconds=seconds)
    result = {"model": spec.name, "data": dataset.name, "n": len(test), "epochs": args.epochs, "rows": rows}
    save(args.name, {**result, "fp32": float(np.mean(wanted == test.labels))})


if __name__ == "__main__":
    main()
