"""``imago``: find the command, import its file, run it. Nothing else is imported before that."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from imago.edge_runtime.errors import ImagoError, MissingDependency
from imago.edge_runtime.messages import tr
from imago.edge_runtime.threads import calm_threads

VERSION = "0.1.0"

# command → (module, one line of help); the module is imported only when its command is called.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "the whole story on generated insects: train, export, quantise, run, benchmark"),
    "data": ("data", "check, fetch or generate a data set"),
    "models": ("models", "list the networks, or show one layer by layer"),
    "train": ("train", "train a network on photos in folders"),
    "baseline": ("baseline", "fit classical classifiers on the same pictures, for comparison"),
    "search": ("search", "try networks and settings for a given time, and keep the best"),
    "prune": ("prune", "make a trained network smaller by removing channels, and retrain it"),
    "compress": ("compress", "prune, quantise and measure; hand out the best version inside the gates"),
    "export": ("export", "write a trained run as one ONNX or TFLite file that carries its own contract"),
    "quantize": ("quantize", "make an int8 version, and say whether it is worth having"),
    "predict": ("predict", "say what is on pictures"),
    "evaluate": ("evaluate", "measure a model file's accuracy on a data set"),
    "run": ("run", "camera or video in, live predictions out"),
    "classroom": ("classroom", "put the whole lesson on a USB stick, for computers without the internet"),
    "setup": ("setup", "make the environment that the TFLite converter needs"),
    "events": ("events", "list, filter and export what a camera has seen"),
    "cameras": ("cameras", "list the cameras here and what they can do"),
    "bench": ("bench", "measure latency and memory of a model file"),
    "tune": ("tune", "measure several model files here, and lock the best choice for imago run"),
    "kit": ("kit", "gather what a board needs to install imago without internet"),
    "bundle": ("bundle", "put model files and settings into one signed file for boards"),
    "deploy": (
        "deploy",
        "push a bundle to a board over ssh: checked, switched at once, and back when it fails",
    ),
    "flash": ("flash", "make an SD card that boots into the running service"),
    "fleet": ("fleet", "many boards: what each runs, and a playbook that updates them in batches"),
    "studio": ("studio", "the web page: train, understand, compress and deploy without code"),
    "doctor": ("doctor", "look for what on this board will make trouble, and name the remedy"),
}


# package → the extra that brings it; what is not here is imago's own fault and shows its traceback.
EXTRA_OF = {
    **dict.fromkeys(
        (
            "torch",
            "torchvision",
            "safetensors",
            "onnx",
            "onnxscript",
            "onnxsim",
            "onnxslim",
            "matplotlib",
            "torch_pruning",
        ),
        "train",
    ),
    **dict.fromkeys(("sklearn", "skl2onnx"), "studio"),
    "cv2": "camera",
    **dict.fromkeys(("nicegui", "fastapi", "uvicorn", "starlette"), "studio"),
    "optuna": "search",
    "packaging": "train",
    "paho": "mqtt",
}


def missing_extra(package: str, extra: str) -> MissingDependency:
    """The error for a command whose extra is not installed."""
    return MissingDependency(
        "this needs {package}, which is not installed: pip install 'imago-edge[{extra}]'",
        package=package,
        extra=extra,
    )


def usage() -> str:
    """The text of ``imago --help``."""
    width = max(map(len, COMMANDS)) + 2
    rows = "\n".join(f"  {name:<{width}}{tr(text)}" for name, (_, text) in COMMANDS.items())
    return "\n".join(
        (
            tr("usage: imago COMMAND …   (imago COMMAND --help explains one, with examples)"),
            "",
            tr("Train an image classifier on a PC, compress it by measurement, run it on a small board."),
            "",
            rows,
            "",
            tr("IMAGO_LANG=en or IMAGO_LANG=zh chooses the language."),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 fine, 1 measured "no", 2 bad input, 130 interrupted)."""
    calm_threads()
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if args[0] in ("-V", "--version"):
        print(f"imago {VERSION}")
        return 0
    if args[0] not in COMMANDS:
        return _fail(tr("no such command: {name}; imago --help lists them", name=args[0]))
    module = importlib.import_module(f"imago.cli.{COMMANDS[args[0]][0]}_cmd")
    try:
        return int(module.main(args[1:]) or 0)
    except ImagoError as error:
        _fail(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _fail(str(missing_extra(error.name or "", extra)))
    except KeyboardInterrupt:
        _fail(tr("interrupted"))
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `imago … | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(text: str) -> int:
    print("imago: " + " ".join(text.split()), file=sys.stderr)
    return 2


def program() -> NoReturn:
    """The process ``imago``: ``main``, and its end."""
    end(main())


def end(code: int) -> NoReturn:
    """Leave with ``code``; a process that trained together with others leaves at once.

    gloo's threads may still hold a tensor of the last message. One that lets go of it while the interpreter
    is being taken down ends the process with SIGABRT (PyTorch's pull request 179291 describes it), and a
    training that was finished and written down would count as killed.
    """
    team = sys.modules.get("imago.train.team")
    if team is not None and team.has_met():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
