"""Instructions per inference on an emulated board: the one figure that no busy machine can shake.

    python benchmarks/instructions.py m.onnx m-int8.tflite --board pi5    count these files
    python benchmarks/instructions.py --check     hold our own against instructions.expected.json
    python benchmarks/instructions.py --update    write what is counted as the new expectation

Three steps, each counted alone in one emulated process: ``engine`` (one inference), ``preprocess`` (640×480
to the model's input) and ``frame`` (all that ``imago run`` does with a frame except waiting). Of a file
without contract only the engine is counted. zero2: Cortex-A53, pi4: A72, pi5: A76; one thread.

Counts repeat: the process marks where a step begins and ends, runs without random addresses, hash seeds and
garbage collection, and the median of several runs after a warm-up holds. The expectation is for the
versions that it names; with others a difference is shown, and is no failure. ``counting`` serves other
benchmarks.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import ROOT, save

sys.path.insert(0, str(ROOT / "scripts"))

from emulation import debian, instructions, userland

EXPECTED = ROOT / "benchmarks" / "instructions.expected.json"
TOLERANCE = 0.01
BOARDS = ("zero2", "pi4", "pi5")
GUEST = """
import gc, json, os, platform, sys
import numpy
from imago.edge_runtime.bench_worker import camera_frame
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.contract import spec_from_metadata
from imago.edge_runtime.sinks import JsonLinesSink, Seen
from imago.edge_runtime.watch import Watch

model = sys.argv[1]
if model.endswith(".tflite"):
    from imago.edge_runtime.engines.litert import LiteRtEngine
    engine = LiteRtEngine(model, trusted=True)
else:
    from imago.edge_runtime.engines.ort import OrtEngine
    engine = OrtEngine(model)
spec = spec_from_metadata(engine.metadata)
shape = [side or 1 for side in engine.input_shape]
tensor = numpy.random.default_rng(0).integers(0, 256, shape, numpy.uint8).astype(engine.input_dtype)
# Until CPython has specialised its byte code; of a large network's figure that is a small part.
warm_up, times = (12, 9) if tensor.size <= 4096 else (4, 3)
actions = {"nothing": lambda: None, "engine": lambda: engine.run(tensor)}
if spec is not None:
    classifier = Classifier.from_engine(engine, spec)
    picture = camera_frame(spec.input, (640, 480))
    watch, sink = Watch(classifier, spec.labels), JsonLinesSink("/share/seen.jsonl")

    def whole():
        look = watch.look(picture)
        sink.write(Seen(0, "", 0.0, look.prediction, 1.0, 1.0, subjects=look.subjects))

    actions |= {"preprocess": lambda: classifier.prepare(picture), "frame": whole}
gc.disable()  # whether a collection falls into these few frames is chance
for action in actions.values():
    for _ in range(warm_up):
        action()
    for _ in range(times):
        mark()
        action()
        mark()
