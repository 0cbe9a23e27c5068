"""What several test files need: real data where it is, and a plain word where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def need_data(name: str) -> Path:
    """Path of a data set under ``IMAGO_DATA``; skips where it is missing, fails in CI."""
    folder = os.environ.get("IMAGO_DATA")
    if folder and (Path(folder) / name).exists():
        return Path(folder) / name
    message = f"real data '{name}' not found: set IMAGO_DATA to the folder that holds it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def imago(
    *args: str, env: dict[str, str] | None = None, timeout: float = 300, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the real command line in a process of its own."""
    full = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "imago.cli.main", *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=full,
        check=False,
        input=stdin,
    )


@contextmanager
def stop_after_each_step() -> Iterator[None]:
    """Within, every training stops after one step, as if the user had pressed Ctrl-C during it."""
    from imago.train.interrupt import StopWish

    original = StopWish.__enter__

    def impatient(self: StopWish) -> StopWish:
        entered = original(self)
        entered.wished = True
        return entered

    StopWish.__enter__ = impatient  # type: ignore[method-assign]
    try:
        yield
    finally:
        StopWish.__enter__ = original  # type: ignore[method-assign]


def need_converter() -> Path:
    """Folder of a finished TFLite converter (``IMAGO_TFLITE_ENV``); skips where there is none; CI fails."""
    from imago.export.converter_env import FOLDER_VARIABLE, ConverterEnv

    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and ConverterEnv(Path(folder)).state() == "ready":
        return Path(folder)
    message = f"no TFLite converter: {FOLDER_VARIABLE}=FOLDER imago setup tflite, and set the variable"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
