"""``imago demo``: the whole story on generated insects, small enough for two cores and five minutes.

generate photos → train LeNet-5 and MobileNetV3-Small → export, verified → int8, gated → evaluate the
files that ship → a camera stand-in through the board's loop → benchmark → one page with pictures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.bench import BenchOptions, BenchReport, bench
from imago.edge_runtime.cameras.base import open_source
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.loop import Loop, RunStats
from imago.edge_runtime.messages import tr
from imago.edge_runtime.sinks import JsonLinesSink
from imago.quantize.session import QuantiseOptions, QuantiseReport, quantise_file
from imago.train.config import TrainConfig
from imago.train.data.layouts import load_dataset
from imago.train.evaluation import evaluate
from imago.train.generate.insects import make_dataset
from imago.train.generate.video import make_video
from imago.train.session import train
from imago.workflow.demo_page import frame_rate, write_page
from imago.workflow.steps import export_run


@dataclass(frozen=True, slots=True)
class Part:
    """One network of the demo."""

    name: str
    config: TrainConfig


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """per_class: generated photos of each insect. video_s: length of the camera stand-in's film."""

    out: Path = Path("runs/demo")
    per_class: int = 300
    photo_size: int = 96
    video_s: float = 24.0
    seed: int = 0
    parts: tuple[Part, ...] = (
        Part("lenet5", TrainConfig(model="lenet5", epochs=100, augment="overhead")),
        Part(
            "mobilenet_v3_small",
            # Without the finer stem an epoch costs a quarter: many short epochs beat few fine ones here.
            TrainConfig(
                model="mobilenet_v3_small", size=64, stem=0, epochs=60, batch_size=16, augment="overhead"
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One model file in the final table. Accuracy on the generated test pictures, in 0..1."""

    name: str
    precision: str
    path: Path
    n: int
    accuracy: float
    report: BenchReport

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        memory = self.report.memory
        return {
            "name": self.name,
            "precision": self.precision,
            "model": str(self.path),
            "bytes": self.path.stat().st_size,
            "generated_data": True,
            "n": self.n,
            "accuracy": self.accuracy,
            "p50_us": self.report.stages["total"].p50_us,
            "engine_p50_us": self.report.stages["engine"].p50_us,
            "p99_us": self.report.stages["total"].p99_us,
            "peak_rss_mb": None if memory is None else memory.peak_rss_mb,
        }


def demo(options: DemoOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the whole story; returns what was measured. Raises StorageError where ``out`` is in use."""
    began = time.monotonic()
    out = options.out
    if out.exists() and any(out.iterdir()):
        raise StorageError("{path} exists already; remove it, or give another --out", path=out)
    say(tr("1/6 drawing insects (generated data)"))
    data, film = out / "photos", out / "camera.avi"
    make_dataset(data, per_class=options.per_class, size=options.photo_size, seed=options.seed)
    truth = make_video(film, seconds=options.video_s, seed=options.seed)
    rows, quantised = [], []
    for part in options.parts:
        say("")
        say(tr("2/6 training {model}", model=part.name))
        train(data, part.config, out / part.name, say=say)
        say(tr("3/6 exporting to ONNX and quantising to int8"))
        fp32 = export_run(out / part.name, out / f"{part.name}.onnx", overwrite=True).model
        report = quantise_file(fp32, data, out / f"{part.name}-int8.onnx", QuantiseOptions(max_drop=2.0))
        say(f"   {part.name}: {report.reason()}")
        quantised.append(report)
        say(tr("4/6 measuring the files that ship"))
        rows += [_measured(part.name, path, data) for path in (fp32, report.target)]
    say("")
    say(tr("5/6 camera stand-in through the edge runtime"))
    chosen = _chosen(quantised[-1])
    stats, live = _watch(chosen, film, out / "seen.jsonl", truth)
    say(_live_line(stats, live))
    say(tr("6/6 the table (accuracy on generated test pictures)"))
    for line in table(rows):
        say(line)
    result = {
        "generated_data": True,
        "models": [row.to_dict() for row in rows],
        "int8": [report.to_dict() for report in quantised],
        "live": {"model": str(chosen), **stats.to_dict(), **live},
        "seconds": time.monotonic() - began,
    }
    write_json(out / "demo.json", result)
    page = write_page(out, film, truth, rows, quantised)
    say("")
    say(tr("{seconds} s in all; open {page}", seconds=f"{result['seconds']:.0f}", page=page))
    return result


def _measured(name: str, path: Path, data: Path) -> Row:
    dataset = load_dataset(data)
    with Classifier(path) as classifier:
        result = evaluate(classifier, dataset, "test")
        precision = classifier.spec.precision
    report = bench(path, BenchOptions(runs=200))
    return Row(name, precision, path, result.n, result.accuracy, report)


def _chosen(report: QuantiseReport) -> Path:
    """int8 where it is recommended, else the float file beside it."""
    if report.recommended:
        return report.target
    return report.target.with_name(report.target.name.replace("-int8", ""))


def _watch(
    model: Path, film: Path, record: Path, truth: list[dict[str, Any]]
) -> tuple[RunStats, dict[str, Any]]:
    """Run the film through the loop and compare with what was drawn into it."""
    fps = frame_rate(film)
    with Classifier(model) as classifier:
        stats = Loop(classifier, open_source(str(film)), [JsonLinesSink(record)]).run()
    seen = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    shown = right = 0
    for entry in seen:
        at = entry["frame"] / fps
        visible = next((t for t in truth if t["start_s"] <= at < t["end_s"]), None)
        if visible is not None:
            shown += 1
            right += entry["label"] == visible["label"]
    return stats, {"frames_with_insect": shown, "frames_right": right}


def _live_line(stats: RunStats, live: dict[str, Any]) -> str:
    return tr(
        "   {frames} frames at {fps} frames/s; {right} of {shown} frames with an insect named right",
        frames=stats.processed,
        fps=f"{stats.fps:.0f}",
        right=live["frames_right"],
        shown=live["frames_with_insect"],
    )


def table(rows: list[Row]) -> list[str]:
    """The benchmark as text lines."""
    lines = [
        f"   {'model':<20}{'':<13}{'accuracy':>9}{'n':>6}{'kB':>8}{'p50 µs':>9}{'p99 µs':>9}{'RSS MB':>8}"
    ]
    for row in rows:
        d = row.to_dict()
        memory = "-" if d["peak_rss_mb"] is None else f"{d['peak_rss_mb']:.0f}"
        lines.append(
            f"   {row.name:<20}{row.precision:<13}{row.accuracy:>9.1%}{row.n:>6}{d['bytes'] / 1000:>8.0f}"
            f"{d['p50_us']:>9.0f}{d['p99_us']:>9.0f}{memory:>8}"
        )
    return lines