versions = {"python": platform.python_version(), "numpy": numpy.__version__, engine.name: engine.version}
print(json.dumps({"steps": list(actions), "times": times, "versions": versions}), flush=True)
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One file on one board. steps: instructions of each; spread: (most − least) / median over the runs.

    versions: of all that the count depends on.
    """

    model: str
    board: str
    steps: Mapping[str, int]
    spread: Mapping[str, float]
    versions: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def counting() -> Iterator[Callable[[Path, str], Row]]:
    """A function that counts one model file on one board. Raises Unavailable where
    nothing can be emulated."""
    instructions.counter()
    system = userland.userland("trixie")
    with tempfile.TemporaryDirectory() as folder:
        share = Path(folder)
        userland.unpack_product(userland.build_wheel(share / "dist"), share)
        yield lambda model, board: _count(system, share, model, board)


def _count(system: userland.Userland, share: Path, model: Path, board: str) -> Row:
    name = f"model{model.suffix}"  # the name's length must not matter
    shutil.copy(model, share / name)
    marks, said = instructions.count(system, GUEST, (f"/share/{name}",), share=share, board=board)
    told = json.loads(said.splitlines()[-1])
    times = told["times"]
    if len(marks) != 2 * times * len(told["steps"]):
        raise RuntimeError(f"{len(marks)} marks for {told['steps']}")
    counts = [after - before for before, after in zip(marks[::2], marks[1::2], strict=True)]
    runs = {step: counts[k * times : (k + 1) * times] for k, step in enumerate(told["steps"])}
    marking = round(statistics.median(runs.pop("nothing")))
    return Row(
        model=model.name,
        board=board,
        steps={step: round(statistics.median(values)) - marking for step, values in runs.items()},
        spread={step: (max(v) - min(v)) / statistics.median(v) for step, v in runs.items()},
        versions=told["versions"],
    )


def compare(expected: Mapping[str, Any], rows: list[Row]) -> tuple[list[str], bool]:
    """One line for every step that takes more, or less, than was expected; whether that is a failure."""
    lines, failed = [], False
    for row in rows:
        before = expected.get(f"{row.model} {row.board}")
        if before is None:
            lines.append(f"{row.model} {row.board}: not in the expectation")
            failed = True
            continue
        same = dict(row.versions) == before["versions"]
        for step, counted in row.steps.items():
            ratio = counted / before["steps"][step] - 1
            if abs(ratio) > TOLERANCE:
                other = (
                    "" if same else f" (other versions: {dict(row.versions)} now, {before['versions']} then)"
                )
                lines.append(f"{row.model} {row.board}, {step}: {ratio:+.1%}, {counted:,} now{other}")
                failed |= same
    return lines, failed


def show(row: Row) -> None:
    """One line for people."""
    figures = "".join(f"{row.steps.get(step, 0):>14,}" for step in ("engine", "preprocess", "frame"))
    worst = max(row.spread.values())
    print(f"{row.model:<36}{row.board:<7}{figures}{worst:>9.3%}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="model files to count")
    parser.add_argument("--board", action="append", choices=BOARDS, help="processor (all three)")
    parser.add_argument("--check", action="store_true", help="hold our own models against the expectation")
    parser.add_argument("--update", action="store_true", help="write the expectation")
    parser.add_argument(
        "--only", default="", metavar="NAME", help="of our own models, those whose names begin so"
    )
    args = parser.parse_args()
    if bool(args.models) == (args.check or args.update):
        parser.error("give model files, or --check, or --update")
    rows: list[Row] = []
    print(f"{'model':<36}{'board':<7}{'engine':>14}{'preprocess':>14}{'frame':>14}{'spread':>9}")
    try:
        with counting() as count, tempfile.TemporaryDirectory() as folder:
            for model, more in _files(args, Path(folder)):
                for board in args.board or BOARDS:
                    row = count(model, board)
                    rows.append(Row(**{**asdict(row), "versions": {**row.versions, **more}}))
                    show(rows[-1])
                    if args.update:
                        _expect(rows[-1])
    except debian.Unavailable as error:
        sys.exit(str(error))
    save("instructions", {"rows": [asdict(row) for row in rows]})
    return _judge(rows) if args.check else 0


def _files(args: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """What to count, and what else its count depends on."""
    if args.models:
        yield from ((model, {}) for model in args.models)
        return
    from instruction_models import make_models

    yield from make_models(folder, args.only)


def _expectation() -> dict[str, Any]:
    return dict(json.loads(EXPECTED.read_text(encoding="utf-8"))) if EXPECTED.exists() else {}


def _expect(row: Row) -> None:
    """Take ``row`` into the expectation; at once, since all of them take a quarter of an hour."""
    now = _expectation() | {f"{row.model} {row.board}": {"steps": row.steps, "versions": row.versions}}
    EXPECTED.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _judge(rows: list[Row]) -> int:
    lines, failed = compare(_expectation(), rows)
    print("\n".join(lines) or f"as expected (within {TOLERANCE:.0%})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
