"""Instructions per frame on an emulated board: a regression gate that no busy machine can shake.

    python benchmarks/instructions.py             compare with instructions.expected.json
    python benchmarks/instructions.py --update    write what is measured as the new expectation

Steps of one frame on Cortex-A72 (Pi 4) and Cortex-A76 (Pi 5): preprocessing from 640×480, the engine, and the
whole of what ``imago run`` does with a frame except waiting. The count of a step is the difference between
doing it ``FRAMES`` times more and not, divided by FRAMES; the least of --repeats counts (few come out high).
The expectation holds for the versions that it names; with others the difference is shown, and is no failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import ROOT, save

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from emulation import instructions, userland

EXPECTED = ROOT / "benchmarks" / "instructions.expected.json"
TOLERANCE = 0.03
# The start of a process varies by some 100,000 instructions; so many frames make that small.
FRAMES = {"lenet5": 64, "mobilenet_v3_small": 4}
BOARDS = ("pi4", "pi5")
STEPS = ("preprocess", "engine", "frame")
GUEST = """
import gc, json, os, sys
import numpy
from imago.edge_runtime.bench_worker import camera_frame
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.sinks import JsonLinesSink, Seen
from imago.edge_runtime.watch import Watch

model, step, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
classifier = Classifier(model)
frame = camera_frame(classifier.spec.input, (640, 480))
tensor = classifier.prepare(frame).copy()
watch, sink = Watch(classifier, classifier.spec.labels), JsonLinesSink("/share/seen.jsonl")

def whole():
    look = watch.look(frame)
    sink.write(Seen(0, "", 0.0, look.prediction, 1.0, 1.0, subjects=look.subjects))

action = {"preprocess": lambda: classifier.prepare(frame), "engine": lambda: classifier.engine.run(tensor),
          "frame": whole}[step]
gc.disable()  # whether a collection falls into these few frames is chance
for _ in range(2 + times):
    action()
print(json.dumps({"numpy": numpy.__version__, classifier.engine.name: classifier.engine.version}), flush=True)
os._exit(0)
"""


def models(folder: Path) -> list[str]:
    """LeNet-5 and MobileNetV3-Small with random weights, through the real export."""
    from runtime import make_models

    make_models(folder)
    return sorted(path.name for path in folder.glob("*.onnx"))


def measure(system: userland.Userland, share: Path, model: str, board: str, repeats: int) -> dict[str, Any]:
    """Instructions of each step for one frame, and the versions that were counted."""
    found: dict[str, Any] = {}
    frames = FRAMES[Path(model).stem]
    for step in STEPS:
        least = []
        for times in (0, frames):
            counts = [
                instructions.count(
                    system, GUEST, (f"/share/{model}", step, str(times)), share=share, board=board
                )
                for _ in range(repeats)
            ]
            least.append(min(count for count, _ in counts))
            found["versions"] = json.loads(counts[0][1])
        found[step] = round((least[1] - least[0]) / frames)
        print(f"{model:<26}{board:<6}{step:<12}{found[step]:>14,}", flush=True)
    return found


def compare(expected: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    """One line for every step that takes more, or less, than was expected."""
    lines = []
    for key, row in rows.items():
        before = expected.get(key)
        if before is None:
            lines.append(f"{key}: not in the expectation")
            continue
        for step in STEPS:
            ratio = row[step] / before[step]
            if abs(ratio - 1) > TOLERANCE:
                other = "" if row["versions"] == before["versions"] else " (other versions)"
                lines.append(f"{key}, {step}: {before[step]:,} → {row[step]:,} ({ratio - 1:+.1%}){other}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the expectation")
    parser.add_argument("--repeats", type=int, default=2, help="counts of each, the least holds (2)")
    parser.add_argument("--only", default="", help="models whose name begins so")
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        share = Path(folder)
        userland.unpack_product(userland.build_wheel(share / "dist"), share)
        system = userland.userland("trixie")
        for model in models(share):
            for board in BOARDS:
                if model.startswith(args.only):
                    rows[f"{model} {board}"] = measure(system, share, model, board, args.repeats)
    save("instructions", {"frames": FRAMES, "rows": rows})
    if args.update:
        before = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
        EXPECTED.write_text(json.dumps(before | rows, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if not EXPECTED.exists():
        sys.exit(f"no expectation yet: write {EXPECTED.name} with --update")
    lines = compare(json.loads(EXPECTED.read_text(encoding="utf-8")), rows)
    print("\n".join(lines) or f"as expected (within {TOLERANCE:.0%})")
    return int(any("other versions" not in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
