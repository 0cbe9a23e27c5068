"""Memory of a model at work, measured in a fresh process that does nothing else.

``python -m imago.edge_runtime.memory`` is that process: a job as JSON on standard input, one JSON
object on standard output.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.fresh import run_job
from imago.edge_runtime.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Memory:
    """peak_rss_mb: highest resident memory; pss_mb: proportional share at the end (MB = 2²⁰ bytes).

    None where the system does not tell. start_to_first_ms: from process start to the first answer.
    """

    peak_rss_mb: float | None
    pss_mb: float | None
    start_to_first_ms: float | None
    frames: int


def measure_memory(
    model: Path | str,
    *,
    spec: ModelSpec | None = None,
    threads: int = 1,
    frames: int = 200,
    size: tuple[int, int],
) -> Memory:
    """Run ``frames`` synthetic frames of ``size`` ``(width, height)`` in a fresh process.

    Raises ModelError where that process fails.
    """
    job = {
        "model": str(model),
        "spec": None if spec is None else spec.to_json(),
        "threads": threads,
        "frames": frames,
        "size": list(size),
        "began": time.time(),
    }
    return Memory(**run_job("imago.edge_runtime.memory", job))


def _work(job: dict[str, Any]) -> Memory:
    from imago.edge_runtime.cameras.synthetic import SyntheticSource
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.types import Frame

    spec = None if job["spec"] is None else ModelSpec.from_json(job["spec"])
    first = 0.0
    with Classifier(job["model"], threads=job["threads"], spec=spec) as classifier:
        source = SyntheticSource(tuple(job["size"]))
        for index in range(job["frames"]):
            classifier.predict(Frame(source.picture(index), "rgb"))
            first = first or (time.time() - job["began"]) * 1e3
        peak, pss = status_mb("status", "VmHWM"), status_mb("smaps_rollup", "Pss")
    return Memory(peak if peak is not None else _peak_elsewhere(), pss, round(first, 1), job["frames"])


def status_mb(file: str, key: str) -> float | None:
    """One kB figure of this process. VmHWM, not getrusage: that one is inherited over fork and exec."""
    try:
        lines = Path("/proc/self", file).read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) / 1024, 2) for line in lines if line.startswith(f"{key}:")), None)


def _peak_elsewhere() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 2)


def main() -> int:
    """Read the job, do it, print what it took."""
    sys.stdout.write(json.dumps(asdict(_work(json.load(sys.stdin)))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
