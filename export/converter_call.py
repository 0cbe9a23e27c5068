"""Work for the converter's environment, from both sides.

A job goes there as JSON on standard input of a fresh process and comes back as JSON lines: networks cross as
run folders and model files, pictures as plain .npy; nothing is pickled and no shell is involved.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from imago.edge_runtime.errors import ImagoError, ModelError

Tell = Callable[[int], None]
# imago itself comes last on the path there: what is installed beside it must never win.
BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from imago.export.converter_call import serve; serve(sys.argv[2])"
)


def ask(python: Path, module: str, job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Let ``module.work(job, tell)`` run under ``python``; ``tell`` gets the number of steps that were done.

    Raises ModelError with the reason where it fails.
    """
    root = str(Path(__file__).absolute().parents[2])
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(  # noqa: S603  fixed arguments
            [str(python), "-P", "-c", BOOT, root, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=clean_environment(),
        ) as process:
            answer = _converse(process, job, tell)
        if answer is None:
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            answer = {"error": last[0] if last else f"exit code {process.returncode}"}
    if "error" in answer:
        raise ModelError(
            "the TFLite converter failed ({reason}); imago setup tflite --fresh makes it anew, "
            "if the network itself is not the reason",
            reason=str(answer["error"])[:300],
        )
    return dict(answer["result"])


def _converse(process: subprocess.Popen[str], job: Mapping[str, Any], tell: Tell) -> dict[str, Any] | None:
    """Hand over the job; pass progress on; the last word is the answer."""
    if process.stdin is not None:
        try:
            process.stdin.write(json.dumps(job))
            process.stdin.close()
        except OSError:  # it died before it listened; its stderr says why
            return None
    answer: dict[str, Any] | None = None
    for line in lines(process.stdout):
        message = json.loads(line)
        if "done" in message:
            tell(int(message["done"]))
        else:
            answer = message
    return answer


def serve(module: str) -> None:
    """The other side: read a job, work, answer. Libraries that print do so on standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: Mapping[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    job = json.load(sys.stdin)
    try:
        result = import_module(module).work(job, lambda steps=1: send({"done": steps}))
    except Exception as error:  # noqa: BLE001  converters raise anything; the other side tells the user
        text = " ".join(str(error).split())
        send({"error": text if isinstance(error, ImagoError) else f"{type(error).__name__}: {text}"})
        sys.exit(1)
    send({"result": result})


def clean_environment() -> dict[str, str]:
    """Without what would lead another Python to the running one's packages."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def lines(stream: IO[str] | None) -> Iterator[str]:
    """Lines of a stream as they come, without blank ones."""
    for line in stream or ():
        text = line.strip()
        if text:
            yield text
