"""A kit for this very computer, made once a session with the real pip; installing it without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import imago

# Where namespaces are allowed, the network is really gone: not even localhost is left.
CUT_OFF = ("unshare", "--user", "--map-root-user", "--net")


def make_kit(out: Path, *flags: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """Run ``imago kit``; skips without internet, fails in CI."""
    done = imago("kit", "-o", str(out), *flags, "--json", "-", env=env, timeout=900)
    if done.returncode and "cannot be reached" in done.stderr and not os.environ.get("CI"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    data: dict[str, object] = json.loads(done.stdout)
    return data


def offline(kit: Path) -> dict[str, str]:
    """Environment in which pip has nothing but the wheels of ``kit``."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(kit / "wheels")}


def cut_off(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``command`` without any network, and with no package index even where that is not permitted."""
    able = subprocess.run([*CUT_OFF, "true"], capture_output=True, check=False).returncode == 0
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV", "COV_"))
    }
    environment |= {"PIP_CONFIG_FILE": os.devnull, "IMAGO_LANG": "en"}
    words = [*(CUT_OFF if able else ()), *map(str, command)]
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def install(kit: Path, venv: Path, *, python: str = sys.executable) -> Path:
    """Install ``kit`` into a new environment as a board would: no pip there, no network; its ``bin``."""
    kit = kit.absolute()
    assert cut_off(python, "-I", "-m", "venv", "--without-pip", venv, cwd=kit).returncode == 0
    (pip,) = (kit / "wheels").glob("pip-*.whl")
    done = cut_off(
        *(
            venv / "bin" / "python",
            pip / "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--no-index",
            "--no-deps",
        ),
        *("--require-hashes", "--find-links", kit / "wheels", "--requirement", kit / "requirements.txt"),
        cwd=kit,
    )
    assert done.returncode == 0, done.stderr
    return venv / "bin"


_SHARED: list[Path] = []


def shared_kit(factory: pytest.TempPathFactory) -> Path:
    """One kit for this computer for all test files of a session."""
    if not _SHARED:
        folder = factory.mktemp("kits") / "kit"
        make_kit(folder, "--os", "this", "--camera", "none")
        _SHARED.append(folder)
    return _SHARED[0]
