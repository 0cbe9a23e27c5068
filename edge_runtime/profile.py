"""Where an inference spends its time, operator by operator: ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.engines.ort import session_options
from imago.edge_runtime.errors import InputError, ModelError
from imago.edge_runtime.spec import InputSpec

RUNS, WARMUP = 50, 5


@dataclass(frozen=True, slots=True)
class Operator:
    """One kind of operator, or one node. calls: per inference; us: mean time of all of them together, in
    one inference; share: of all operators' time, 0..1."""

    name: str
    calls: float
    us: float
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Time by kind of operator and by node, most first. us: of all operators of one inference, mean.

    The profiler itself costs time: compare shares, and take absolute times from ``imago bench``.
    """

    runs: int
    us: float
    kinds: tuple[Operator, ...]
    nodes: tuple[Operator, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def profile(model: Path | str, spec: InputSpec, *, threads: int = 1, runs: int = RUNS) -> Profile:
    """Profile ``runs`` inferences of an ONNX model.

    Raises InputError for other formats, ModelError where onnxruntime cannot open it.
    """
    if Path(model).suffix.lower() != ".onnx":
        raise InputError(
            "--profile needs an .onnx model: LiteRT's Python package has no profiler ({path})", path=model
        )
    onnxruntime: Any = import_module("onnxruntime")
    options = session_options(onnxruntime, threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="imago-profile-") as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        try:
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                "{path} cannot be profiled ({reason})", path=model, reason=str(error)[:160]
            ) from error
        feed = {session.get_inputs()[0].name: _picture(spec)}
        for _ in range(WARMUP + runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return summarise(events, runs)


def summarise(events: Iterable[Mapping[str, Any]], runs: int) -> Profile:
    """Add up the kernel times of the last ``runs`` inferences in onnxruntime's trace."""
    by_node: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            kind = str(event.get("args", {}).get("op_name", "?"))
            by_node[name.removesuffix("_kernel_time")].append((kind, float(event["dur"])))
    kinds: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    nodes: dict[str, tuple[float, float]] = {}
    for name, timed in by_node.items():
        last = timed[-runs * max(1, len(timed) // (runs + WARMUP)) :]  # a node in a loop runs several times
        calls, us = len(last) / runs, sum(duration for _, duration in last) / runs
        nodes[f"{last[0][0]} {name}"] = (calls, us)
        before = kinds[last[0][0]]
        kinds[last[0][0]] = (before[0] + calls, before[1] + us)
    total = sum(us for _, us in nodes.values())
    return Profile(runs, round(total, 2), _ranked(kinds, total), _ranked(nodes, total))


def _ranked(times: Mapping[str, tuple[float, float]], total: float) -> tuple[Operator, ...]:
    ranked = sorted(times.items(), key=lambda item: -item[1][1])
    return tuple(
        Operator(name, calls, round(us, 2), round(us / total, 4) if total else 0.0)
        for name, (calls, us) in ranked
    )


def _picture(spec: InputSpec) -> Any:
    return np.random.default_rng(0).integers(0, 256, spec.shape).astype(spec.dtype)
