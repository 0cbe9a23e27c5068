"""Timing model files on the board, for whoever makes a network smaller on a PC."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.deploy.board import runner
from imago.deploy.board.envs import python_of
from imago.deploy.board.layout import Root
from imago.deploy.board.releases import Item
from imago.deploy.board.say import step
from imago.deploy.board.service import Service
from imago.edge_runtime.errors import DeployError, InputError
from imago.edge_runtime.messages import tr

KINDS = ("onnx", "tflite")
LIMIT_S = 600  # per file
# Runs in the release's own environment, whose imago may be older: one process per pair, since a small board
# cannot hold many networks at a time.
PROGRAM = """
import json, sys
import numpy as np
from pathlib import Path
from imago.edge_runtime.bench import interleaved
from imago.edge_runtime.engines.select import load_engine
runs, files = int(sys.argv[1]), sys.argv[2:]
engines = {name: load_engine(Path(name), 1) for name in dict.fromkeys(files)}
calls = {}
for name, engine in engines.items():
    shape = [side or 1 for side in engine.input_shape]
    tensor = np.random.default_rng(0).integers(0, 256, shape).astype(engine.input_dtype)
    calls[name] = lambda engine=engine, tensor=tensor: engine.run(tensor)
times = interleaved(calls, runs=runs, warmup=5)
print(json.dumps([float(np.median(times[name])) / 1000 for name in files]))
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """A model file in the store. kind: how its name ends."""

    item: Item
    kind: str

    @classmethod
    def parse(cls, text: str) -> Timed:
        """``SHA256:SIZE:KIND``. Raises InputError."""
        head, _, kind = text.rpartition(":")
        if kind not in KINDS:
            raise InputError(
                "'{text}' is no model file; expected SHA256:SIZE:onnx or :tflite", text=text[:90]
            )
        return cls(Item.parse(head), kind)


def measure(root: Root, service: Service, files: Sequence[Timed], runs: int) -> list[float]:
    """p50 of the engine alone in µs, one thread, each file in turns with the first; the service pauses.

    Raises DeployError where nothing is deployed, a file is not there, or an engine cannot run one.
    """
    name = root.current
    if name is None:
        raise DeployError("nothing is deployed on this board yet; push a bundle first: it brings the engine")
    python = str(python_of(root.release(name).resolve() / "env"))
    step("time", tr("measuring on the board; the service pauses meanwhile"))
    service.pause()
    try:
        with tempfile.TemporaryDirectory(dir=root / "run") as folder:
            paths = [_linked(root, file, Path(folder), number) for number, file in enumerate(files)]
            return [_pair(python, paths[0], path, runs) for path in paths]
    finally:
        service.restart()
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                (root / "store" / file.item.sha256).unlink()


def _linked(root: Root, file: Timed, folder: Path, number: int) -> Path:
    """The file under a name that says what it is: engines go by that."""
    source, target = root / "store" / file.item.sha256, folder / f"{number}.{file.kind}"
    if not source.is_file():
        raise DeployError("{name} is missing on the board, or damaged; push again", name=source.name[:12])
    os.link(source, target)
    return target


def _pair(python: str, first: Path, path: Path, runs: int) -> float:
    words = [python, "-I", "-c", PROGRAM, str(runs), str(first), str(path)]
    try:
        done = subprocess.run(  # noqa: S603  argument list, no shell
            words, capture_output=True, text=True, errors="replace", check=False, cwd=path.parent,
            stdin=subprocess.DEVNULL, env={**os.environ, **runner.environment()}, timeout=LIMIT_S,
        )  # fmt: skip
        found: Any = json.loads(done.stdout)[1]
        return float(found)
    except subprocess.TimeoutExpired:
        reason = tr("no end after {seconds} s", seconds=LIMIT_S)
    except (ValueError, IndexError, TypeError):
        reason = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1][:300]
    raise DeployError("timing a model file on the board failed: {reason}", reason=reason)
