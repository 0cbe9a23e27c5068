"""The TFLite converter's own environment: where it is, how it is made, how it is asked.

litert-torch and ai-edge-quantizer pin versions that other parts of imago cannot live with, so they get a
virtual environment beside the running one. It borrows PyTorch from the running one (a line in a .pth file):
1.1 instead of 6.6 GB. What is installed there itself comes first on its path, so borrowed packages never win.

How work is handed to it: ``converter_call``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from imago.edge_runtime.errors import MissingDependency, StorageError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.messages import tr
from imago.export.converter_call import Tell, ask, clean_environment, lines

VERSION = 1  # raise it when REQUIREMENTS change: older environments are then brought up to date
REQUIREMENTS = ("litert-torch==0.10.*", "ai-edge-quantizer==0.10.*")
# What imago itself needs there; taken from the running environment where that has it.
BORROWED = ("torch", "torchvision", "safetensors", "numpy", "PIL")
OWN_NEEDS = (
    "torch>=2.13,<2.15",
    "torchvision>=0.28,<0.30",
    "safetensors>=0.5",
    "numpy>=1.24",
    "pillow>=10.3",
)
FOLDER_VARIABLE = "IMAGO_TFLITE_ENV"
GB_BORROWING, GB_ALONE = 1.1, 6.6  # measured on x86-64 Linux


@dataclass(frozen=True, slots=True)
class ConverterEnv:
    """The environment in ``folder``; nothing is touched before ``make``."""

    folder: Path

    @classmethod
    def under(cls, cache: Path) -> ConverterEnv:
        """``IMAGO_TFLITE_ENV``, else ``tflite-converter`` in imago's cache folder."""
        chosen = os.environ.get(FOLDER_VARIABLE)
        return cls(Path(chosen).expanduser().absolute() if chosen else cache / "tflite-converter")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def marker(self) -> Path:
        """Written last: with it, the environment is whole."""
        return self.folder / "imago-ready.json"

    @property
    def log(self) -> Path:
        """What pip said."""
        return self.folder / "imago-setup.log"

    def state(self) -> str:
        """``ready``, ``missing``, ``unfinished`` or ``outdated`` (made by or for another Python or imago)."""
        if not self.folder.exists():
            return "missing"
        try:
            told = json.loads(self.marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "unfinished"
        return "ready" if told == _identity() and self.python.exists() else "outdated"

    def gigabytes(self) -> float:
        """What it takes on disk, about."""
        return GB_BORROWING if lenders() else GB_ALONE

    def require(self) -> None:
        """Raise MissingDependency, with the line to type, where it is not ready."""
        if self.state() != "ready":
            raise MissingDependency(
                "for .tflite models the converter is needed; it gets an environment of its own, "
                "about {size} GB in {folder}: imago setup tflite",
                size=self.gigabytes(),
                folder=self.folder,
            )

    def make(self, on_line: Callable[[str], None] = lambda line: None, *, fresh: bool = False) -> None:
        """Make it, or go on where an earlier attempt stopped. ``on_line`` gets pip's lines.

        fresh: remove what is there first. Raises StorageError where disk, network or packages fail.
        """
        if fresh:
            self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_space()
        self.marker.unlink(missing_ok=True)
        with self.log.open("w", encoding="utf-8") as log:
            if not self._starts():
                self._step([sys.executable, "-m", "venv", "--clear", str(self.folder)], log, on_line)
            self._borrow()
            pip = [str(self.python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
            self._step([*pip, "--progress-bar", "off", *REQUIREMENTS, *OWN_NEEDS], log, on_line)
        self.call("imago.export.converter_check", {})
        write_json(self.marker, _identity())

    def remove(self) -> None:
        """Delete the whole folder; one that is not such an environment is refused."""
        if not self.folder.exists():
            return
        known = (self.folder / "pyvenv.cfg", self.log, self.marker)
        if any(self.folder.iterdir()) and not any(path.exists() for path in known):
            raise StorageError(
                "{path} is not an environment that imago made; nothing was removed", path=self.folder
            )
        shutil.rmtree(self.folder)

    def _starts(self) -> bool:
        """Whether Python and pip run there: if not, the environment is made anew."""
        if not self.python.exists():
            return False
        try:
            done = subprocess.run(  # noqa: S603  fixed arguments
                [str(self.python), "-m", "pip", "--version"],
                capture_output=True,
                env=clean_environment(),
                check=False,
                timeout=120,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return (
            done.returncode == 0
            and f"python {sys.version_info[0]}.{sys.version_info[1]}" in done.stdout.decode()
        )

    def _borrow(self) -> None:
        """Put the running environment's packages at the end of the path there."""
        if os.name == "nt":
            site = self.folder / "Lib" / "site-packages"
        else:
            site = (
                self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
            )
        (site / "imago-borrowed.pth").write_text("".join(f"{path}\n" for path in lenders()), encoding="utf-8")

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.folder).free / 1e9
        if self.state() == "missing" and free < 1.3 * self.gigabytes():
            raise StorageError(
                "{path} has {free} GB free; the converter needs about {size} GB: free some space, "
                "or name another folder with IMAGO_TFLITE_ENV",
                path=self.folder,
                free=f"{free:.1f}",
                size=self.gigabytes(),
            )

    def _step(self, command: list[str], log: IO[str], on_line: Callable[[str], None]) -> None:
        """Run one command, its lines to the log and to ``on_line``."""
        tail: list[str] = []
        with subprocess.Popen(  # noqa: S603  fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=clean_environment(),
        ) as process:
            for line in lines(process.stdout):
                log.write(line + "\n")
                tail = [*tail[-30:], line]
                on_line(line)
        if process.returncode != 0:
            raise StorageError(
                "the converter could not be installed ({reason}); all of it is in {log}; "
                "when that is mended, imago setup tflite goes on from here",
                reason=next((line for line in reversed(tail) if "error" in line.lower()), "".join(tail[-1:]))[
                    :200
                ],
                log=self.log,
            )

    def call(self, module: str, job: Mapping[str, Any], tell: Tell = lambda steps: None) -> dict[str, Any]:
        """Let ``module.work(job, tell)`` run there; see ``converter_call.ask``."""
        return ask(self.python, module, job, tell)


def lenders() -> list[Path]:
    """Folders of the running environment that hold what the converter can share; empty without PyTorch."""
    if find_spec("torch") is None:
        return []
    found: list[Path] = []
    for name in BORROWED:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            place = Path(spec.origin).absolute().parents[1]
            if place not in found:
                found.append(place)
    return found


def _identity() -> dict[str, Any]:
    """What an environment must have been made with to be used from here."""
    return {
        "version": VERSION,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "requirements": list(REQUIREMENTS),
        "borrowed": [str(path) for path in lenders()],
        "torch": metadata.version("torch") if lenders() else None,
    }


def describe(env: ConverterEnv) -> str:
    """One sentence about its state, for people."""
    return {
        "ready": tr("the TFLite converter is ready in {folder}", folder=env.folder),
        "missing": tr("the TFLite converter is not installed yet"),
        "unfinished": tr("an unfinished TFLite converter is in {folder}", folder=env.folder),
        "outdated": tr("the TFLite converter in {folder} was made for another version", folder=env.folder),
    }[env.state()]
